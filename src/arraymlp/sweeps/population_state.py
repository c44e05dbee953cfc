"""The state of a population: all that it takes to go on to the same bits, as JSON and arrays.

A checkpoint keeps it in a file, and a worker gives it back with each slice of the training.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from arraymlp.backends.array import HostArray
from arraymlp.data.loading import columns
from arraymlp.steps.probes import Measurement
from arraymlp.sweeps.data import seen_by
from arraymlp.sweeps.population import MemberResult, Population
from arraymlp.training.early_stopping import Stopper
from arraymlp.training.history import History
from arraymlp.training.network_parts import parameters
from arraymlp.training.schema import REAL, ModelFileError
from arraymlp.training.setup import stopper_for
from arraymlp.training.snapshots import (
    described_snapshots,
    restored_snapshots,
    snapshot_arrays,
)
from arraymlp.training.state import (
    State,
    callback_states,
    plain,
    restore_callbacks,
    restore_state,
    state_of,
    taken,
)


def population_state(population: Population, of: Mapping[str, Any]) -> State:
    """All that goes on with a population, with copies of the arrays in training."""
    run = population.run
    state = State({}, {}) if population.is_finished else state_of(run)
    arrays, results = dict(state.arrays), []
    for k, result in sorted(population.results.items()):
        arrays |= parameters(result.network, f"results.{k}.")
        arrays |= snapshot_arrays(result.snapshots, f"results.{k}.")
        results.append(
            {
                "member": k,
                "status": result.status,
                "cause": result.cause,
                "best_epoch": result.best_epoch,
                "engine": result.engine,
                "engine_reason": result.engine_reason,
                "measurements": [plain(m.to_dict()) for m in result.measurements],
                "dead_units": plain(result.dead_units),
                **described_snapshots(result.snapshots),
            }
        )
    content = {
        **of,
        "members": population.members,
        "finished": population.is_finished,
        "results": results,
        "histories": [[plain(record) for record in h] for h in population.histories],
        "callbacks": callback_states(population.watchers),
        "run": state.content,
    }
    return State(content, arrays)


def restore_population(
    population: Population, content: Mapping[str, Any], tensors: Mapping[str, HostArray]
) -> None:
    """Give a population, before its first step, a file's state."""
    _require_histories(population, content)
    rest = dict(tensors)
    network = population.run.network
    for entry in content["results"]:
        k = entry["member"]
        own = network.member(k)
        arrays = {
            name: taken(rest, f"results.{k}.{name}", array, population.backend)
            for name, array in parameters(own).items()
        }
        own.layers = [
            layer.with_parameters(arrays[f"layers.{i}.weights"], arrays[f"layers.{i}.bias"])
            for i, layer in enumerate(own.layers)
        ]
        population.results[k] = MemberResult(
            own,
            History(),
            **{
                **{name: value for name, value in entry.items() if name != "member"},
                "measurements": [Measurement(**m) for m in entry["measurements"]],
                "snapshots": restored_snapshots(entry, rest, own, f"results.{k}."),
            },
        )
    for k, records in enumerate(content["histories"]):
        population.histories[k].records[:] = records
        if k in population.results:
            population.results[k].history = population.histories[k]
    if not content["finished"]:
        if content["members"] != population.members:
            population.keep_members(content["members"], population.epochs)
        run = population.run
        run.stopper = stopper_for(run)
        restore_state(run, content["run"], rest)
        if run.stopper is not None:
            _require_best(run.stopper, population)
        run.settings = replace(run.settings, epochs=population.epochs - run.next_epoch)
    restore_callbacks(population.watchers, content["callbacks"])
    population.is_finished = content["finished"]


def _require_histories(population: Population, content: Mapping[str, Any]) -> None:
    """A ModelFileError unless each record has a number in every column of its network."""
    histories = content["histories"]
    for spec, records in zip(population.specs, histories, strict=True):
        known = columns(spec.settings, seen_by(spec.row_plan, population.all_data))
        for record in records:
            if not all(REAL.allows(record.get(name)) for name in known):
                raise ModelFileError(f"its histories lack a number of {', '.join(known)}")
    for result in content["results"]:
        best, epochs = result["best_epoch"], [r["epoch"] for r in histories[result["member"]]]
        if best is not None and best not in epochs:
            raise ModelFileError("a network's best epoch is not in its history")


def _require_best(stopper: Stopper, population: Population) -> None:
    """A ModelFileError where early stopping keeps the weights of an epoch without a record."""
    for k, best in zip(population.members, stopper.epoch.tolist(), strict=True):
        if best >= 0 and best not in population.histories[k]["epoch"]:
            raise ModelFileError("early stopping keeps an epoch that is not in its history")
