"""A table to train on, with what makes features of it: ``train(df, "species")`` before it is rows.

What encodes a table is learnt of the rows that a network trains on. Where networks train on rows of
their own (folds), each has an encoding of its own: the features of all rows then stand one below
the other, once for each encoding, and `RowPlan`s say which of them a network sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.data.elsewhere.given import held, opened
from arraymlp.data.encoded_rows import EncodedRows, PlainRows
from arraymlp.data.encoding.columns import require_all_finite
from arraymlp.data.encoding.encoder import TableEncoder
from arraymlp.data.encoding.encoding import TableEncoding
from arraymlp.data.files.large_table import LargeTable
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.data.frames.sources import frame_of, is_frame
from arraymlp.data.names import feature_names
from arraymlp.nn.network import Network

LEARNT_OF = 200_000  # rows of a table larger than memory


@dataclass(frozen=True, eq=False)
class TableInput:
    """A table and its encoder.

    Attributes:
        table: in memory, or on disk.
        encoder: learns an encoding of its rows; or an encoding, of a network that exists.
        targets: the names of the targets, where they have some.
    """

    table: Frame | LargeTable
    encoder: TableEncoder | TableEncoding
    targets: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def learn(self, row_sets: Sequence[HostArray | None]) -> list[TableEncoding]:
        """The encoding learnt of each of these sets of rows (None for all), all of one width.

        There is one for all, where it was learnt before.
        """
        if isinstance(self.encoder, TableEncoding):
            return [self.encoder]
        if isinstance(self.table, Frame):
            require_all_finite(self.table)
        encodings = [
            self.encoder.learn(self._sample(rows), warn=i == 0) for i, rows in enumerate(row_sets)
        ]
        width = max(encoding.width for encoding in encodings)
        return [encoding.padded(width) for encoding in encodings]

    def _sample(self, rows: HostArray | None) -> Frame:
        if isinstance(self.table, LargeTable):
            return self.table.sample(LEARNT_OF, 0, rows)
        return self.table if rows is None else self.table[rows]

    def features(self, encodings: Sequence[TableEncoding], dtype: str) -> HostArray | EncodedRows:
        """The features of all rows by each encoding in turn, (len(encodings) * N, width)."""
        if isinstance(self.table, LargeTable):
            if len(encodings) > 1:
                raise ValueError("folds, each with an encoding of its own, need X in memory")
            return EncodedRows(self.table, encodings[0], dtype)
        return np.concatenate([encoding.transform(self.table, dtype) for encoding in encodings])


def take_table(
    X: Any,
    y: Any,
    encode: bool | TableEncoder | TableEncoding | None,
    network: Network | None = None,
) -> tuple[Any, Any]:
    """X and y as `load_data` takes them: a table as a `TableInput`, where it is to be encoded.

    Args:
        X: a table, or anything else, which stays as it is.
        y: targets, or the names of their columns in X.
        encode: whether, or by what, features are made of X: by an encoder, which learns of the rows
            to train on, or by an encoding that was learnt before; None for yes where ``y`` is a
            name or X has a column that is no numbers.
        network: that goes on to be trained: its encoding, if it has one, is kept.

    Raises:
        ValueError: an encoder of what is no table, or a target that is no column of X.
    """
    encoding = encoding_of(network) if isinstance(network, Network) else None
    is_encoder = isinstance(encode, TableEncoder | TableEncoding)
    if not (encode is None or isinstance(encode, bool) or is_encoder):
        raise ValueError(f"encode must be True, False, a TableEncoder or None, not {encode!r}")
    if network is not None and encode is not None:
        raise ValueError("encode cannot be given together with network=, which has its own")
    X, y = opened(X), held(y)
    if not (is_frame(X) or isinstance(X, LargeTable)):
        if isinstance(y, str):
            raise ValueError(f"y is {y!r}, the name of a column, but X is no data frame")
        if X is None or (encoding is None and not encode):
            if encode:
                raise ValueError("encode needs X and y")
            return X, y
    plain = encode is False or (encode is None and _has_numbers_for_names(X))
    if plain and encoding is None and not isinstance(y, str | list | tuple):
        # Nothing of it is asked by name.
        return (PlainRows(X) if isinstance(X, LargeTable) else X), y
    rest, values, names = _split(X, y)
    targets = names or _names_of(y)
    if encoding is not None:
        return TableInput(rest, encoding, targets), values
    if network is not None:
        encode = False  # it was trained on rows that needed no encoding
    if encode is None:
        encode = names is not None or not _all_numbers(rest)
    if encode is False:
        if isinstance(rest, LargeTable):
            return PlainRows(rest), values
        return (X if names is None else rest), values
    encoder = encode if isinstance(encode, TableEncoder | TableEncoding) else TableEncoder()
    return TableInput(rest, encoder, targets), values


def encoded(
    X: Any, y: Any, encoding: TableEncoding, dtype: str
) -> tuple[HostArray | EncodedRows, Any]:
    """The features that an encoding makes of X, and y, which may name columns of X."""
    rest, values, _ = _split(X, y)
    return TableInput(rest, encoding).features([encoding], dtype), values


def true_targets(X: Any, y: Any, targets: Sequence[str] | None) -> Any:
    """The targets of X to compare predictions with: y, or the columns of X that it names.

    Args:
        X: a table, where y is None or names its columns.
        y: targets; None for the columns of the names that the network was trained on.
        targets: these names.

    Raises:
        ValueError: y is None, and there are no names, or X is no table with such columns.
    """
    if y is None:
        if targets is None:
            raise ValueError("y is missing: the network does not know its targets by name")
        y = targets
    X, y = opened(X), y if y is targets else held(y)
    if not (is_frame(X) or isinstance(X, LargeTable)):
        if y is targets or isinstance(y, str):
            raise ValueError(f"y is missing: X is no data frame with columns such as {y!r}")
        return y
    table = table_of(X)
    names = targets if y is targets else _columns_named(y, table)
    return y if names is None else _parted(table, names)[1]


def table_of(X: Any) -> Frame | LargeTable:
    """What the user gives as a table: in memory, or where it is stored."""
    table = opened(X)
    return table if isinstance(table, LargeTable) else frame_of(table)


def encoding_of(network: Network) -> Any:
    """A network's encoding, to go on training with; a ValueError where members have their own."""
    if isinstance(network.encoding, tuple):
        raise ValueError(
            "the members of this population have encodings of their own: train them one by one, "
            "network.member(k)"
        )
    return network.encoding


