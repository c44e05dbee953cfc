"""CSV files, read strictly: what another reader would guess, mend or cut off is an error here.

Cells are what Python's csv module says. Where pyarrow is installed it reads what is plain, in C;
the results are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from arraymlp.data.files import csv_arrow
from arraymlp.data.files.cells import (
    NOTHING,
    Evidence,
    Kind,
    are_numbers,
    column_of_cells,
    evidence_of,
    kind_of,
)
from arraymlp.data.files.csv_chunks import Chunk, chunks
from arraymlp.data.files.csv_doubts import Doubts
from arraymlp.data.files.csv_layout import layout_of
from arraymlp.data.files.iso_times import times_of
from arraymlp.data.files.table_file import TableFile, Unsettled, errors_of, require_columns
from arraymlp.data.frames.frame import Column, Frame, Texts

HEAD = 200  # rows at the beginning, by which the columns are first judged
SEEN_AS: dict[Kind, Evidence] = {
    "number": Evidence.DECIMAL,
    "text": Evidence.TEXT,
    "time": Evidence.TEXT,
}


class CsvFile(TableFile):
    """A CSV file as a table; see `arraymlp.data.files.table_files.open_table`."""

    def __init__(self, path: Path, title: str, kinds: Mapping[str, Kind] | None = None) -> None:
        with errors_of(title):
            self._layout = layout_of(path, tuple(kinds or ()))
            names = self._layout.names
            require_columns(names, tuple(kinds or ()))
        super().__init__(title, names, kinds)
        self._path = path
        numbers = {name: i for i, name in enumerate(names)}
        self._given = {numbers[name]: kind for name, kind in (kinds or {}).items()}
        # What has been seen in each column that is read.
        self._seen: dict[int, Evidence] = {i: SEEN_AS[kind] for i, kind in self._given.items()}
        self._seen = self._seen or dict.fromkeys(range(len(names)), NOTHING)

    @property
    def n_bytes(self) -> int:
        """See `TableFile`."""
        return self._path.stat().st_size

    @property
    def settled(self) -> dict[str, Kind]:
        """See `TableFile`."""
        names = self._layout.names
        return {names[i]: self._given.get(i) or kind_of(seen) for i, seen in self._seen.items()}

    def attempt(self) -> Iterator[Frame]:
        """See `TableFile`."""
        with errors_of(self.title):
            yield from self._attempt()

    def _attempt(self) -> Iterator[Frame]:
        doubts = None if self._given else Doubts(self._layout, list(self._seen))
        rows, is_wrong = 0, False
        for chunk in chunks(self._path, self._layout):
            if not rows and not self._is_settled:
                self._note(chunk, self._cells(islice(chunk.rows(self._layout), HEAD)))
            columns, changed = self._note(chunk, self._parse(chunk))
            if not (n := len(columns[0])):
                continue
            is_wrong |= changed and rows > 0
            if doubts is not None:
                doubts.look(dict(zip(self._seen, columns, strict=True)))
            if not is_wrong:
                yield self._frame(columns, rows)
            rows += n
        if not rows:
            raise ValueError("it has no rows")
        if doubts is not None:
            doubts.raise_if_any()
        for i, seen in self._seen.items():
            if i not in self._given and are_numbers(seen) and kind_of(seen) == "text":
                self._seen[i], is_wrong = seen | Evidence.TEXT, True
        if is_wrong:
            raise Unsettled

    def _parse(self, chunk: Chunk) -> csv_arrow.Parsed:
        """What is seen in each column that is read, and its values."""
        if chunk.plain and len(self._layout.names) > 1 and csv_arrow.is_installed():
            parsed = csv_arrow.read_chunk(chunk, self._layout, self._seen)
            if parsed is not None:
                return parsed
        return self._cells(chunk.rows(self._layout))

    def _cells(self, rows: Iterator[tuple[int, list[str]]]) -> csv_arrow.Parsed:
        """The same, from the cells of rows."""
        cells: Sequence[Sequence[str]] = list(zip(*(row for _, row in rows), strict=True))
        cells = cells or [()] * len(self._layout.names)
        return [
            column_of_cells([cell.strip() for cell in cells[i]], seen)
            for i, seen in self._seen.items()
        ]

    def _note(self, chunk: Chunk, parsed: csv_arrow.Parsed) -> tuple[list[Column], bool]:
        """The values; what is seen is kept. Whether a column of numbers proved to be texts."""
        changed = False
        for i, (seen, _) in zip(list(self._seen), parsed, strict=True):
            if are_numbers(self._seen[i]) and not are_numbers(seen):
                if i in self._given:
                    raise ValueError(self._no_number(chunk, i))
                changed = True
            self._seen[i] = seen
        return [column for _, column in parsed], changed

    def _no_number(self, chunk: Chunk, i: int) -> str:
        line, cell = next(
            (line, row[i].strip())
            for line, row in chunk.rows(self._layout)
            if not are_numbers(evidence_of(row[i].strip()))
        )
        name = self._layout.names[i]
        return f"column {name!r} must be numbers, but line {line} has {cell[:80]!r}"

    def _frame(self, columns: list[Column], row: int) -> Frame:
        """The columns as a frame, the first row of which is the file's of that number."""
        names = [self._layout.names[i] for i in self._seen]
        made: list[Column] = []
        for name, i, column in zip(names, self._seen, columns, strict=True):
            if self._given.get(i) == "time":
                assert isinstance(column, Texts)
                made.append(times_of(column, name, row))
            else:
                made.append(column)
        return Frame(tuple(names), tuple(made))
