"""What to say when a name is not known: the close ones, else what there is."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_SHOWN = 12


def suggestion(asked: str, known: Iterable[str]) -> str:
    """A hint for the error about an unknown name.

    Args:
        asked: the name that is not known.
        known: those that are.

    Returns:
        "did you mean pe0?", else the names (the first twelve, if there are many).  A clause, for
        a hint or behind a semicolon.
    """
    import difflib  # rarely needed, and not free

    names = list(known)
    if not names:
        return "there are none"
    if close := difflib.get_close_matches(asked, names, n=3):
        return f"did you mean {' or '.join(close)}?"
    shown = ", ".join(names[:_MOST_SHOWN])
    return f"there are {shown}, …" if len(names) > _MOST_SHOWN else f"there are {shown}"
