"""A folder of Parquet files as a table file, row group by row group."""

from collections.abc import Iterator, Mapping
from typing import Any

from arraymlp.data.files.cells import Kind
from arraymlp.data.files.parquet_dataset import ParquetDataset
from arraymlp.data.files.parquet_table import ROWS, ParquetFile
from arraymlp.data.files.table_file import errors_of, require_columns


class ParquetFolder(ParquetFile):
    """The Parquet files of a folder, or at a URL; see `ParquetDataset` for which, and their order.

    Args:
        path: of the folder.
        title: it, for messages.
        kinds: as for `arraymlp.data.files.table_files.open_table`.
    """

    def __init__(self, path: str, title: str, kinds: Mapping[str, Kind] | None = None) -> None:
        self._dataset = ParquetDataset(path)
        with errors_of(title):
            require_columns(self._dataset.names, tuple(kinds or ()))
        self._begin(title, self._dataset.names, kinds, self._dataset.n_bytes)

    def _batches(self) -> Iterator[Any]:
        for group in self._dataset.groups:
            for table in self._dataset.tables([group], self.used):
                yield from table.to_batches(ROWS)
