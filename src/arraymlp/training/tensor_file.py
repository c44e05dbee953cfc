"""The bytes of a model file: a header and tensors, all of them under one SHA-256.

The file is safetensors; the header is JSON in its metadata, under ``arraymlp``. It is read and
written by the lines here. The library wants a whole file in memory, or maps it, before it looks:
here nothing is read or allocated on the word of the file before its sizes are held against its
length, and what is written is copied nowhere. The bytes are those that the library would write.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from reprlib import repr as brief
from typing import Any, BinaryIO, NoReturn

import numpy as np

from arraymlp._checks import Rule
from arraymlp.backends.array import HostArray
from arraymlp.training.atomic import write_whole
from arraymlp.training.schema import (
    COUNT,
    POSITIVE,
    TEXT,
    Form,
    FormatVersionError,
    ModelFileError,
    require,
)

FORMAT = 2  # in format 1 the SHA-256 was that of the tensors' bytes alone
HEADER_LIMIT = 100_000_000  # bytes; safetensors' own
DTYPES = {"F32": "<f4", "F64": "<f8", "U8": "|u1"}
NAMES = {np.dtype(dtype).name: name for name, dtype in DTYPES.items()}

ENTRY: Form = {
    "dtype": Rule(" or ".join(DTYPES), lambda v: isinstance(v, str) and v in DTYPES),
    "shape": Rule(
        "one to three positive numbers",
        lambda v: isinstance(v, list) and 1 <= len(v) <= 3 and all(map(POSITIVE.allows, v)),
    ),
    "data_offsets": Rule(
        "two offsets",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(COUNT.allows, v)),
    ),
}


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have a ModelFileError begin with the file's path; lists too deep to be read are one."""
    try:
        yield
    except ModelFileError as error:
        raise type(error)(f"{os.fspath(path)}: {error}") from error.__cause__
    except RecursionError as error:
        raise ModelFileError(f"{os.fspath(path)}: its header is nested too deeply") from error


def write_parts(
    path: str | os.PathLike[str],
    header: Mapping[str, Any],
    tensors: Mapping[str, HostArray],
    before_replace: Callable[[Path], None] | None = None,
) -> None:
    """Write a header, with the format and the SHA-256 added, and tensors to a file.

    What is called before the file is replaced, and an OSError, are as of `write_whole`.

    Raises:
        ValueError: the header has what JSON lacks, or a tensor is none that `read_parts` takes.
    """
    tensors = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # as the library does
    start = _start(sealed_header(header, tensors), [(name, tensors[name]) for name in names])
    content = (tensors[name].data for name in names)
    write_whole(Path(path), start, *content, before_replace=before_replace)


