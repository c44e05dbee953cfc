"""Opens a file with a table: CSV, Parquet, NumPy's .npz, or what comes from standard input."""

import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from arraymlp.data.files.cells import Kind
from arraymlp.data.files.csv_table import CsvFile
from arraymlp.data.files.npz_table import NpzFile
from arraymlp.data.files.parquet_dataset import is_url
from arraymlp.data.files.parquet_folder import ParquetFolder
from arraymlp.data.files.parquet_table import ParquetFile
from arraymlp.data.files.table_file import TableFile

FORMATS: dict[str, type[CsvFile] | type[NpzFile] | type[ParquetFile]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".parquet": ParquetFile,
    ".npz": NpzFile,
}
MAGIC = {b"PAR1": ".parquet", b"PK\x03\x04": ".npz"}  # how files begin that are no CSV


def open_table(path: Path | str, kinds: Mapping[str, Kind] | None = None) -> TableFile:
    """A file as a table of named columns: numbers, texts, dates and times.

    In a CSV file a column is numbers where every cell is a number or missing; else it is texts.
    Missing are empty cells and NA, N/A, #N/A, NaN, null, None, <NA> and ?; among numbers in any
    case. Codes with leading zeros, such as 007, make a column texts; so do integers beyond int64,
    and beyond 2^53 where some are missing, for no number here could hold them. Booleans and dates
    are texts.

    Args:
        path: of a file that ends in .csv (cells parted by commas, semicolons or tabs), .tsv,
            .parquet or .npz; of a folder of .parquet files, or a URL of such, as
            s3://bucket/folder; or ``-`` for standard input, which is kept in a temporary file until
            the table is closed.
        kinds: of the columns to read, by their names: "number", "text", or "time", for which a CSV
            file has ISO 8601. By default all columns are read, and the rows say what they are.

    Raises:
        ValueError: another kind of file; columns that are not there; or the file is damaged, then
            or when it is read: each message begins with the file.
        OSError: the file cannot be read.
        ModuleNotFoundError: pyarrow, which reads Parquet, is not installed.
    """
    if str(path) == "-":
        return _standard_input(kinds)
    if is_url(path) or Path(path).is_dir():
        return ParquetFolder(str(path), str(path), kinds)
    path = Path(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise ValueError(
            f"{path}: a data file is .csv, .tsv, .parquet or .npz, or a folder of .parquet files"
        )
    with path.open("rb"):  # an OSError that names the file, whatever would read it
        pass
    return form(path, str(path), kinds)


def _standard_input(kinds: Mapping[str, Kind] | None) -> TableFile:
    """What comes from standard input, kept in a file that ends with the table."""
    folder = tempfile.mkdtemp(prefix="arraymlp-")
    try:
        spool = Path(folder, "input")
        with spool.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with spool.open("rb") as file:
            suffix = MAGIC.get(file.read(4), ".csv")
        path = spool.rename(spool.with_suffix(suffix))
        table = FORMATS[suffix](path, "standard input", kinds)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    table.at_end(weakref.finalize(table, shutil.rmtree, folder, ignore_errors=True))
    return table
