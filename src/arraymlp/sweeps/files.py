"""Sweep files: all networks of a sweep and what it found, in one safetensors file.

Networks that are alike are stacked: the tensors ``networks.0.layers.0.weights``, ... have a leading
axis of members, whose numbers the header lists under ``networks``, with what a model file has of
each. The tensor ``sweep.json`` has the bytes of the JSON that `SweepResult.to_dict` makes, without
the ranking. Like a model file it is read without running anything.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from typing import Any

import numpy as np

from arraymlp._checks import to_python
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.diagnosis.findings import Finding
from arraymlp.sweeps.population import INTERRUPTED, MemberResult
from arraymlp.sweeps.space import shown
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
ABOUT = ("swept", "score", "greater_is_better", "backend", "seconds", "interrupted", "plan")


def save_sweep(
    path: str | os.PathLike[str],
    content: Mapping[str, Any],
    networks: Sequence[MultilayerPerceptron | None],
) -> None:
    """Write a sweep's file, whole or not at all.

    Args:
        path: of the file.
        content: as `SweepResult.to_dict` gives it.
        networks: of each member, in their order; None of those that were not trained.

    Raises:
        ValueError: an activation or loss that `load` could not find again.
        OSError: the file cannot be written.
    """
    alike: dict[Any, list[int]] = {}
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
        header, own = parts(stack)
        headers.append({**header, "members": numbers})
        tensors |= {f"networks.{i}.{name}": tensor for name, tensor in own.items()}
    write_parts(path, {"networks": headers}, tensors)


def load_sweep(
    path: str | os.PathLike[str], backend: Backend
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[int, list[Finding]]]:
    """Read what `save_sweep` wrote, the networks brought to a backend.

    Returns:
        What is known of the whole sweep, and of each member, by the names of the attributes of
        `SweepResult` and `Member`; and the findings of those members that were diagnosed.

    Raises:
        ModelFileError: the file is damaged, or of something else.
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
        there = stack.to(backend)
        networks |= {k: there.member(i) for i, k in enumerate(numbers)}
    with naming(path), _readable():
        about = {name: content[name] for name in ABOUT}
        members = [
            _member(row, own, networks.pop(row["member"], None), content["swept"])
            for row, own in zip(content["rows"], content["members"], strict=True)
        ]
        findings = {
            k: [Finding(**finding) for finding in own["findings"]]
            for k, own in enumerate(content["members"])
            if own["diagnosed"]
        }
        if networks:
            raise ModelFileError(f"it has networks of no member: {sorted(networks)}")
    return about, members, findings


@contextmanager
def _readable() -> Iterator[None]:
    """Have whatever goes wrong in reading be a ModelFileError."""
    try:
        yield
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"its sweep is not readable ({error!r})") from error


def _stacks(
    headers: Sequence[Mapping[str, Any]], tensors: Mapping[str, HostArray]
) -> list[tuple[list[int], MultilayerPerceptron]]:
    """Numbers of members, and the stack of their networks, on the host."""
    own: list[dict[str, HostArray]] = [{} for _ in headers]
    for name, tensor in tensors.items():
        _, i, rest = name.split(".", 2)
        own[int(i)][rest] = tensor
    found = []
    for header, some in zip(headers, own, strict=True):
        stack, numbers = network_of(header, some), header["members"]
        if stack.members != len(numbers):
            raise ModelFileError(f"{len(numbers)} members are to have {stack}")
        found.append((numbers, stack))
    return found


def _member(
    row: Mapping[str, Any],
    own: Mapping[str, Any],
    network: MultilayerPerceptron | None,
    swept: Sequence[str],
) -> dict[str, Any]:
    """The attributes of a `Member`, of which the file has a row and more."""
    outcome = None
    if network is not None:
        history = _history(own["history"], row["status"] == INTERRUPTED)
        outcome = MemberResult(network, history, row["status"], row["cause"], row["best_epoch"])
    elif own["history"]:
        raise ModelFileError(f"the network of member {row['member']} is missing")
    settings = own["settings"]
    return {
        "number": row["member"],
        "point": own["point"],
        "swept": {name: _value(settings[name], own["swept"][name]) for name in swept},
        "fold": row.get("fold"),
        "settings": settings,
        "outcome": outcome,
        "score": row["score"],
    }


def _value(setting: Any, shown_as: Any) -> Any:
    """A swept value as it was, where JSON has it; else what stands for it in a table."""
    value = to_python(setting)
    return value if shown(value) == shown_as else shown_as


def _history(columns: Mapping[str, list[Any]], broken_off: bool) -> History:
    """The records of columns; what is None was NaN, or of an epoch that broke off not taken."""
    records = []
    for values in zip(*columns.values(), strict=True):
        record = dict(zip(columns, values, strict=True))
        if broken_off:
            record = {name: v for name, v in record.items() if v is not None}
        records.append({name: nan if v is None else v for name, v in record.items()})
    return History(records)
