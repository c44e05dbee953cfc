"""A data frame of dask as blocks: its partitions, computed by the scheduler that the user chose."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from arraymlp.data.elsewhere.block_kinds import BlockKinds
from arraymlp.data.elsewhere.block_table import BYTES_AT_ONCE
from arraymlp.data.files.cells import Kind
from arraymlp.data.files.table_file import require_different
from arraymlp.data.frames.frame import Frame
from arraymlp.data.frames.sources import frame_of
from arraymlp.data.sources import reading


def is_dask_frame(X: object) -> bool:
    """True for a data frame of dask; it imports nothing."""
    return isinstance(X, getattr(sys.modules.get("dask.dataframe"), "DataFrame", ()))


def is_dask_series(y: object) -> bool:
    """True for a column of a data frame of dask."""
    return isinstance(y, getattr(sys.modules.get("dask.dataframe"), "Series", ()))


class DaskFrame:
    """The partitions of a data frame.

    How long they are, and what their columns are, is known after one pass over them, which is made
    when it is first asked for. It is pickled as the data frame is, with what it knows.

    Args:
        frame: a `dask.dataframe.DataFrame`.
        title: what it is, for messages.

    Raises:
        ValueError: it has no columns, or names of columns that are no texts or repeat.
    """

    def __init__(self, frame: Any, title: str = "X") -> None:
        self._frame, self.title = frame, title
        names = list(frame.columns)
        for name in names:
            if not isinstance(name, str):
                raise ValueError(
                    f"the names of the columns of {title} must be texts, not {name!r}: without "
                    "names, give to_dask_array(lengths=True)"
                )
        if not names:
            raise ValueError(f"{title} has no columns")
        require_different(names)
        self.names = tuple(names)
        self._lengths: list[int] | None = None
        self._parts: dict[tuple[str, ...], list[Any]] = {}
        self._kinds: dict[str, Kind] = {}

    @property
    def lengths(self) -> Sequence[int]:
        """The number of rows of each partition."""
        if self._lengths is None:
            self._survey()
        assert self._lengths is not None
        return self._lengths

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, in all partitions together, by its name."""
        if self._lengths is None:
            self._survey()
        return self._kinds

    def read(self, blocks: range, names: Sequence[str]) -> list[Frame]:
        """See `arraymlp.data.elsewhere.block_table.TableBlocks`."""
        frames = self._computed(blocks, names)
        for number, frame in zip(blocks, frames, strict=True):
            if len(frame) != self.lengths[number]:
                raise ValueError(
                    f"partition {number} of {self.title} has {len(frame)} rows, but had "
                    f"{self.lengths[number]} at first: partitions must be the same in every pass"
                )
        return frames

    def _survey(self) -> None:
        """See how long the partitions are, and what is in them: all of them are computed once."""
        kinds, lengths, n = BlockKinds.of(self.names), list[int](), self._frame.npartitions
        at_once = 1
        while len(lengths) < n:
            blocks = range(len(lengths), min(n, len(lengths) + at_once))
            for number, frame in zip(blocks, self._computed(blocks, self.names), strict=True):
                kinds.note(frame, f"partition {number} of {self.title}")
                lengths.append(len(frame))
            rows = max(1, sum(lengths) // len(lengths))
            at_once = max(1, BYTES_AT_ONCE // (8 * rows * len(self.names)))
        self._lengths, self._kinds = lengths, kinds.settled

    def _computed(self, blocks: range, names: Sequence[str]) -> list[Frame]:
        what = f"partitions {blocks[0]} to {blocks[-1]} of {self.title}"
        chosen = tuple(names)
        with reading(what):
            if chosen not in self._parts:  # planned by dask once, which takes it longer than to run
                self._parts[chosen] = self._frame[list(chosen)].to_delayed()
            parts = self._parts[chosen][blocks.start : blocks.stop]
            parts = import_module("dask").compute(*parts)
        return [frame_of(part, what) for part in parts]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_parts": {}}