def _has_numbers_for_names(X: Any) -> bool:
    """True of a data frame of pandas that was made of an array, without names."""
    return hasattr(X, "iloc") and feature_names(X) is None


def _all_numbers(frame: Frame | LargeTable) -> bool:
    if isinstance(frame, LargeTable):
        return not {"text", "time"} & {frame.kinds[name] for name in frame.names}
    return all(isinstance(c, np.ndarray) and c.dtype.kind in "biuf" for c in frame.columns)


def _columns_named(y: Any, table: Frame | LargeTable) -> tuple[str, ...] | None:
    """The columns that y names: as a text, or as a list of different texts that all are columns.

    Texts that repeat are labels, even where there are columns of these names.
    """
    if isinstance(y, str):
        return (y,)
    if isinstance(y, list | tuple) and y and all(isinstance(v, str) for v in y):
        return tuple(y) if set(y) <= set(table.names) and len(set(y)) == len(y) else None
    return None


def _names_of(y: Any) -> tuple[str, ...] | None:
    """The name that a column of a data frame has, or those of a data frame's columns."""
    name = getattr(y, "name", None)
    return (name,) if isinstance(name, str) and hasattr(y, "__len__") else feature_names(y)


def _split(X: Any, y: Any) -> tuple[Any, Any, tuple[str, ...] | None]:
    """The table X without its targets, these, and their names where y names columns of X."""
    table = table_of(X)
    y = held(y)
    names = _columns_named(y, table)
    return (table, y, None) if names is None else (*_parted(table, names), names)


def _parted(table: Frame | LargeTable, names: Sequence[str]) -> tuple[Any, Any]:
    """The table without these columns, and their values."""
    missing = [name for name in names if name not in table.names]
    if missing:
        listed = ", ".join(map(repr, table.names[:20])) + ", ..." * (len(table.names) > 20)
        raise ValueError(f"y is {missing[0]!r}, but X has no such column: it has {listed}")
    rest = [name for name in table.names if name not in names]
    if not rest:
        raise ValueError("X has no columns beside the targets")
    return table.select(rest), _values([table.column(name) for name in names], names)


def _values(columns: Sequence[Any], names: Sequence[str]) -> HostArray:
    """The values of target columns: (N,) of one, (N, n) of several, which must be numbers."""
    if len(columns) == 1:
        return columns[0].to_numpy() if isinstance(columns[0], Texts) else columns[0]
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, Texts) or column.dtype.kind not in "biuf":
            raise ValueError(f"several targets must be numbers, but {name!r} is none")
    return np.column_stack(columns)
