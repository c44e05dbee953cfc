"""Damage to files: to any bytes, to CSV text, and to what a JSON document says."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from model_files import Header, Tensors, apart, sealed

SIZES = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
TOKENS = [
    *(
        b",",
        b";",
        b"\t",
        b'"',
        b'""',
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b" ",
        b"'",
        b"#",
        b"y",
        b"NA",
        b"nan",
    ),
    *(b"1e999", b"-inf", b"007", b"1_0", b"1,5", b"0x1", b"9" * 30, b"\xef\xbb\xbf", b"\xff"),
    *("é٣".encode(), b"\xc2\xa0"),
]


def damage(content: bytes, others: list[bytes], random: Random) -> bytes:
    """One to four changes of bytes; for one of them a part of another file may come in."""
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        random.choice(CHANGES)(changed, random.choice(others), random)
    return bytes(changed)


def _slice(content: bytes | bytearray, random: Random) -> slice:
    begin = random.randrange(len(content) + 1)
    return slice(begin, begin + random.choice([1, 2, 4, 8, 16, 64]))


def _flip(content: bytearray, other: bytes, random: Random) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _set(content: bytearray, other: bytes, random: Random) -> None:
    if content:
        content[random.randrange(len(content))] = random.randrange(256)


def _digit(content: bytearray, other: bytes, random: Random) -> None:
    digits = [i for i, byte in enumerate(content) if 48 <= byte < 58]
    if digits:
        content[random.choice(digits)] = random.randrange(48, 58)


def _size(content: bytearray, other: bytes, random: Random) -> None:
    """A number in a header, as large as can be: where most formats have their sizes."""
    width, order = random.choice([1, 2, 4, 8]), random.choice(["little", "big"])
    number = random.choice(SIZES) % 256**width
    at = random.randrange(min(len(content), 64) + 1 if random.random() < 0.5 else len(content) + 1)
    content[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]


def _insert(content: bytearray, other: bytes, random: Random) -> None:
    at = random.randrange(len(content) + 1)
    content[at:at] = random.randbytes(random.choice([1, 2, 8, 100]))


def _token(content: bytearray, other: bytes, random: Random) -> None:
    at = random.randrange(len(content) + 1)
    content[at : at + random.choice([0, 0, 1, 3])] = random.choice(TOKENS)


def _remove(content: bytearray, other: bytes, random: Random) -> None:
    del content[_slice(content, random)]


def _repeat(content: bytearray, other: bytes, random: Random) -> None:
    at = random.randrange(len(content) + 1)
    content[at:at] = content[_slice(content, random)] * random.choice([1, 2, 50])


def _truncate(content: bytearray, other: bytes, random: Random) -> None:
    del content[random.randrange(len(content) + 1) :]


def _extend(content: bytearray, other: bytes, random: Random) -> None:
    content += random.choice([bytes(100), random.randbytes(9), bytes(content)])


def _exchange(content: bytearray, other: bytes, random: Random) -> None:
    a, b = _slice(content, random), _slice(content, random)
    content[a], content[b] = content[b], content[a]


def _splice(content: bytearray, other: bytes, random: Random) -> None:
    at = random.randrange(len(content) + 1)
    content[at:] = other[random.choice([at, random.randrange(len(other) + 1)]) :]


CHANGES: list[Callable[[bytearray, bytes, Random], None]] = [
    *(_flip, _flip, _set, _digit, _size, _insert, _token, _token),
    *(_remove, _repeat, _truncate, _extend, _exchange, _splice),
]

# What a value of a JSON document may become
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63 - 1, 2**63, 10**30, -(10**400)),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), "", "0", "\0", "\ud800", "a" * 1000),
    *("relu", "softmax", "identity", "squared_error", "quantile", "huber", "float64", "uto"),
    *("finished", "interrupted", "diverged", "__class__", "cuda"),
    *("O", "<U500000000", "<M8[s]", "<f8", "|b1", "i4,f8"),
    *([], {}, [[]], [0, 1], [0.1, 0.9], ["a", "b"], [[0.1, 0.5], [0.2, 0.7]], {"": None}),
    {"number": "nan"},
    {"mapping": [[[], 1]]},
    {"loss": "huber", "parameters": {"threshold": -1}},
    {"array": ["a"] * 100, "dtype": "<U900000"},
    {"array": [1, 2, 3], "dtype": "<i8"},
    {"dropout": {"hidden": 0.5, "input": []}},
    list(range(1000)),
]


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _deep(levels: int, random: Random) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every value of a document, as the list or object that it is in, and its key there."""
    places, todo = [], [document]
    while todo:
        parent = todo.pop()
        for key in list(parent) if isinstance(parent, dict) else range(len(parent)):
            places.append((parent, key))
            if isinstance(parent[key], list | dict):
                todo.append(parent[key])
    return places


