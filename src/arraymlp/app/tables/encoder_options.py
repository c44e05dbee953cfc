"""How columns become features: the commands' options for it, and what was learnt, in words."""

import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from arraymlp.app.options import option
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.frames.frame import Frame, Texts

COLUMNS = "Columns"
NOT_ENCODED = "columns that are not encoded"  # begins the warning that says so
MANY = 100  # columns of numbers, from which on each becomes one feature

Numbers: TypeAlias = Annotated[
    str | None,
    option(
        "How numbers become features: mixed (standardised, and bins), piecewise (bins), "
        "standardize, smooth_clip or quantile. Default: mixed; of more than 100 columns of numbers "
        "standardize.",
        COLUMNS,
    ),
]
Bins: TypeAlias = Annotated[int | None, option("Bins of a column, at most. Default: 16.", COLUMNS)]
Categories: TypeAlias = Annotated[
    str | None,
    option(
        "Columns of numbers that are categories: a,b; 5: integers of 5 values or fewer.", COLUMNS
    ),
]
Dates: TypeAlias = Annotated[
    bool, option("Take dates, as numbers; else they are left out.", COLUMNS, "--dates")
]
Ignore: TypeAlias = Annotated[str | None, option("Columns to leave out: id,name.", COLUMNS)]
Keep: TypeAlias = Annotated[
    str | None, option("Columns to take although they seem to number the rows: a,b.", COLUMNS)
]


def names_of(text: str | None) -> list[str]:
    """Names, separated by commas."""
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def encoder_of(
    frame: Frame,
    numbers: str | None,
    bins: int | None,
    categories: str | None,
    dates: bool,
    keep: str | None,
) -> TableEncoder:
    """The encoder that the options describe, for a table.

    Where they do not say how numbers become features, those of very many columns are standardised:
    mixed would make seventeen features of each.
    """
    given: dict[str, Any] = {"dates": dates, "keep": names_of(keep)}
    of_numbers = [c for c in frame.columns if not isinstance(c, Texts) and c.dtype.kind in "iuf"]
    if numbers is not None or len(of_numbers) > MANY:
        given["numbers"] = numbers or "standardize"
    if bins is not None:
        given["bins"] = bins
    if categories is not None:
        whole = categories.isdecimal()
        given["categories"] = int(categories) if whole else names_of(categories)
    return TableEncoder(**given)


@dataclass(frozen=True)
class Learnt:
    """What an encoder makes of a table's columns.

    Attributes:
        encoding: of the columns that become features.
        left_out: the reasons of the others, by name.
    """

    encoding: TableEncoding
    left_out: dict[str, str]

    def describe(self) -> str:
        """The columns by kind, and the number of features."""
        kinds = Counter(column.kind for column in self.encoding.columns)
        shown = ", ".join(f"{n} of {kind}" for kind, n in kinds.items())
        return f"{shown}; {self.encoding.width} features"

    def reasons(self) -> list[str]:
        """The columns that are left out, a line for each reason."""
        by_reason: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            by_reason.setdefault(HINT.sub("", why), []).append(name)
        return [
            f"{', '.join(names)} ({why}{_hint(why, names)})" for why, names in by_reason.items()
        ]


HINT = re.compile(r"; (TableEncoder\()?(dates|keep)=.*")  # as it is said to who writes Python


def _hint(why: str, names: list[str]) -> str:
    """The option that takes such columns after all."""
    if why == "dates":
        return "; --dates takes them"
    return f"; --keep {','.join(names)} takes it" if why == "it numbers the rows" else ""


def learn(encoder: TableEncoder, frame: Frame) -> Learnt:
    """What an encoder learns of rows; the columns that it leaves out are no warning here.

    Raises:
        ValueError: as of `TableEncoder.learn`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", NOT_ENCODED)
        encoder.fit(frame)
    return Learnt(encoder.encoding_, encoder.left_out_)
