"""The bytes of an ONNX file that `arraymlp.to_onnx` wrote: the header and tensors within.

Beside its graph such a file has all that a model file has: the tensors are its initialisers, by the
same names, and the header is in its metadata, under ``arraymlp``, with the same SHA-256. They are
read by the lines here, which know as much of protocol buffers as that takes: the package onnx is
not needed, and nothing in the file is run.

The numbers of fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, the form
of the bytes is that of https://protobuf.dev/programming-guides/encoding.
"""

import os
from collections.abc import Iterator
from math import prod
from typing import Any, TypeAlias

import numpy as np

from arraymlp.backends.array import HostArray
from arraymlp.training.schema import ModelFileError
from arraymlp.training.tensor_file import open_regular, unsealed

SUFFIX, LIMIT = ".onnx", 2**31 - 1  # bytes, of any file of protocol buffers
# How the files begin: with IR version 8, and the producer's name.
BEGINNING = b"\x08\x08\x12\x08arraymlp"
CONSTANT = "constants"  # begins the names of initialisers that are no tensors of the model

# Fields, by their numbers
MODEL_GRAPH, MODEL_PROPERTIES = 7, 14
PROPERTY_KEY, PROPERTY_VALUE = 1, 2
GRAPH_INITIALIZER = 5
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_NAME, TENSOR_BYTES = 1, 2, 8, 9
TENSOR = {TENSOR_SHAPE, TENSOR_TYPE, TENSOR_NAME, TENSOR_BYTES}

DTYPES = {1: "<f4", 11: "<f8"}  # by the numbers of their types
VARINT, LENGTH, FIXED = 0, 2, {1: 8, 5: 4}  # the forms of a field

Field: TypeAlias = "int | memoryview"


def is_onnx(path: str | os.PathLike[str]) -> bool:
    """Whether a file is to be read as ONNX: by its first bytes, else by its name.

    Raises:
        ModelFileError: it is no regular file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        start = file.read(len(BEGINNING))
    named = os.fspath(path).lower().endswith(SUFFIX)
    return start == BEGINNING or (named and start[8:9] != b"{")  # as of safetensors


def read_onnx(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """A file's header and tensors; they may not be written to.

    Raises:
        FormatVersionError: a newer version of this package has written it.
        ModelFileError: it is damaged, or no ONNX file of this package's.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > LIMIT:
            raise _unreadable(f"it has {size} bytes, and ONNX's files at most 2 GiB")
        model = _by_number(memoryview(file.read()))
    properties = [_by_number(_bytes(field)) for field in model.get(MODEL_PROPERTIES, [])]
    headers = [
        _text(_only(one, PROPERTY_VALUE))
        for one in properties
        if _text(_only(one, PROPERTY_KEY)) == "arraymlp"
    ]
    if not headers:
        raise ModelFileError(
            "an ONNX file, but without the header of a network: only those that arraymlp.to_onnx "
            "writes of networks, populations and what has one of these can be loaded"
        )
    if len(headers) > 1:
        raise _unreadable("it has two headers")
    return unsealed(headers[0], lambda: _tensors(_only(model, MODEL_GRAPH)))


def _tensors(graph: Field) -> dict[str, HostArray]:
    """The tensors of the model, of a graph; its constants are none."""
    tensors: dict[str, HostArray] = {}
    for field in _by_number(_bytes(graph)).get(GRAPH_INITIALIZER, []):
        fields = _by_number(_bytes(field))
        name = _text(_only(fields, TENSOR_NAME))
        if name.startswith(f"{CONSTANT}."):
            continue
        if name in tensors:
            raise _unreadable(f"{name!r} stands twice in it")
        tensors[name] = _tensor(fields, name)
    return tensors


def _tensor(fields: dict[int, list[Field]], name: str) -> HostArray:
    kind, content = _only(fields, TENSOR_TYPE), _bytes(_only(fields, TENSOR_BYTES))
    shape = [n for field in fields.get(TENSOR_SHAPE, []) for n in _numbers(field)]
    if not fields.keys() <= TENSOR or kind not in DTYPES:
        raise _unreadable(f"{name!r} is not stored as arraymlp.to_onnx stores it")
    dtype = np.dtype(DTYPES[kind])
    if not 1 <= len(shape) <= 3 or 0 in shape or prod(shape) * dtype.itemsize != len(content):
        raise _unreadable(f"{name!r} has {len(content)} bytes, but the shape {shape[:9]}")
    return np.frombuffer(content, dtype).reshape(shape)


def _by_number(message: memoryview) -> dict[int, list[Field]]:
    """The fields of a message, by their numbers."""
    fields: dict[int, list[Field]] = {}
    for number, value in _fields(message):
        fields.setdefault(number, []).append(value)
    return fields


def _fields(message: memoryview) -> Iterator[tuple[int, Field]]:
    """Every field of a message: its number, and an integer or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, form = tag >> 3, tag & 7
        if form == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if form == LENGTH:
            length, at = _varint(message, at)
        elif form in FIXED:
            length = FIXED[form]
        else:
            raise _unreadable(f"there is no form {form} of a field")
        if length > len(message) - at:
            raise _unreadable("it ends within a field")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for i, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise _unreadable("it ends within a number")


def _numbers(field: Field) -> list[int]:
    """The integers of a repeated field: one of them, or several packed into bytes."""
    if isinstance(field, int):
        return [field]
    numbers, at = [], 0
    while at < len(field):
        number, at = _varint(field, at)
        numbers.append(number)
    return numbers


def _only(fields: dict[int, list[Field]], number: int) -> Field:
    """The value of a field that must stand once."""
    values = fields.get(number, [])
    if len(values) != 1:
        raise _unreadable(f"field {number} stands {len(values)} times where it must stand once")
    return values[0]


def _bytes(field: Field) -> memoryview:
    if isinstance(field, int):
        raise _unreadable("a number stands where bytes must stand")
    return field


def _text(field: Field) -> str:
    try:
        return str(_bytes(field), "utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(f"a text in it is not UTF-8 ({error})") from error


def _unreadable(why: str) -> ModelFileError:
    return ModelFileError(f"not a readable ONNX file: {why}")
