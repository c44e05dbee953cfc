"""The published lab: its five runs with its own settings, judged by what it reported.

The lab is a university report, "Artificial Neural Network and Backpropagation" (course D7041E, lab
5): MNIST, 784-100-100-10, sigmoid or ReLU, three learning rates, 70 epochs. Two of its five runs
failed; they are to fail here too, in the same way.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from threading import Lock
from time import perf_counter
from types import SimpleNamespace
from typing import Any, Literal

from arraymlp._checks import lookup
from arraymlp.backends.backend import Backend
from arraymlp.backends.host import interruptible
from arraymlp.backends.registry import resolve
from arraymlp.data.datasets import MNIST, load_mnist
from arraymlp.data.loading import add_validation, load_data
from arraymlp.sweeps.partition import plan_stacks, train_stacks
from arraymlp.sweeps.population import MemberSpec, run_of
from arraymlp.sweeps.stacking import with_own_decay
from arraymlp.training.evaluation import only_class
from arraymlp.training.history import Record
from arraymlp.training.model import MultilayerPerceptron
from arraymlp.training.progress import Progress
from arraymlp.training.run import Run
from arraymlp.training.settings import PRESETS, TABLE, Settings, get_preset
from arraymlp.training.setup import merge_settings

STUCK_EPOCHS = 5


LAB = PRESETS["lab"]


@dataclass(frozen=True)
class Verdict:
    """What became of a run, held against what the lab reported.

    Attributes:
        in_band: None where the run was not of full length, so that nothing can be said.
        what: in words.
        escaped: of relu-0.005, whether it left its plateau; None for the others.
    """

    in_band: bool | None
    what: str
    escaped: bool | None = None


@dataclass(frozen=True)
class Experiment:
    """One run of the lab.

    Attributes:
        name: activation and learning rate, as on the command line.
        activation: of the hidden layers.
        learning_rate: eta.
        published: final test accuracy the report gives, in percent.
        band: in words, what counts as reproduced.
        judge: of a finished `LabRun`.
        continues: the run whose trained network it starts from; None for a new network.
    """

    name: str
    activation: str
    learning_rate: float
    published: float
    band: str
    judge: Callable[["LabRun"], Verdict]
    continues: str | None = None


@dataclass(frozen=True)
class LabRun:
    """What became of one experiment with one seed.

    Attributes:
        experiment: which.
        seed: of the initial weights.
        run: everything `train` returned.
        seconds: time it took.
    """

    experiment: Experiment
    seed: int
    run: Run
    seconds: float

    @property
    def accuracy(self) -> float:
        """Final test accuracy in percent, to the hundredth that 10,000 images can tell."""
        return round(100 * (1 - float(self.run.history[-1]["validation_error"])), 2)

    @property
    def constant_classes(self) -> list[int | None]:
        """For each epoch the one class given to all test images, or None where there are more."""
        return [only_class(counts) for counts in self.run.history["predicted"]]

    @property
    def verdict(self) -> Verdict:
        """The run held against its band; only a run of full length is judged."""
        epochs = len(self.run.history)
        if self.run.interrupted or self.run.settings.epochs != LAB["epochs"]:
            return Verdict(None, f"not judged: {epochs} of {LAB['epochs']} epochs")
        if epochs < LAB["epochs"]:
            return Verdict(False, f"stopped after {epochs} epochs: the loss is not finite")
        return self.experiment.judge(self)


def _learns(outcome: LabRun) -> Verdict:
    return Verdict(97.0 <= outcome.accuracy <= 97.9, "learned")


def _collapses(outcome: LabRun) -> Verdict:
    constant = sum(c is not None for c in outcome.constant_classes)
    epochs = len(outcome.run.history)
    return Verdict(
        outcome.accuracy < 20,
        f"collapsed: one class for all images in {constant} of {epochs} epochs",
    )


def _dies(outcome: LabRun) -> Verdict:
    classes = set(outcome.constant_classes)
    if len(classes) == 1 and None not in classes:
        return Verdict(True, f"dead: class {classes.pop()} for all images, all epochs")
    return Verdict(False, "not one constant class")


def _sticks(outcome: LabRun) -> Verdict:
    classes = outcome.constant_classes
    first = classes[0]
    stuck = next((i for i, c in enumerate(classes) if c is None or c != first), len(classes))
    if stuck == len(classes):
        return Verdict(first == 7, f"stuck: class {first} for all images, all epochs", False)
    if stuck < STUCK_EPOCHS:
        what = f"one class for the first {stuck} epochs only, then {outcome.accuracy:.2f} %"
        return Verdict(False, what, True)
    what = f"stuck at class {first} for {stuck} epochs, then "
    if classes[-1] is not None:
        return Verdict(False, f"{what}at class {classes[-1]}", False)
    if outcome.accuracy < 97.0:
        return Verdict(False, f"{what}{outcome.accuracy:.2f} %", True)
    return Verdict(outcome.accuracy <= 98.4, f"{what}learned", True)


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment("sigmoid-0.05", "sigmoid", 0.05, 97.48, "97.0 to 97.9 %", _learns),
        Experiment("sigmoid-0.005", "sigmoid", 0.005, 97.49, "97.0 to 97.9 %", _learns),
        Experiment("sigmoid-0.5", "sigmoid", 0.5, 9.74, "under 20 %", _collapses, "sigmoid-0.005"),
        Experiment("relu-0.05", "relu", 0.05, 9.58, "one class, all epochs", _dies),
        Experiment(
            "relu-0.005",
            "relu",
            0.005,
            97.97,
            "stuck 5+ epochs, then 97.0 to 98.4 %; or class 7 throughout",
            _sticks,
        ),
    )
}


def experiments(names: Sequence[str] | None = None) -> list[Experiment]:
    """The experiments of those names, all five by default; an unknown name is a ValueError."""
    return [lookup(EXPERIMENTS, name, "lab run") for name in names or EXPERIMENTS]


@dataclass
class LabResult:
    """The outcomes of a lab, in the order in which they ran.

    Attributes:
        outcomes: one for each experiment and seed.
        backend: where they ran.
        dtype: of the computation.
        seconds: time for all of it.
        mnist: the data.
        interrupted: True where Ctrl-C ended it early.
    """

    outcomes: list[LabRun]
    backend: Backend
    dtype: str
    seconds: float
    mnist: MNIST
    interrupted: bool = False

    @property
    def in_band(self) -> bool:
        """True unless a judged run fell outside its band."""
        return not any(outcome.verdict.in_band is False for outcome in self.outcomes)

    def of(self, name: str) -> list[LabRun]:
        """The outcomes of one experiment, seed by seed."""
        return [o for o in self.outcomes if o.experiment.name == name]

    @property
    def names(self) -> list[str]:
        """The experiments that ran, in order."""
        return list(dict.fromkeys(o.experiment.name for o in self.outcomes))

    def rows(self) -> list[dict[str, Any]]:
        """The table: a row an experiment, over all its seeds."""
        table = []
        for name in self.names:
            found = self.of(name)
            accuracies = [o.accuracy for o in found]
            verdicts = [o.verdict for o in found]
            judged = [v.in_band for v in verdicts if v.in_band is not None]
            table.append(
                {
                    "run": name,
                    "published": found[0].experiment.published,
                    "accuracy": mean(accuracies),
                    "spread": stdev(accuracies) if len(accuracies) > 1 else None,
                    "band": found[0].experiment.band,
                    "judged": len(judged),
                    "in_band": sum(judged),
                    "what": _summary(verdicts),
                    "seeds": [o.seed for o in found],
                    "seconds": sum(o.seconds for o in found),
                }
            )
        return table

    def escapes(self) -> str | None:
        """How many seeds of relu-0.005 left the plateau, and where they ended; None without any."""
        judged = [o for o in self.of("relu-0.005") if o.verdict.escaped is not None]
        if not judged:
            return None
        free = [o.accuracy for o in judged if o.verdict.escaped]
        text = f"relu-0.005: {len(free)} of {len(judged)} seeds escaped the plateau"
        if free:
            text += f" and ended at {mean(free):.2f} %"
        if len(free) > 1:
            text += f" (standard deviation {stdev(free):.2f}, {min(free):.2f} to {max(free):.2f})"
        stuck = sorted({f"{o.accuracy:.2f} %" for o in judged if not o.verdict.escaped})
        if stuck:
            text += f"; {len(judged) - len(free)} never did and stayed at {', '.join(stuck)}"
        return text + "."


def _summary(verdicts: Sequence[Verdict]) -> str:
    """One text; of several, how often each."""
    if len(verdicts) > 1 and all(v.escaped is not None for v in verdicts):
        free = sum(v.escaped is True for v in verdicts)
        return f"{free} of {len(verdicts)} escaped the plateau"
    counts = Counter(v.what for v in verdicts)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{n} x {what}" for what, n in counts.most_common())


def run_lab(
    names: Sequence[str] | None = None,
    *,
    backend: str = "auto",
    device: Any = None,
    epochs: int = LAB["epochs"],
    seeds: Sequence[int] = (0,),
    dtype: str = "float32",
    engine: Literal["auto", "array"] = LAB["engine"],
    watch: Callable[[str], Progress] | None = None,
) -> LabResult:
    """Train the lab's runs one after another, each with all its seeds as a population.

    The data is brought to the device once.

    Args:
        names: which runs; all five by default.
        backend: where, as for `arraymlp.resolve`.
        device: the backend's device.
        epochs: 70 in the lab; only runs of 70 are judged.
        seeds: of the initial weights; every run is made with each of them.
        dtype: "float32" or "float64".
        engine: "auto", or "array" for the array code.
        watch: called with a run's title, gives what shows its progress.

    Raises:
        ValueError: an unknown run, seed, dtype or number of epochs.
    """
    wanted = experiments(names)
    get_preset("lab", {"epochs": epochs, "dtype": dtype, "seed": list(seeds)})  # checks them
    chosen = resolve(backend, device)
    started = perf_counter()
    mnist = load_mnist(dtype=dtype)
    result = LabResult([], chosen, dtype, 0.0, mnist)
    given = dict.fromkeys(TABLE) | {"epochs": epochs, "dtype": dtype, "engine": engine}
    trained: dict[str, list[Run]] = {}
    with chosen.active(), interruptible() as interrupt:
        settings = get_preset("lab", given)
        data = load_data(mnist.X_train, mnist.y_train, None, settings, None, chosen)
        data = add_validation(data, (mnist.X_test, mnist.y_test), settings, None, chosen)
        for e in _with_predecessors(wanted):
            title = f"{e.name} (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"
            own = {"learning_rate": e.learning_rate}
            each: list[tuple[Settings, MultilayerPerceptron | None]]
            if e.continues is None:
                alike = {**given, **own, "activation": e.activation}
                each = [
                    (merge_settings(alike | {"seed": s}, "lab", None, None), None) for s in seeds
                ]
            else:
                title += f", continuing {e.continues}"
                before = [run.network for run in trained[e.continues]]
                fixed = {**given, **own, "dtype": None}
                each = [(merge_settings(fixed, "lab", n, None), n) for n in before]
            specs = [MemberSpec(with_own_decay(s), network=network) for s, network in each]
            shown = _EpochsOfSeeds(watch(title) if watch else Progress(), len(specs), epochs)
            parts, _ = plan_stacks(specs, [data] * len(specs), None, chosen)
            with shown.progress:
                found = train_stacks(
                    specs, [data] * len(specs), parts, chosen, interrupt, on_epoch=shown.update
                )
            # A member that diverged is a finding, not the end of the lab.
            several = [(s, o) for s, o in zip(specs, found, strict=True) if o is not None]
            trained[e.name] = [run_of(o, s, data, chosen) for s, o in several]
            for seed, run in zip(seeds, trained[e.name], strict=False):
                if e in wanted and len(run.history):
                    result.outcomes.append(LabRun(e, seed, run, sum(run.history["seconds"])))
            if interrupt.requested:
                result.interrupted = True
                break
    result.seconds = perf_counter() - started
    return result


class _EpochsOfSeeds:
    """The progress of one run with all its seeds: an epoch is shown once each seed has done it."""

    def __init__(self, progress: Progress, seeds: int, epochs: int) -> None:
        self.progress, self._seeds, self._epochs = progress, seeds, epochs
        self._waiting: dict[int, list[Record]] = {}
        self._lock = Lock()  # parts of a population train in several threads

    def update(self, members: Sequence[int], records: Sequence[Record]) -> None:
        """Take note of an epoch of some seeds."""
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


def _with_predecessors(wanted: Sequence[Experiment]) -> list[Experiment]:
    """Each experiment once, after the one it continues, wanted or not."""
    plan: dict[str, Experiment] = {}
    for e in wanted:
        if e.continues is not None:
            plan.setdefault(e.continues, EXPERIMENTS[e.continues])
        plan.setdefault(e.name, e)
    return list(plan.values())
