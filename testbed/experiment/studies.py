"""Studies by name: those of the checkout that this package runs from, or of another directory.

They are scripts for people to read and change, so they are not installed with the package.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import testbed
from testbed.errors import NotFoundError, TestbedError, UsageError
from testbed.experiment.study import Size, Study
from testbed.suggestions import suggestion

CHECKOUT = Path(testbed.__file__).resolve().parents[1]
DIRECTORY = CHECKOUT / "scripts" / "experiments"


class Found(NamedTuple):
    """A study and its file.

    Args:
        name: the file's, without its ending.
        about: the docstring of the file.
    """

    name: str
    file: Path
    about: str
    study: Study


def files(directory: Path | None = None) -> dict[str, Path]:
    """The files of studies by name.

    Args:
        directory: default that of the checkout.

    Raises:
        NotFoundError: there is no such directory, or nothing in it.
    """
    place = DIRECTORY if directory is None else directory
    if not place.is_dir():
        if directory is not None:
            raise NotFoundError(
                f"there is no directory {directory}", hint="give one that holds experiments, *.py"
            )
        raise NotFoundError(
            f"there are no experiments beside this testbed: {place} is not there",
            hint="they are scripts that are not installed: clone the repository and `make setup` "
            "in it, or give the directory that they are in: --dir DIR",
        )
    found = {file.stem: file for file in sorted(place.glob("[a-z]*.py"), key=by_number)}
    if not found:
        raise NotFoundError(f"there is no experiment in {place}", hint="they are files, *.py")
    return found


def by_number(path: Path) -> list[tuple[int, str]]:
    """A key that sorts names as people do: fig7 before fig10."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def minutes(found: Sequence[Found], size: Size) -> float:
    """How long a set of studies takes; runs that they share are made once, whoever asks first."""
    made = {each.name: each for each in found}
    to_look_at = list(found)
    while to_look_at:
        each = to_look_at.pop()
        name = each.study.shares.of(size)
        file = each.file.with_name(f"{name}.py")
        # A copy of a study need not lie beside the other one.
        if name and name not in made and file.is_file():
            made[name] = load(file)
            to_look_at.append(made[name])
    return sum(each.study.minutes.of(size) for each in made.values())


def find(name_or_file: str, directory: Path | None = None) -> Found:
    """A study by its name, or by its file: what has a directory or the ending .py in it.

    Raises:
        NotFoundError: there is none of that name.
        UsageError: the file cannot be loaded, or is no study.
    """
    path = Path(name_or_file)
    if len(path.parts) > 1 or path.suffix == ".py":
        return load(path)
    known = files(directory)
    if name_or_file not in known:
        raise NotFoundError(
            f"there is no experiment {name_or_file!r}; {suggestion(name_or_file, known)}",
            hint="`testbed experiments` lists them; your own is given by its path, mine.py",
        )
    return load(known[name_or_file])


def load(file: Path) -> Found:
    """Load the file of a study.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it cannot be loaded, or is no study.
    """
    if not file.is_file():
        raise NotFoundError(
            f"there is no file {file}", hint="`testbed experiments` lists those that come along"
        )
    root = file.resolve().parents[2] if len(file.resolve().parents) > 2 else file.parent
    if (root / "scripts" / "__init__.py").is_file() and str(root) not in sys.path:
        sys.path.append(str(root))  # what a checkout's scripts have in common; last, so as not to
        # come before anything that is installed
    name = f"testbed_experiment_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except TestbedError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's file may do
        del sys.modules[name]
        raise UsageError(
            f"{file} cannot be loaded: {type(error).__name__}: {error}",
            hint="run it by Python itself to see where",
        ) from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study) or not (module.__doc__ or "").strip():
        what = "has no docstring" if isinstance(study, Study) else "has no STUDY"
        raise UsageError(
            f"{file} is no experiment: it {what}",
            hint="a docstring says what it reproduces and what to expect; "
            "STUDY = Study(question=…, source=…, minutes=…, answer=…) is from "
            "testbed.experiment.study",
        )
    return Found(file.stem, file, (module.__doc__ or "").strip(), study)
