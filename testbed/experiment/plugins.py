"""Workload plug-ins and the scenarios that come with them.

A distribution declares its workload as an entry point of the group `testbed.workloads`, and
ships scenarios as `scenarios/*.yaml` in the top-level package of that entry point.  Nothing of
a workload is imported to list its scenarios, except that package itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from testbed.errors import ConflictError, NotFoundError, ScenarioError
from testbed.experiment.document import Document, Source, parse, read_source
from testbed.plugins import declared
from testbed.suggestions import suggestion

GROUP = "testbed.workloads"


@dataclass(frozen=True)
class ShippedScenario:
    """A scenario that comes with a workload.

    Args:
        name: what `testbed run` takes.
        description: the file's own.
        plugin: the workload that it is for.
        document: the file.
    """

    name: str
    description: str
    plugin: str
    document: Document


def plugins() -> dict[str, EntryPoint]:
    """The workloads that are installed, by name.

    Raises:
        ConflictError: two distributions declare different workloads of one name.
    """
    return declared(GROUP, "a workload")


def load_plugin(name: str) -> object:
    """Import a workload.

    Raises:
        NotFoundError: none of that name is installed.
        ConflictError: it is, and cannot be imported.
    """
    known = plugins()
    if name not in known:
        raise NotFoundError(
            f"there is no workload {name!r}; {suggestion(name, sorted(known))}",
            hint=f"a workload is an entry point of the group {GROUP} of an installed package",
        )
    with _importing(known[name]):
        return known[name].load()


@contextlib.contextmanager
def _importing(entry: EntryPoint) -> Iterator[None]:
    """An import that fails is told with the distribution that it belongs to."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        whose = f" of {entry.dist.name}" if entry.dist is not None else ""
        raise ConflictError(
            f"the workload {entry.name!r}{whose} cannot be imported: {error}",
            hint=f"another distribution may have written into its package "
            f"{entry.module.partition('.')[0]!r}: install it in an environment of its own",
        ) from error


def plugin_of(document: Document, default: str) -> str:
    """The workload that a scenario asks for: needed before the scenario can be checked."""
    name = document.content.get("plugin", default)
    if not isinstance(name, str):
        raise ScenarioError(
            f"{document.place(('plugin',))}: plugin: {name!r} is not the name of a workload",
            hint=f"installed: {', '.join(sorted(plugins())) or 'none'}",
        )
    return name


def shipped_scenarios() -> list[ShippedScenario]:
    """Every scenario that comes with an installed workload, in order of their names.

    Raises:
        ConflictError: two packages ship different scenarios of one name.
        ScenarioError: one of them is not YAML.
    """
    shipped = []
    for name, (plugin, resource) in sorted(_resources().items()):
        document = parse(_source(resource))
        description = " ".join(str(document.content.get("description", "")).split())
        plugin = plugin_of(document, default=plugin)
        shipped.append(ShippedScenario(name, description, plugin, document))
    return shipped


def find_scenario(name_or_path: str) -> Source:
    """A shipped scenario by its name, or a file by its path.

    What has a directory or the ending .yaml or .yml in it is a path.

    Raises:
        NotFoundError: there is none; says which names are near.
    """
    path = Path(name_or_path)
    if len(path.parts) > 1 or path.suffix in (".yaml", ".yml"):
        return read_source(path)
    known = _resources()
    if name_or_path not in known:
        raise NotFoundError(
            f"there is no scenario {name_or_path!r}; {suggestion(name_or_path, sorted(known))}",
            hint="`testbed scenarios` lists them; your own file is given by its path, mine.yaml",
        )
    return _source(known[name_or_path][1])


def _resources() -> dict[str, tuple[str, Traversable]]:
    """The shipped scenario files by name, each with the first workload of its package."""
    by_package: dict[str, EntryPoint] = {}
    for entry in plugins().values():
        by_package.setdefault(entry.module.partition(".")[0], entry)
    found: dict[str, tuple[str, Traversable]] = {}
    for package, entry in by_package.items():
        plugin = entry.name
        with _importing(entry):
            directory = files(package) / "scenarios"
        for file in directory.iterdir() if directory.is_dir() else ():
            name, _, ending = file.name.rpartition(".")
            if ending != "yaml":
                continue
            if name in found:
                both = f"{found[name][0]!r} and {plugin!r}"
                raise ConflictError(
                    f"the workloads {both} both ship a scenario {name!r}",
                    hint="uninstall one of them, or give the file by its path",
                )
            found[name] = (plugin, file)
    return found


def _source(resource: Traversable) -> Source:
    return Source(resource.name, resource.read_text(encoding="utf-8"))
