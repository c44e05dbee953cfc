"""Look a name up in a table, or say which names there are and which one was probably meant."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: object, what: str) -> T:
    """Return ``table[name]``; a ValueError offers the nearest name where there is none."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise unknown(table, name, what)


def unknown(names: Iterable[str], name: object, what: str) -> ValueError:
    """The error for a ``name`` that is none of ``names``."""
    names = sorted(names)
    close = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"unknown {what} {name!r}: {hint}There is {', '.join(names)}.")
