"""Parquet files as blocks: their row groups."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from arraymlp.data.elsewhere.block_kinds import WITH_MISSING
from arraymlp.data.files.cells import Kind
from arraymlp.data.files.parquet_dataset import ParquetDataset, is_text
from arraymlp.data.files.table_file import errors_of
from arraymlp.data.frames.frame import Frame
from arraymlp.data.frames.sources import frame_of


class ParquetBlocks:
    """The row groups of a folder of Parquet files.

    What columns are is read from the ends of the files; where these do not say whether integers or
    booleans are missing somewhere, such columns are read once.

    Args:
        dataset: the files.
    """

    def __init__(self, dataset: ParquetDataset) -> None:
        self._dataset = dataset
        self.title, self.names = dataset.title, dataset.names
        self._known: dict[str, Kind] | None = None

    @property
    def lengths(self) -> Sequence[int]:
        """The number of rows of each row group."""
        return [group.rows for group in self._dataset.groups]

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What each column is, by its name."""
        if self._known is None:
            with errors_of(self.title):
                self._known = {name: self._kind(name) for name in self.names}
        return self._known

    def read(self, blocks: range, names: Sequence[str]) -> list[Frame]:
        """See `arraymlp.data.elsewhere.block_table.TableBlocks`."""
        groups = self._dataset.groups[blocks.start : blocks.stop]
        with errors_of(self.title):
            return [frame_of(table) for table in self._dataset.tables(groups, names)]

    def _kind(self, name: str) -> Kind:
        dataset = self._dataset
        if name in dataset.of_path:
            values = [file.keys[name] for file in dataset.files]
            known = [value for value in values if value is not None]
            kind: Kind = "text" if any(isinstance(value, str) for value in known) else "integer"
            missing = len(known) < len(values)
        else:
            types = {f: self._type(f, name) for f in {group.file for group in dataset.groups}}
            kind = next((kind for kind in types.values() if kind is not None), "number")
            missing = kind in WITH_MISSING and (None in types.values() or self._has_gaps(name))
        return WITH_MISSING.get(kind, kind) if missing else kind

    def _type(self, file: int, name: str) -> Kind | None:
        """What a file's column is by its type; None of one that has no values."""
        types = import_module("pyarrow").types
        schema = self._dataset.files[file].metadata.schema.to_arrow_schema()
        kind = schema.field(name).type
        if types.is_null(kind):
            return None
        if types.is_boolean(kind):
            return "boolean"
        if types.is_integer(kind):
            return "integer"
        if types.is_floating(kind) or types.is_decimal(kind) or types.is_duration(kind):
            return "number"
        if types.is_date(kind) or types.is_timestamp(kind):
            return "time"
        if is_text(kind) or types.is_dictionary(kind):
            return "text"
        raise ValueError(f"column {name!r}: it must be numbers, texts or dates, not {kind}")

    def _has_gaps(self, name: str) -> bool:
        """Whether a value is missing, by the files' ends, or else by their values."""
        unknown = []
        for group in self._dataset.groups:
            metadata = self._dataset.files[group.file].metadata.row_group(group.number)
            nulls = _nulls(metadata, name)
            if nulls:
                return True
            if nulls is None:
                unknown.append(group)
        return any(table[name].null_count for table in self._dataset.tables(unknown, [name]))


def _nulls(group: Any, name: str) -> int | None:
    """How many values of a column are missing in a row group; None where it does not say."""
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == name:
            statistics = column.statistics
            if statistics is None or not statistics.has_null_count:
                return None
            return int(statistics.null_count)
    return None
