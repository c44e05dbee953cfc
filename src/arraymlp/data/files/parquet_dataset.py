"""A folder of Parquet files as one table: which files, which row groups, and how they are read.

The folder may be a local one, or lie in a file system that fsspec or pyarrow knows by a URL, such
as ``s3://bucket/folder``.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import Any, NamedTuple

from arraymlp.data.files.parquet_table import names_of, parquet
from arraymlp.data.files.table_file import errors_of, require_different

SUFFIX = ".parquet"
AT_ONCE = 8  # files whose ends are read at the same time: over a network each takes its time
LISTED = 20  # names in a message


class RowGroup(NamedTuple):
    """A row group of one of the files: its file's number, its own in it, and its rows."""

    file: int
    number: int
    rows: int


@dataclass(frozen=True, eq=False)
class ParquetFileOf:
    """A file of a folder.

    Attributes:
        path: in its file system.
        metadata: pyarrow's, of what is where in it.
        stamp: its size and when it was changed, as its file system says.
        keys: values that its path gives columns, as ``year=2024`` does; None for a missing one.
    """

    path: str
    metadata: Any
    stamp: tuple[Any, Any]
    keys: Mapping[str, Any]


class ParquetDataset:
    """The Parquet files in a folder and in those below it, or a single one.

    The rows are in the order of the files' paths, in which numbers count as such: part-2 stands
    before part-10. Files and folders whose names begin with "_" or "." are passed over, and so is
    what does not end in .parquet. Folders named as ``year=2024`` give a column, whose values are
    integers where all of them are, else texts.

    It is pickled without an open file, and opens the files anew wherever it is read.

    Attributes:
        title: its path, for messages.
        names: of the columns: those of the files, then those of their paths.
        schema: pyarrow's, of the columns in the files.
        groups: the row groups that have rows, in order.

    Args:
        path: a path, or a URL.

    Raises:
        ValueError: there are no such files, one of them is damaged, or they have other columns.
        OSError: they cannot be read.
        ModuleNotFoundError: pyarrow is not installed, or what the URL needs.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.title = os.fspath(path)
        self._scheme = self.title.partition("://")[0] + "://" if is_url(self.title) else ""
        with readable(self.title):
            fs, root = filesystem(self.title)
            paths, keys = _found(fs, root, self.title)
            with ThreadPoolExecutor(AT_ONCE, "arraymlp-files") as pool:
                stamps = list(pool.map(lambda p: _stamp(fs, p), paths))
                metadata = list(pool.map(lambda p: self._metadata(fs, p), paths))
        every = zip(paths, metadata, stamps, keys, strict=True)
        self.files = [ParquetFileOf(*each) for each in every]
        self.groups = [
            RowGroup(f, g, file.metadata.row_group(g).num_rows)
            for f, file in enumerate(self.files)
            for g in range(file.metadata.num_row_groups)
            if file.metadata.row_group(g).num_rows
        ]
        first = self.files[self.groups[0].file if self.groups else 0]
        self.schema = first.metadata.schema.to_arrow_schema()
        with errors_of(self._named(first.path)):
            self.of_files = names_of(self.schema)
        for f in dict.fromkeys(group.file for group in self.groups):  # those with rows
            with errors_of(self._named(self.files[f].path)):
                _require_same(self.files[f], self.schema, self.of_files, first.path)
        self.of_path = tuple(name for name in keys[0] if name not in self.of_files)
        self.names = (*self.of_files, *self.of_path)
        with errors_of(self.title):
            require_different(self.names)

    @property
    def n_bytes(self) -> int:
        """The size of all columns, as they are in memory, but for what repeats."""
        return sum(
            self.files[group.file].metadata.row_group(group.number).total_byte_size
            for group in self.groups
        )

    def tables(self, groups: Sequence[RowGroup], names: Sequence[str]) -> Iterator[Any]:
        """Tables of pyarrow: those of the row groups of one file together, in order.

        Args:
            groups: in order.
            names: of the columns that are read.

        Raises:
            ValueError: a file is damaged.
            OSError: a file cannot be read.
        """
        fs, _ = filesystem(self.title)
        each = [list(of_file) for _, of_file in groupby(groups, lambda group: group.file)]

        def read(of_file: Sequence[RowGroup]) -> Any:
            file = self.files[of_file[0].file]
            with readable(self._named(file.path)):
                return self._table(fs, file, of_file, names)

        if not self._scheme or len(each) < 2:  # pyarrow has threads for what is on a disk
            yield from map(read, each)
            return
        with ThreadPoolExecutor(AT_ONCE, "arraymlp-files") as pool:
            yield from pool.map(read, each)

    def _table(
        self, fs: Any, file: ParquetFileOf, groups: Sequence[RowGroup], names: Sequence[str]
    ) -> Any:
        pa = import_module("pyarrow")
        inside = [name for name in names if name not in self.of_path]
        n = sum(group.rows for group in groups)
        table: Any = None
        if inside:
            now = _stamp(fs, file.path)
            if now[0] is not None and now != file.stamp:  # its end, which is kept, is another's
                raise ValueError(f"{file.path} is another file than when it was read first")
            with parquet().ParquetFile(
                file.path, metadata=file.metadata, filesystem=fs, pre_buffer=True
            ) as opened:
                table = opened.read_row_groups([g.number for g in groups], columns=inside)
            table.validate(full=True)
        columns = {
            name: table[name] if name in inside else pa.array([file.keys[name]] * n)
            for name in names
        }
        return pa.table(columns)

    def _metadata(self, fs: Any, path: str) -> Any:
        with readable(self._named(path)), parquet().ParquetFile(path, filesystem=fs) as file:
            return file.metadata

    def _named(self, path: str) -> str:
        return self._scheme + path


def _stamp(fs: Any, path: str) -> tuple[Any, Any]:
    """Size and time of change of a file; None where it is not there."""
    info = fs.get_file_info(path)
    return info.size, info.mtime_ns


def filesystem(path: str) -> tuple[Any, str]:
    """The file system, pyarrow's, and the path in it.

    fsspec knows a URL where its implementation is installed, as s3fs is for s3://, with what the
    environment says of keys and endpoints; else pyarrow does.
    """
    try:
        fs: Any = import_module("pyarrow.fs")
    except ImportError as error:
        raise ModuleNotFoundError("Parquet files need pyarrow: pip install pyarrow") from error
    if "://" not in path:
        return fs.LocalFileSystem(), os.path.abspath(path)
    try:
        core = import_module("fsspec.core")
        found, inside = core.url_to_fs(path)
        return fs.PyFileSystem(fs.FSSpecHandler(found)), inside
    except (ImportError, ValueError) as of_fsspec:
        try:
            found, inside = fs.FileSystem.from_uri(path)
        except Exception as of_pyarrow:
            raise ModuleNotFoundError(
                f"{path}: what reads it is not installed; for s3:// it is s3fs: pip install s3fs "
                f"({of_fsspec}; {of_pyarrow})"
            ) from of_pyarrow
        return found, inside


def is_url(path: object) -> bool:
    """True for a text such as s3://bucket/folder."""
    return isinstance(path, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def _found(fs: Any, root: str, title: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The paths of the files in their order, and the values that each gives columns."""
    info = fs.get_file_info(root)
    kinds = import_module("pyarrow.fs")
    if info.type == kinds.FileType.NotFound:
        raise FileNotFoundError(f"{title}: there is no such file or folder")
    if info.type == kinds.FileType.File:
        return [root], [{}]
    root = root.rstrip("/")
    inside = [
        found.path
        for found in fs.get_file_info(kinds.FileSelector(root, recursive=True))
        if found.type == kinds.FileType.File
    ]
    parts = {path: path[len(root) :].strip("/").split("/") for path in inside}
    if any(of[0] == "_delta_log" for of in parts.values()):
        raise ValueError(
            f"{title}: it is a Delta table, of whose files not all are rows of it: read it with "
            "the library of Delta"
        )
    chosen = [
        path
        for path in inside
        if path.lower().endswith(SUFFIX)
        and not any(part.startswith(("_", ".")) for part in parts[path])
    ]
    if not chosen:
        raise ValueError(
            f"{title}: there is no {SUFFIX} file in it, beside such as begin with _ or ."
        )
    chosen.sort(key=lambda path: [natural(part) for part in parts[path]])
    return chosen, _keys([parts[path][:-1] for path in chosen], title)


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A key to sort by, in which the numbers of a text count as such."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", text)
        if part
    ]


def _keys(folders: Sequence[Sequence[str]], title: str) -> list[dict[str, Any]]:
    """What paths such as year=2024/kind=a say, of each file."""
    from urllib.parse import unquote

    found: list[dict[str, Any]] = []
    for parts in folders:
        pairs = (part.partition("=") for part in parts if "=" in part)
        found.append({unquote(name): unquote(value) for name, _, value in pairs})
        if list(found[-1]) != list(found[0]):
            raise ValueError(
                f"{title}: some files lie in folders that say {listed(found[0])}, and others in "
                f"such that say {listed(found[-1])}"
            )
    for name in found[0]:
        given = {keys[name] for keys in found} - {"__HIVE_DEFAULT_PARTITION__"}
        whole = all(re.fullmatch(r"-?\d{1,18}", value) for value in given)
        for keys in found:
            value = keys[name]
            if value not in given:
                keys[name] = None
            elif whole:
                keys[name] = int(value)
    return found


def _require_same(file: ParquetFileOf, schema: Any, names: Sequence[str], first: str) -> None:
    """A ValueError where a file's columns are others than those of the first one."""
    own = file.metadata.schema.to_arrow_schema()
    there = names_of(own)
    for name in names:
        if name not in there:
            raise ValueError(f"it lacks the column {name!r}, which {first} has")
        a, b = own.field(name).type, schema.field(name).type
        if not _alike(a, b):
            raise ValueError(f"column {name!r} is {a}, but in {first} it is {b}")
    for name in there:
        if name not in names:
            raise ValueError(f"it has a column {name!r}, which {first} does not have")


def is_text(kind: Any) -> bool:
    """Whether a type of pyarrow's is of texts that are not coded."""
    types = import_module("pyarrow").types
    is_view = getattr(types, "is_string_view", lambda _: False)  # not in old versions
    return bool(types.is_string(kind) or types.is_large_string(kind) or is_view(kind))


def _alike(a: Any, b: Any) -> bool:
    """Whether values of these types are the same kind of values; a null type has none at all."""
    types = import_module("pyarrow").types
    both_texts = all(is_text(t) or types.is_dictionary(t) for t in (a, b))
    return bool(a == b or both_texts or types.is_null(a) or types.is_null(b))


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Have errors name a file, or a folder.

    Raises:
        OSError: a store at a URL raised anything of its own; or the system did, as it says it.
        ValueError: the file is damaged; or as it is raised here.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except FileNotFoundError as error:
        if what in str(error):
            raise
        raise FileNotFoundError(f"{what} is no longer there") from error
    except Exception as error:
        said, kind = " ".join(str(error).split()), type(error)
        of_arrow = kind.__module__.startswith("pyarrow")
        of_file = isinstance(error, OSError) and error.errno is None and not is_url(what)
        if of_arrow or of_file:
            raise ValueError(f"{what}: not readable as Parquet ({said})") from error
        if is_url(what) and not isinstance(error, ValueError) and not said.startswith(what):
            raise OSError(f"{what} could not be read: {kind.__name__}: {said}") from error
        raise


def listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Names for a message, not more than fit it."""
    shown = list(names)
    more = f" and {len(shown) - LISTED} more" if len(shown) > LISTED else ""
    return (", ".join(map(repr, shown[:LISTED])) or "nothing") + more
