"""Dates and times as ISO 8601 writes them."""

import re

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.frames.frame import Texts

ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?(Z|\+00:00)?"
)


def times_of(texts: Texts, name: str, row: int) -> HostArray:
    """Texts (N,) as datetime64 of microseconds, NaT where there is none.

    Args:
        texts: such as 2024-05-31 or 2024-05-31T12:30:15.5, in UTC.
        name: of their column, for the message.
        row: the number of the first one's row, for the message.

    Raises:
        ValueError: one is no such text.
    """
    times = np.full(len(texts.values) + 1, np.datetime64("NaT"), "datetime64[us]")
    for code, value in enumerate(texts.values):
        try:
            if not ISO.fullmatch(value):
                raise ValueError
            times[code] = np.datetime64(re.sub(r"(Z|\+00:00)$", "", value), "us")
        except ValueError:
            at = np.flatnonzero(texts.codes == code)
            if len(at):
                raise ValueError(
                    f"column {name!r} must be dates such as 2024-05-31 or 2024-05-31T12:30, but "
                    f"row {row + int(at[0])} has {value[:80]!r}"
                ) from None
    return times[texts.codes]
