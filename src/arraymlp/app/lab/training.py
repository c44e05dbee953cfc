"""Training the lab: its runs one after another, each with all its seeds as a population."""

from collections.abc import Callable, Sequence
from threading import Lock
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from arraymlp.app.lab.experiments import EXPERIMENTS, LAB, Experiment, LabRun, experiments
from arraymlp.app.lab.result import LabResult, seeds_text
from arraymlp.backends.array import Device
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.data.data import Data
from arraymlp.data.datasets import MNIST, load_mnist
from arraymlp.data.loading import add_validation, load_data
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import MemberSpec, run_of
from arraymlp.training.history import Record
from arraymlp.training.progress import Progress
from arraymlp.training.run import Run
from arraymlp.training.settings import Settings, get_preset
from arraymlp.training.setup import merge_settings


def run_lab(
    names: Sequence[str] | None = None,
    *,
    backend: str = "auto",
    device: Device = None,
    epochs: int = LAB["epochs"],
    seeds: Sequence[int] = (0,),
    dtype: str = "float32",
    engine: str = LAB["engine"],
    watch: Callable[[str], Progress] | None = None,
) -> LabResult:
    """Train the lab's runs one after another, each with all its seeds as a population.

    The data is brought to the device once.

    Args:
        names: of the runs; all five by default.
        backend: its name, as for `arraymlp.resolve`.
        device: the backend's device.
        epochs: 70 in the lab; only runs of 70 are judged.
        seeds: of the initial weights; every run is trained with each of them.
        dtype: "float32" or "float64".
        engine: "auto", or "array" for the array code.
        watch: called with a run's title, returns what shows its progress.

    Raises:
        ValueError: an unknown run, seed, dtype, engine or number of epochs.
    """
    asked = experiments(names)
    given = {"epochs": epochs, "dtype": dtype, "engine": engine}
    get_preset("lab", {**given, "seed": list(seeds)})  # raises the ValueErrors
    resolved = resolve(backend, device)
    started = perf_counter()
    mnist = load_mnist(dtype=dtype)
    result = LabResult([], resolved, dtype, 0.0, mnist)
    trained: dict[str, list[tuple[int, Run]]] = {}
    with resolved.active(), interruptible() as interrupt:
        data = _load(mnist, get_preset("lab", given), resolved)
        for experiment in _with_predecessors(asked):
            before = None
            title = f"{experiment.name} ({seeds_text(seeds)})"
            if experiment.continues is not None:
                title += f", continuing {experiment.continues}"
                before = trained[experiment.continues]
            specs = _specs(experiment, given, seeds, before)
            stacks, _ = plan_stacks(specs, [data] * len(specs), None, resolved)
            shown = _EpochsOfSeeds(watch(title) if watch else Progress(), len(specs), epochs)
            with shown.progress:
                results = train_stacks(
                    specs, [data] * len(specs), stacks, resolved, interrupt, on_epoch=shown.update
                )
            # A member that diverged is a finding, not the end of the lab. One that Ctrl-C came
            # before has no result.
            trained[experiment.name] = [
                (seed, run_of(member, spec, data, resolved))
                for seed, spec, member in zip(seeds, specs, results, strict=True)
                if member is not None
            ]
            if experiment in asked:
                result.runs += [
                    LabRun(experiment, seed, run, sum(run.history["seconds"]))
                    for seed, run in trained[experiment.name]
                    if len(run.history)
                ]
            if interrupt.requested:
                result.interrupted = True
                break
    result.seconds = perf_counter() - started
    return result


def _load(mnist: MNIST, settings: Settings, backend: Backend) -> Data:
    """The training images, and the test images as validation data, on the backend."""
    data = load_data(mnist.X_train, mnist.y_train, None, settings, None, backend)
    return add_validation(data, (mnist.X_test, mnist.y_test), settings, None, backend)


def _with_predecessors(asked: Sequence[Experiment]) -> list[Experiment]:
    """Each experiment once, after the one it continues, which is added if it is not among them."""
    plan: dict[str, Experiment] = {}
    for experiment in asked:
        if experiment.continues is not None:
            plan.setdefault(experiment.continues, EXPERIMENTS[experiment.continues])
        plan.setdefault(experiment.name, experiment)
    return list(plan.values())


def _specs(
    experiment: Experiment,
    given: dict[str, Any],
    seeds: Sequence[int],
    before: Sequence[tuple[int, Run]] | None,
) -> list[MemberSpec]:
    """A network to train for each seed.

    Args:
        experiment: what to train.
        given: settings that all experiments share.
        seeds: of the initial weights.
        before: the runs to continue, seed by seed; None for new networks.
    """
    given = {**given, "learning_rate": experiment.learning_rate}
    if before is not None:  # the network has the dtype and the activation
        given.pop("dtype")
        return [_spec(given, run) for _, run in before]
    given["activation"] = experiment.activation
    return [_spec({**given, "seed": seed}, None) for seed in seeds]


def _spec(given: dict[str, Any], before: Run | None) -> MemberSpec:
    network = None if before is None else before.network
    return MemberSpec(merge_settings(given, "lab", network, None), network=network)


class _EpochsOfSeeds:
    """The progress of one run with all its seeds: an epoch is shown when every seed has done it."""

    def __init__(self, progress: Progress, seeds: int, epochs: int) -> None:
        self.progress, self._seeds, self._epochs = progress, seeds, epochs
        self._waiting: dict[int, list[Record]] = {}
        self._lock = Lock()  # the stacks of a population may train in several threads

    def update(self, members: Sequence[int], records: Sequence[Record]) -> None:
        """Add an epoch of some seeds."""
        with self._lock:
            for record in records:
                done = self._waiting.setdefault(record["epoch"], [])
                done.append(record)
                if len(done) == self._seeds:
                    self._show(self._waiting.pop(record["epoch"]))

    def _show(self, records: list[Record]) -> None:
        record = records[0]
        if len(records) > 1:
            record = {
                name: value if name == "epoch" else [r[name] for r in records]
                for name, value in record.items()
            }
            record["samples_per_s"] = sum(record["samples_per_s"])
        number = int(record["epoch"]) + 1
        self.progress.update(SimpleNamespace(record=record, number=number, epochs=self._epochs))