def change_document(document: Any, random: Random) -> None:
    """One change of a JSON document, in place."""
    places = _places(document)
    if not places:
        return
    # A place at random would nearly always be a number of a long list.
    parent, key = random.choice(places)
    if random.random() < 0.5:
        parent, key = random.choice([p for p in places if isinstance(p[0], dict)] or places)
    old = parent[key]
    kind = random.randrange(9)
    if kind < 3:
        parent[key] = _copy(random.choice(VALUES))
    elif kind == 3:
        del parent[key]
    elif kind == 4:
        other, other_key = random.choice(places)
        parent[key] = _copy(other[other_key])
    elif kind == 5 and isinstance(parent, dict):
        parent[random.choice(["", "*", "members", "loss", f"{key}?", f"{key}s"])] = parent.pop(key)
    elif kind == 6 and isinstance(old, list):
        old.insert(random.randrange(len(old) + 1), _copy(random.choice([*VALUES, *old])))
    elif kind == 7 and isinstance(old, str):
        parent[key] = damage(old.encode(errors="replace"), [b"relu"], random).decode(
            errors="replace"
        )
    elif kind == 8 and random.random() < 0.1:
        parent[key] = _deep(random.choice([10, 60, 200]), random)
    elif isinstance(old, int | float):
        half = old // 2 if isinstance(old, int) else old / 2
        parent[key] = random.choice([old + 1, old - 1, -old, half, str(old), [old]])


def change_tensors(tensors: Tensors, random: Random) -> None:
    """One change of a file's tensors, in place."""
    name = random.choice(sorted(tensors))
    tensor = tensors[name]
    kind = random.randrange(7)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[random.choice(["a", "sweep.json", name + ".0", name.replace("0", "1")])] = tensor
    elif kind == 2:
        tensors[name] = tensor.reshape(random.choice([(-1,), (1, -1), (-1, 1), (1, *tensor.shape)]))
    elif kind == 3:
        with np.errstate(all="ignore"):
            tensors[name] = tensor.astype(random.choice(["f4", "f8", "u1", "f2", "i8"]))
    elif kind == 4:
        tensors[name] = tensor[..., : random.randrange(tensor.shape[-1] + 1)]
    elif kind == 5 and tensor.dtype.kind == "f":
        tensors[name] = np.full_like(tensor, random.choice([np.nan, np.inf, 1e30, 0]))
    else:
        changed = damage(tensor.tobytes(), [tensor.tobytes()], random)
        size = len(changed) // tensor.itemsize
        tensors[name] = np.frombuffer(changed[: size * tensor.itemsize], tensor.dtype)
    tensors[name] = np.ascontiguousarray(tensors[name]) if name in tensors else np.ones(3, "f4")


def change_model(header: Header, tensors: Tensors, random: Random) -> None:
    """One to three changes of a model file's content: header, JSON among the tensors, or others."""
    if random.random() < 0.1:
        header["format"] = 1  # whose header is under no SHA-256
    for _ in range(random.choice([1, 1, 2, 3])):
        part = random.random()
        name = next((name for name in ("sweep.json", "run.json") if name in tensors), None)
        if part < 0.15:
            change_tensors(tensors, random)
        elif name is not None and part < (0.6 if name == "sweep.json" else 0.95):
            try:
                about = json.loads(tensors[name].tobytes())
                change_document(about, random)
            except (ValueError, AttributeError, RecursionError):  # of changes before
                continue
            text = json.dumps(about).encode()
            tensors[name] = np.frombuffer(text, np.uint8)
        else:
            change_document(header, random)


def resealed(content: bytes, others: list[bytes], random: Random) -> bytes:
    """Another content under the right SHA-256."""
    header, tensors = apart(content)
    change_model(header, tensors, random)
    return sealed(header, tensors)
