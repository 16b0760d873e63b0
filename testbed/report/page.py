"""report.html: one file that says what was asked, whether to believe it, and what came out.

Nothing in it comes from elsewhere: styles, figures, data and the script that draws them are inside.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from testbed.errors import UsageError
from testbed.report import cluster, zoomable
from testbed.report.content import Content
from testbed.report.drawn import Drawn
from testbed.report.presentation import presentation_of
from testbed.report.svg import alone
from testbed.report.tables import needs
from testbed.report.words import shown
from testbed.results import layout
from testbed.results.load import load


def write_report(path: Path) -> Path:
    """Write the report of a run, and its figures as files.

    Args:
        path: the run directory.

    Returns:
        The page.

    Raises:
        NotFoundError: it is no run directory.
        UnsupportedError: the plotting library is not there.
        UsageError: it may not be written to.
    """
    data = load(path)
    workload = str(data.run.get("scenario", {}).get("plugin", ""))
    content = Content(data, presentation_of(workload))
    text = render(content)
    try:
        directory = path / layout.FIGURES
        directory.mkdir(exist_ok=True)
        for name, drawing in _figures(content.drawn).items():
            (directory / f"{name}.svg").write_text(alone(drawing))
        page = path / layout.REPORT
        page.write_text(text)
    except OSError as error:
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
    templates = files("testbed.report").joinpath("templates")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: templates.joinpath(name).read_text()),
    )
    environment.filters["shown"] = lambda value, name: shown(name, value)
    environment.filters["capitalised"] = lambda said: said[:1].upper() + said[1:]
    payload = content.drawn.payload
    return environment.get_template("report.html.j2").render(
        c=content,
        d=content.drawn,
        run=content.run,
        verdict=content.data.verdict,
        # Figures are of this package's making: their text is escaped where they are drawn.
        svg=Markup,
        style=Markup(templates.joinpath("page.css").read_text()),
        legend=Markup(cluster.legend()),
        needs=needs(content.run, content.words),
        payload=payload,
        library=zoomable.library() if payload else "",
        script=Markup(templates.joinpath("timelines.js").read_text()) if payload else "",
    )
