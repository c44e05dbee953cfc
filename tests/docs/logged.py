"""What trackers have of the trainings in docs/logging.md: called after the page's code.

Each function returns the runs by name: their parent or group, parameters as texts, and points: the
steps and values of each figure.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Runs = dict[str, dict[str, Any]]


def of_history(history: Any, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a run should have: the points of a history's figures, and parameters as texts."""
    points: dict[str, list[list[float]]] = {}
    for record in history:
        for name, value in record.items():
            points.setdefault(name, []).append([record["step"], value])
    return {"points": points, "parameters": {k: str(v) for k, v in (parameters or {}).items()}}


def expected(run: Any, result: Any) -> Runs:
    """What the page's trainings should have left."""
    found = {"one network": of_history(run.history, run.settings.to_dict())}
    for member in result:
        name = ", ".join(f"{setting} {value}" for setting, value in member.swept.items())
        found[name] = of_history(member.history, member.swept)
    return found


def in_mlflow() -> Runs:
    """The runs of the store that the environment names."""
    import mlflow

    client, found = mlflow.MlflowClient(), {}
    for run in client.search_runs(["0"]):
        points = {
            name: [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        parent = run.data.tags.get("mlflow.parentRunId")
        found[run.info.run_name] = {
            "status": run.info.status,
            "ended": run.data.tags.get("ended"),
            "parent": parent and client.get_run(parent).info.run_name,
            "parameters": run.data.params,
            "points": points,
        }
    return found


def in_wandb(folder: Path) -> Runs:
    """The runs that were kept offline in a folder, each in a file of its own."""
    import json

    import wandb

    wandb.teardown()  # a run's file is closed by a process of wandb's, after `finish` has returned
    found: Runs = {}
    for path in folder.glob("offline-run-*/run-*.wandb"):
        run: dict[str, Any] = {"parameters": {}, "points": {}, "exit": None}
        for record in _wandb_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found[record.run.display_name] = run
                run["parent"] = record.run.run_group or None
            if kind in ("run", "config"):
                config = record.run.config if kind == "run" else record.config
                run["parameters"] |= {
                    u.key or u.nested_key[0]: str(json.loads(u.value_json))
                    for u in config.update
                    if u.key != "_wandb"
                }
            if kind == "history":
                items = {i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
                for name, value in items.items():
                    if not name.startswith("_"):
                        run["points"].setdefault(name, []).append([items["_step"], value])
            if kind == "exit":
                run["exit"] = record.exit.exit_code
    return found


def _wandb_records(path: Path) -> Iterator[Any]:
    """The records of a file: a header of 7 bytes, then LevelDB's format of a log."""
    from wandb.proto import wandb_internal_pb2

    data, at, part, block = path.read_bytes(), 7, b"", 2**15
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, n, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + n]
        at += 7 + n
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            yield record
            part = b""


def in_tensorboard(folder: Path) -> Runs:
    """The scalars in each folder of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found: Runs = {}
    for path in sorted({path.parent for path in folder.rglob("*tfevents*")}):
        events = EventAccumulator(str(path))
        events.Reload()
        points = {tag: [[e.step, e.value] for e in events.Scalars(tag)]
                  for tag in events.Tags()["scalars"]}  # fmt: skip
        points |= {
            tag: [[e.step, float(make_ndarray(e.tensor_proto))] for e in events.Tensors(tag)]
            for tag in events.Tags()["tensors"]
        }
        found[path.relative_to(folder).as_posix()] = {"points": points}
    return found