def sealed_header(header: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> str:
    """A header as JSON, with the format and the SHA-256 of it and the tensors added."""
    whole = {"format": FORMAT, **header}
    whole["sha256"] = _digest(FORMAT, whole, tensors)
    return json.dumps(whole, allow_nan=False)


def _plain(name: str, tensor: HostArray) -> HostArray:
    """A tensor as its bytes are in a file: a copy only where it is not contiguous."""
    dtype = NAMES.get(tensor.dtype.name)
    if dtype is None or not 1 <= tensor.ndim <= 3 or not tensor.size:
        raise ValueError(f"no file has a tensor like {name}: {tensor.dtype}, {tensor.shape}")
    return np.ascontiguousarray(tensor, DTYPES[dtype])


def _start(text: str, tensors: list[tuple[str, HostArray]]) -> bytes:
    """What a file has before its tensors; the library would copy them to put it before them."""
    entries: dict[str, Any] = {"__metadata__": {"arraymlp": text}}
    end = 0
    for name, tensor in tensors:
        begin, end = end, end + tensor.nbytes
        dtype = NAMES[tensor.dtype.name]
        entries[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def read_parts(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """A file's header and tensors, as they were written.

    Raises:
        FormatVersionError: a newer version of this package has written it.
        ModelFileError: it is damaged, or no file of this package's.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = 8 + int.from_bytes(file.read(8), "little")  # the header's length, then the header
        if not 8 < start <= min(size, HEADER_LIMIT):
            raise ModelFileError("not a readable safetensors file: it has no header")
        entries = parse_object(file.read(start - 8), "its safetensors header")
        metadata = entries.pop("__metadata__", None)
        text = metadata.get("arraymlp") if isinstance(metadata, dict) else None
        if not isinstance(text, str):
            raise ModelFileError(
                "a safetensors file, but not of arraymlp: its metadata does not say so"
            )
        return unsealed(text, lambda: _read_tensors(file, entries, size - start))


def unsealed(
    text: str, read_tensors: Callable[[], dict[str, HostArray]]
) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """The header that `sealed_header` wrote, as it was, and the tensors.

    Args:
        text: the header's.
        read_tensors: is called where the format is one that this version reads.

    Raises:
        FormatVersionError: it is of a newer one.
        ModelFileError: it is no header, or not that of these tensors.
    """
    header = parse_object(text, "its arraymlp header", constants=True)
    version = header.get("format")
    if type(version) is not int or version not in (1, FORMAT):
        newer = type(version) is int and version > FORMAT
        raise (FormatVersionError if newer else ModelFileError)(
            f"format {brief(version)}, but this version reads formats 1 and 2"
        )
    tensors = read_tensors()
    require(header.get("sha256"), TEXT, "its SHA-256")
    try:
        digest = _digest(version, header, tensors)
    except ValueError as error:
        raise ModelFileError(f"its header has a number that is not finite ({error})") from error
    if header["sha256"] != digest:
        raise ModelFileError("it is damaged: its content is not that of the SHA-256 in its header")
    del header["format"], header["sha256"]
    return header, tensors


def parse_object(text: str | bytes, what: str, *, constants: bool = False) -> dict[str, Any]:
    """An object as JSON has it, each name once; a ModelFileError where it is none.

    Args:
        text: in UTF-8 where it is bytes.
        what: the text is, for the message.
        constants: whether NaN and Infinity, which JSON lacks and Python writes, are allowed.
    """
    refuse = None if constants else _refuse
    try:
        text = text if isinstance(text, str) else text.decode()
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=refuse)
    except ValueError as error:
        raise ModelFileError(f"{what} is no JSON ({error})") from error
    except RecursionError as error:
        raise ModelFileError(f"{what} is nested too deeply") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{what} is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """The file, open; a ModelFileError for anything else: a pipe would be waited for."""
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"):  # where the system has them
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ModelFileError("not a regular file")
    with os.fdopen(handle, "rb") as file:
        yield file


def _read_tensors(file: BinaryIO, entries: dict[str, Any], size: int) -> dict[str, HostArray]:
    """The tensors of a file that stands at the first; they must fill the rest, of ``size`` bytes.

    Every shape is held against that size before the first one is read.
    """
    require(entries, {"*": ENTRY}, "its safetensors header")
    names = sorted(entries, key=lambda name: entries[name]["data_offsets"])
    end = 0
    for name in names:
        entry = entries[name]
        begin, end_of_last = entry["data_offsets"][0], end
        end = begin + prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize
        if [end_of_last, end] != entry["data_offsets"]:
            raise ModelFileError(f"not a readable safetensors file: {name!r} is out of place")
    if end != size:
        raise ModelFileError(
            f"not a readable safetensors file: {size} bytes of tensors, where {end} should be"
        )
    tensors = {}
    for name in names:
        shape, dtype = entries[name]["shape"], DTYPES[entries[name]["dtype"]]
        values = np.fromfile(file, dtype, prod(shape))
        if values.size < prod(shape):
            raise ModelFileError(f"it ended within {name!r} while it was read")
        tensors[name] = values.reshape(shape)
    return tensors


def _digest(version: int, header: Mapping[str, Any], tensors: Mapping[str, HostArray]) -> str:
    """SHA-256 over a canonical text, which format 1 lacked, and the tensors' bytes.

    The text is JSON of the header and of the tensors' names, dtypes and shapes; everything is in
    the order of the names.
    """
    by_name, digest = sorted(tensors.items()), hashlib.sha256()
    if version > 1:
        content = {
            "header": {name: value for name, value in header.items() if name != "sha256"},
            "tensors": [[name, tensor.dtype.name, tensor.shape] for name, tensor in by_name],
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        digest.update(text.encode())
    for _, tensor in by_name:
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()
