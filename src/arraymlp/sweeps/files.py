"""Sweep files: a sweep's networks, histories and findings in one safetensors file.

Networks that are alike are stacked: the tensors ``networks.0.layers.0.weights``, ... have a leading
axis of members. The header lists the members' numbers under ``networks``, with what the header of a
model file says of each stack. The tensor ``sweep.json`` has the bytes of the JSON of
`SweepResult.to_dict`, without the ranking. As with a model file, reading runs no code of the file.
"""

import json
import os
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, TypeAlias

import numpy as np

from arraymlp._checks import to_python
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.diagnosis.findings import Finding, Findings
from arraymlp.sweeps.population import INTERRUPTED, LOST, MemberResult
from arraymlp.sweeps.space import Shown, shown
from arraymlp.training.history import History
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.network_parts import NETWORK, network_of, parts
from arraymlp.training.schema import (
    ANY,
    COUNT,
    FLAG,
    NUMBER,
    PLAIN,
    TEXT,
    Form,
    ModelFileError,
    optional,
    require,
)
from arraymlp.training.tensor_file import naming, parse_object, read_parts, write_parts

JSON = "sweep.json"
Json: TypeAlias = Mapping[str, Any]  # an object as JSON has it

HEADER: Form = {"networks": [{**NETWORK, "members": [COUNT]}]}
ABOUT: dict[str, Form] = {
    "swept": [TEXT],
    "score": TEXT,
    "greater_is_better": FLAG,
    "backend": TEXT,
    "seconds": NUMBER,
    "interrupted": FLAG,
    "plan": TEXT,
}
ROW: Form = {
    "member": COUNT,
    "status": TEXT,
    "score": optional(NUMBER),
    "best_epoch": optional(COUNT),
    "fold?": optional(COUNT),
    "cause": TEXT,
    "*": PLAIN,
}
FINDING: Form = {
    "kind": TEXT,
    "sentence": TEXT,
    "figures": {"*": ANY},
    **dict.fromkeys(("layer", "member"), optional(COUNT)),
    **dict.fromkeys(("from_step", "to_step", "from_epoch", "to_epoch"), optional(COUNT)),
}
DETAILS: Form = {
    "point": COUNT,
    "swept": {"*": PLAIN},
    "settings": {"seed": PLAIN, "order_seed": PLAIN, "*": ANY},
    "findings": [FINDING],
    "diagnosed": FLAG,
    "history": {"*": [ANY]},
}
# Of every history; the other columns are whatever a callback has put there, too.
COLUMNS: dict[str, Form] = {"epoch": [COUNT], "seconds": [optional(NUMBER)], "*": [ANY]}


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
    encodings: list[object] = []
    for k, network in enumerate(networks):
        if network is not None:
            functions = [layer.activation for layer in network.layers]
            scales: tuple[object, ...] = (network.inputs is None, network.outputs is None)
            if network.encoding not in encodings:
                encodings.append(network.encoding)
            scales = *scales, encodings.index(network.encoding)
            key = network.sizes, repr(functions), network.dtype, repr(network.loss), *scales
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
) -> tuple[Json, list[dict[str, Any]], dict[int, Findings]]:
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
        require(header, HEADER, "its header")
        if JSON not in tensors:
            raise ModelFileError(f"it has no {JSON}")
        content = parse_object(tensors.pop(JSON).tobytes(), f"its {JSON}")
        require(content, {**ABOUT, "rows": [ROW], "members": [DETAILS]}, f"its {JSON}")
        stacks = _stacks(header["networks"], tensors)
        members = _members(content, [k for numbers, _ in stacks for k in numbers])
    for numbers, stack in stacks:
        moved = stack.to(backend)
        for i, k in enumerate(numbers):
            members[k]["result"] = _result(content, k, moved.member(i))
    findings = {
        k: Findings(Finding(**finding) for finding in details["findings"])
        for k, details in enumerate(content["members"])
        if details["diagnosed"]
    }
    return {name: content[name] for name in ABOUT}, members, findings


def _stacks(
    headers: Sequence[Json], tensors: Mapping[str, HostArray]
) -> list[tuple[list[int], MultilayerPerceptron]]:
    """Numbers of members, and the stack of their networks, on the host."""
    arrays: dict[str, dict[str, HostArray]] = {}  # by their stack, such as networks.0
    for name, tensor in tensors.items():
        parts_of_name = name.split(".", 2)
        stack_name, own_name = ".".join(parts_of_name[:2]), "".join(parts_of_name[2:])
        arrays.setdefault(stack_name, {})[own_name] = tensor
    stacks = []
    for i, header in enumerate(headers):
        numbers = header["members"]
        of_network = {name: value for name, value in header.items() if name != "members"}
        stack = network_of(of_network, arrays.pop(f"networks.{i}", {}))
        if stack.members != len(numbers):
            raise ModelFileError(f"{len(numbers)} members are to have {stack}")
        stacks.append((numbers, stack))
    if arrays:
        raise ModelFileError(f"it has tensors of no network: {', '.join(list(arrays)[:20])}")
    return stacks


def _members(content: Json, trained: Sequence[int]) -> list[dict[str, Any]]:
    """The attributes of each `Member` by name, without the results of those that were trained."""
    rows, swept = content["rows"], content["swept"]
    if len(rows) != len(content["members"]):
        raise ModelFileError(f"it has {len(rows)} rows of {len(content['members'])} members")
    if len(set(trained)) < len(trained) or not set(trained) <= set(range(len(rows))):
        raise ModelFileError(f"its networks are not those of its {len(rows)} members")
    members = []
    for k, (row, details) in enumerate(zip(rows, content["members"], strict=True)):
        where, names = f"its member {k}", set(swept)
        if row["member"] != k:
            raise ModelFileError(f"{where} says that it is number {row['member']}")
        if not names <= details["settings"].keys() or names != details["swept"].keys():
            raise ModelFileError(f"{where} lacks some of the settings that were swept")
        columns = details["history"]
        if k in set(trained) and (columns or row["status"] != LOST):
            require(columns, {**COLUMNS, f"{content['score']}?": [optional(NUMBER)]}, where)
            if len({len(column) for column in columns.values()}) > 1:
                raise ModelFileError(f"{where} has columns of different lengths in its history")
        elif columns:
            raise ModelFileError(f"the network of member {k} is missing")
        members.append(
            {
                "number": k,
                "point": details["point"],
                "swept": {n: _value(details["settings"][n], details["swept"][n]) for n in swept},
                "fold": row.get("fold"),
                "settings": details["settings"],
                "result": None,
                "score": row["score"],
            }
        )
    return members


def _result(content: Json, k: int, network: MultilayerPerceptron) -> MemberResult:
    """A trained member's network and history."""
    row = content["rows"][k]
    history = _history(content["members"][k]["history"], row["status"] in (INTERRUPTED, LOST))
    return MemberResult(network, history, row["status"], row["cause"], row["best_epoch"])


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
