"""Templates become pages; everything that a page needs is in it."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from testbed.report.svg import COLOURS


def rendered(template: str, **values: Any) -> str:
    """A page.

    Args:
        template: its file.
        values: what it is filled with; text is escaped, drawings pass the filter `svg`.
    """
    templates = files("testbed.report").joinpath("templates")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: templates.joinpath(name).read_text()),
    )
    environment.filters["capitalised"] = lambda said: said[:1].upper() + said[1:]
    # Figures are of this package's making: their text is escaped where they are drawn.
    environment.filters["svg"] = Markup
    # A script or a style of this package, whole.
    environment.globals["file"] = lambda name: Markup(templates.joinpath(name).read_text())
    environment.globals["palette"] = COLOURS
    return environment.get_template(template).render(**values)
