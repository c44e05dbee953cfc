"""Sweep files: a sweep's networks, histories and findings in one safetensors file.

Networks that are alike are stacked: the tensors ``networks.0.layers.0.weights``, ... have a leading
axis of members. The header lists the members' numbers under ``networks``, with what the header of a
model file says of each stack. The tensor ``sweep.json`` has the bytes of the JSON of
`SweepResult.to_dict`, without the ranking. As with a model file, reading runs no code of the file.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from typing import Any, TypeAlias

import numpy as np

from arraymlp._checks import to_python
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.diagnosis.findings import Finding
from arraymlp.sweeps.population import INTERRUPTED, MemberResult
from arraymlp.sweeps.space import Shown, shown
from arraymlp.training.files import (
    ModelFileError,
    naming,
    network_of,
    parts,
    read_parts,
    require_undamaged,
    write_parts,
)
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron

JSON = "sweep.json"
Json: TypeAlias = Mapping[str, Any]  # an object as JSON has it

ABOUT = ("swept", "score", "greater_is_better", "backend", "seconds", "interrupted", "plan")


def save_sweep(
    path: str | os.PathLike[str],
    content: Json,
    networks: Sequence[MultilayerPerceptron | None],
) -> None:
    """Write a sweep's file, whole or not at all.

    Args:
        path: the file's.
        content: as `SweepResult.to_dict` gives it.
        networks: each member's, in their order; None for members that were not trained.

    Raises:
        ValueError: an activation or loss that `load` could not find again.
        OSError: the file cannot be written.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for k, network in enumerate(networks):
        if network is not None:
            functions = [layer.activation for layer in network.layers]
            key = network.sizes, repr(functions), network.dtype, repr(network.loss)
            alike.setdefault(key, []).append(k)
    text = json.dumps({k: v for k, v in content.items() if k != "rank"}, allow_nan=False)
    tensors: dict[str, HostArray] = {JSON: np.frombuffer(text.encode(), np.uint8)}
    headers = []
    for i, numbers in enumerate(alike.values()):
        stack = MultilayerPerceptron.stacked([n for k in numbers if (n := networks[k])])
        header, arrays = parts(stack)
        headers.append({**header, "members": numbers})
        tensors |= {f"networks.{i}.{name}": array for name, array in arrays.items()}
    write_parts(path, {"networks": headers}, tensors)


def load_sweep(
    path: str | os.PathLike[str], backend: Backend
) -> tuple[Json, list[Json], dict[int, list[Finding]]]:
    """Read what `save_sweep` wrote, the networks brought to a backend.

    Returns:
        Attributes of the `SweepResult` by name; attributes of each `Member` by name; and the
        findings of those members that were diagnosed, by number.

    Raises:
        ModelFileError: the file is damaged, or does not hold a sweep.
        OSError: it cannot be read.
    """
    with naming(path):
        header, tensors = read_parts(path)
        if "networks" not in header:
            raise ModelFileError("it holds one network, not a sweep: arraymlp.load opens it")
        require_undamaged(header, tensors)
        with _readable():
            content = json.loads(tensors.pop(JSON).tobytes())
            stacks = _stacks(header["networks"], tensors)
    networks: dict[int, MultilayerPerceptron] = {}
    for numbers, stack in stacks:
        moved = stack.to(backend)
        networks |= {k: moved.member(i) for i, k in enumerate(numbers)}
    with naming(path), _readable():
        about = {name: content[name] for name in ABOUT}
        members = [
            _member(row, details, networks.pop(row["member"], None), content["swept"])
            for row, details in zip(content["rows"], content["members"], strict=True)
        ]
        findings = {
            k: [Finding(**finding) for finding in details["findings"]]
            for k, details in enumerate(content["members"])
            if details["diagnosed"]
        }
        if networks:
            raise ModelFileError(f"it has networks of no member: {sorted(networks)}")
    return about, members, findings


@contextmanager
def _readable() -> Iterator[None]:
    """Turn the errors of reading what is not as it should be into a ModelFileError."""
    try:
        yield
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"its sweep is not readable ({error!r})") from error


def _stacks(
    headers: Sequence[Json], tensors: Mapping[str, HostArray]
) -> list[tuple[list[int], MultilayerPerceptron]]:
    """Numbers of members, and the stack of their networks, on the host."""
    arrays: list[dict[str, HostArray]] = [{} for _ in headers]
    for name, tensor in tensors.items():
        _, i, rest = name.split(".", 2)
        arrays[int(i)][rest] = tensor
    stacks = []
    for header, stack_arrays in zip(headers, arrays, strict=True):
        stack, numbers = network_of(header, stack_arrays), header["members"]
        if stack.members != len(numbers):
            raise ModelFileError(f"{len(numbers)} members are to have {stack}")
        stacks.append((numbers, stack))
    return stacks


def _member(
    row: Json,
    details: Json,
    network: MultilayerPerceptron | None,
    swept: Sequence[str],
) -> Json:
    """The attributes of a `Member` by name, from its row, the details beside it and its network."""
    result = None
    if network is not None:
        history = _history(details["history"], row["status"] == INTERRUPTED)
        result = MemberResult(network, history, row["status"], row["cause"], row["best_epoch"])
    elif details["history"]:
        raise ModelFileError(f"the network of member {row['member']} is missing")
    settings = details["settings"]
    return {
        "number": row["member"],
        "point": details["point"],
        "swept": {name: _value(settings[name], details["swept"][name]) for name in swept},
        "fold": row.get("fold"),
        "settings": settings,
        "result": result,
        "score": row["score"],
    }


def _value(setting: object, shown_as: Shown) -> object:
    """A swept value as it was, where JSON can have it; else the text for it in a table."""
    value: object = to_python(setting)
    return value if shown(value) == shown_as else shown_as


def _history(columns: Mapping[str, list[Any]], broken_off: bool) -> History:
    """The records of columns. None was NaN, or a figure that an epoch broken off lacks."""
    records = []
    for values in zip(*columns.values(), strict=True):
        record = dict(zip(columns, values, strict=True))
        if broken_off:
            record = {name: v for name, v in record.items() if v is not None}
        records.append({name: nan if v is None else v for name, v in record.items()})
    return History(records)
