"""report.html: one file that says what was asked, whether to believe it, and what came out.

Nothing in it comes from elsewhere: styles, figures, data and the script that draws them are inside.
"""

from __future__ import annotations

from pathlib import Path

from testbed.errors import UsageError, no_space
from testbed.report import cluster, zoomable
from testbed.report.content import Content
from testbed.report.drawn import Drawn
from testbed.report.html import rendered
from testbed.report.presentation import presentation_of
from testbed.report.svg import alone
from testbed.report.tables import needs
from testbed.results import layout
from testbed.results.load import load
from testbed.results.writer import write_whole


def write_report(path: Path) -> Path:
    """Write the report of a run, of a set of repeats or of a sweep, and its figures as files.

    Args:
        path: the directory.

    Returns:
        The page.

    Raises:
        NotFoundError: it is none of these, or no run of it is complete.
        UnsupportedError: the plotting library is not there.
        UsageError: it may not be written to.
        OSError: its file system is full.
    """
    if (path / layout.SET).is_file():
        from testbed.report.several import write_set  # scipy: not for a single run

        return write_set(path)
    if (path / layout.SWEEP).is_file():
        from testbed.report.sweeps import write_sweep

        return write_sweep(path)
    data = load(path)
    workload = str(data.run.get("scenario", {}).get("plugin", ""))
    content = Content(data, presentation_of(workload))
    text = render(content)
    try:
        directory = path / layout.FIGURES
        directory.mkdir(exist_ok=True)
        for name, drawing in _figures(content.drawn).items():
            write_whole(directory / f"{name}.svg", alone(drawing).encode())
        page = path / layout.REPORT
        write_whole(page, text.encode())
    except OSError as error:
        if no_space(error):
            raise  # it says so itself
        raise UsageError(
            f"the report of {path} cannot be written: {error.strerror} ({error.filename})",
            hint="it is written into the run's own directory: copy that to a place of yours",
        ) from None
    return page


def _figures(drawn: Drawn) -> dict[str, str]:
    """Every figure of a page, by the name of its file."""
    found = dict(drawn.statics)
    found |= {f"cluster_{_plain(name)}": svg for name, svg in drawn.clusters.items()}
    found |= {f"requests_{_plain(name)}": svg for name, svg in drawn.waterfalls.items()}
    found |= {"caps": drawn.caps, "split": drawn.split}
    return {name: svg for name, svg in found.items() if svg}


def _plain(name: str) -> str:
    """A name that is one of a file, whatever it was."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def render(content: Content) -> str:
    """The page."""
    payload = content.drawn.payload
    return rendered(
        "report.html.j2",
        c=content,
        d=content.drawn,
        run=content.run,
        verdict=content.data.verdict,
        legend=cluster.legend(),
        needs=needs(content.run, content.words),
        payload=payload,
        library=zoomable.library() if payload else "",
    )
