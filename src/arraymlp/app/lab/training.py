"""Training the lab: its runs side by side, each with all its seeds as a population."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from arraymlp.app.lab.experiments import (
    EXPERIMENTS,
    LAB,
    Experiment,
    LabRun,
    chains,
    experiments,
)
from arraymlp.app.lab.progress import LabProgress
from arraymlp.app.lab.result import LabResult
from arraymlp.backends.array import Device
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.backends.threads import cores, side_by_side
from arraymlp.data.data import Data
from arraymlp.data.datasets import MNIST, load_mnist
from arraymlp.data.loading import add_validation, load_data
from arraymlp.sweeps.checkpoint import sweep_folder
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import MemberSpec, run_of
from arraymlp.training.checkpoint import Checkpoint
from arraymlp.training.history import Record
from arraymlp.training.run import Run
from arraymlp.training.settings import Settings, get_preset
from arraymlp.training.setup import merge_settings

SNAPSHOTS = 8  # of each run, for the report to play with; more would make it heavier than 4 MB


def run_lab(
    names: Sequence[str] | None = None,
    *,
    backend: str = "auto",
    device: Device = None,
    epochs: int = LAB["epochs"],
    seeds: Sequence[int] = (0,),
    dtype: str = "float32",
    engine: str = "auto",
    checkpoint: Checkpoint | None = None,
    progress: LabProgress | None = None,
) -> LabResult:
    """Train the lab's runs, each with all its seeds as a population.

    The data is brought to the device once. With NumPy the runs train side by side, as many as there
    are cores; a run that continues another one trains after it.

    Args:
        names: of the runs; all five by default.
        backend: its name, as for `arraymlp.resolve`.
        device: the backend's device.
        epochs: 70 in the lab; only runs of 70 are judged.
        seeds: of the initial weights; every run is trained with each of them.
        dtype: "float32" or "float64".
        engine: "auto", or "array" for the array code.
        checkpoint: of a folder, in which each run has one by its name, from which the same call
            goes on; a run has its folder to itself while it trains.
        progress: what shows it.

    Raises:
        ValueError: an unknown run, seed, dtype, engine or number of epochs.
        CheckpointError: a run's folder is of another call, or damaged, or another process has it.
        OSError: a folder cannot be read, or not be written at the beginning.
    """
    asked = experiments(names)
    given = {"epochs": epochs, "dtype": dtype, "engine": engine, "snapshots": SNAPSHOTS}
    get_preset("lab", {**given, "seed": list(seeds)})  # raises the ValueErrors
    resolved = resolve(backend, device)
    started = perf_counter()
    mnist = load_mnist(dtype=dtype)
    together = chains(asked)
    shown = progress or LabProgress()
    planned = {e.name for chain in together for e in chain}
    shown.plan([name for name in EXPERIMENTS if name in planned], len(seeds), epochs)
    trained: dict[str, list[tuple[int, Run]]] = {}
    with resolved.active(), interruptible() as interrupt, shown:
        data = _load(mnist, get_preset("lab", given), resolved)

        def train(chain: Sequence[Experiment]) -> None:
            for experiment in chain:
                if interrupt.requested:
                    return
                before = trained.get(experiment.continues or "")
                specs = _specs(experiment, given, seeds, before)
                datas = [data] * len(specs)

                def epoch_ended(
                    _: Sequence[int], records: Sequence[Record], name: str = experiment.name
                ) -> None:
                    shown.update(name, records)

                own = None if checkpoint is None else checkpoint.within(experiment.name)
                with sweep_folder(own, specs, datas, resolved) as folder:
                    if folder.held:
                        shown.goes_on(experiment.name, sum(map(len, folder.held)))
                    stacks, _ = plan_stacks(specs, datas, None, resolved, folder.held)
                    results = train_stacks(
                        specs,
                        datas,
                        stacks,
                        resolved,
                        interrupt,
                        on_epoch=epoch_ended,
                        file=folder.file,
                    )
                # A member that diverged is a finding, not the end of the lab. One that Ctrl-C or
                # SIGTERM came before has no result.
                trained[experiment.name] = [
                    (seed, run_of(member, spec, data, resolved))
                    for seed, spec, member in zip(seeds, specs, results, strict=True)
                    if member is not None
                ]

        if resolved.name == "numpy" and cores() > 1:
            side_by_side(train, together, cores(), interrupt)
        else:
            for chain in together:
                train(chain)
    runs = [
        LabRun(experiment, seed, run, sum(run.history["seconds"]))
        for experiment in asked
        for seed, run in trained.get(experiment.name, ())
        if len(run.history)
    ]
    seconds = perf_counter() - started
    return LabResult(runs, resolved, dtype, seconds, mnist, interrupt.requested)


def _load(mnist: MNIST, settings: Settings, backend: Backend) -> Data:
    """The training images, and the test images as validation data, on the backend."""
    data = load_data(mnist.X_train, mnist.y_train, None, settings, None, backend)
    return add_validation(data, (mnist.X_test, mnist.y_test), settings, None, backend)


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
