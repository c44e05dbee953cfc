"""The published lab: its five runs, and how each is judged by what the lab reported.

The lab is a university report, "Artificial Neural Network and Backpropagation" (course D7041E, lab
5): MNIST, 784-100-100-10, sigmoid or ReLU, three learning rates, 70 epochs. Two of its five runs
failed; they should fail here too, in the same way.

A verdict must be the same on every machine, and machines add up in different orders. Their
rounding errors grow to different weights, and these runs are chaotic: the error of a single epoch
can be 44 % on one machine and 2 % on another. So a verdict uses only what rounding does not decide:

- A network whose logits hardly depend on the image answers one class, the largest output bias. The
  biases forget their past within some 20 steps and follow the last minibatches of the file, so the
  rate and the order of the data fix the class. Trained alone, they make it 6 at rate 0.05 and 7 at
  rate 0.005, in every epoch, and the next class's bias is lower by 0.036 and 0.029. At rate 0.005
  the logits of different images differ by 0.0006 at most while the run is stuck.
- Whether a network has learned is judged by `LabRun.level`, not by its last epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from arraymlp._checks import lookup
from arraymlp.data.datasets import published_curves
from arraymlp.training.evaluation import only_class
from arraymlp.training.run import Run
from arraymlp.training.settings import PRESETS

# relu-0.005 has to be stuck for so many epochs. The shortest plateau of 48 runs (4 seeds, 3 of
# OpenBLAS's kernels, 1 and 2 threads, engine and array code) is 15; for a seed, rounding moves its
# end by 2 epochs at most.
STUCK_EPOCHS = 10
LEVEL_EPOCHS = 10  # of whose accuracies the level is the median
SETTLING_EPOCHS = 20  # that a network needs after its escape to show what it learns
# Levels in percent. Measured, on 3 of OpenBLAS's kernels: 97.16 to 97.54 with sigmoid units (8
# runs), 97.18 to 98.13 with ReLU (those 48).
SIGMOID_BAND = 97.0, 97.9
RELU_BAND = 96.5, 98.5

LAB = PRESETS["lab"]


@dataclass(frozen=True)
class Verdict:
    """The result of a run, compared with what the lab reported.

    Attributes:
        in_band: True where it agrees; None for a run of another length, which is not judged.
        what: what happened, as text.
        escaped: of a run that was stuck as published, True if it got out; None for the others.
        escape_epoch: the first epoch, from 0, in which the network predicted another class.
    """

    in_band: bool | None
    what: str
    escaped: bool | None = None
    escape_epoch: int | None = None


@dataclass(frozen=True)
class Experiment:
    """One run of the lab.

    Attributes:
        name: activation and learning rate, as on the command line.
        activation: of the hidden layers.
        learning_rate: eta.
        published: the report's final test accuracy, in percent.
        band: what counts as reproduced, as text.
        judge: gives the verdict on a finished `LabRun`.
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
    """One experiment trained with one seed.

    Attributes:
        experiment: which.
        seed: of the initial weights.
        run: as `train` would return it.
        seconds: duration of the training.
    """

    experiment: Experiment
    seed: int
    run: Run
    seconds: float

    @property
    def accuracy(self) -> float:
        """Final test accuracy in percent, rounded to 0.01, one of 10,000 test images."""
        return round(100 * (1 - float(self.run.history[-1]["validation_error"])), 2)

    @property
    def level(self) -> float:
        """Test accuracy in percent at the end, as the median of the last 10 epochs.

        Constant rates and summed gradients make the error jump for an epoch or two, and rounding
        decides when. The median does not see it, unless more than half of these epochs are such.
        """
        return accuracy_level(self.run.history["validation_error"])

    @property
    def constant_classes(self) -> list[int | None]:
        """For each epoch, the class predicted for every test image; None if there were several."""
        return [only_class(counts) for counts in self.run.history["predicted"]]

    @property
    def verdict(self) -> Verdict:
        """The experiment's verdict; a run that was to have another number of epochs has none."""
        epochs = len(self.run.history)
        if self.run.interrupted or self.run.settings.epochs != LAB["epochs"]:
            return Verdict(None, f"not judged: {epochs} of {LAB['epochs']} epochs")
        if epochs < LAB["epochs"]:
            return Verdict(False, f"stopped after {epochs} epochs: the loss is not finite")
        return self.experiment.judge(self)


def accuracy_level(errors: Sequence[float]) -> float:
    """The median accuracy, in percent, of the last 10 of the errors (fractions) per epoch."""
    return round(100 * (1 - median(errors[-LEVEL_EPOCHS:])), 2)


def published_escape() -> int:
    """The epoch in which the published run of relu-0.005 escaped: 24.

    The report printed errors and no classes: it is the first epoch whose test error is another.
    """
    curve = published_curves()["relu-0.005"]
    return next(p.epoch for p in curve if p.test_error != curve[0].test_error)


def _learns(lab_run: LabRun) -> Verdict:
    low, high = SIGMOID_BAND
    in_band = low <= lab_run.level <= high
    what = "learned" if in_band else f"{lab_run.level:.2f} % over the last epochs"
    return Verdict(in_band, what)


def _collapses(lab_run: LabRun) -> Verdict:
    constant = sum(c is not None for c in lab_run.constant_classes)
    epochs = len(lab_run.run.history)
    return Verdict(
        lab_run.level < 20,
        f"collapsed: one class for all images in {constant} of {epochs} epochs",
    )


def _dies(lab_run: LabRun) -> Verdict:
    classes = set(lab_run.constant_classes)
    if len(classes) == 1 and None not in classes:
        only = classes.pop()
        return Verdict(only == 6, f"dead: class {only} for all images, all epochs")
    return Verdict(False, "not one constant class")


def _sticks(lab_run: LabRun) -> Verdict:
    """Stuck at class 7 from the first epoch on; then to the end, or escaped and learned.

    Which of the two depends on the initial weights, and in which epoch it escapes on rounding, too.
    """
    classes = lab_run.constant_classes
    if classes[0] != 7:
        given = "more than one class" if classes[0] is None else f"class {classes[0]}"
        return Verdict(False, f"not stuck at class 7: {given} in epoch 0")
    published = 100 * published_curves()["relu-0.005"][-1].test_error
    at_end = f"test error {100 - lab_run.accuracy:.2f} % at the end (published: {published:.2f} %)"
    end = next((i for i, c in enumerate(classes) if c != 7), None)
    if end is None:
        what = f"stuck at class 7 to the end (published: until epoch {published_escape()})"
        return Verdict(True, f"{what}: {at_end}", escaped=False)
    what = f"stuck at class 7, escaped in epoch {end} (published: {published_escape()})"
    if end < STUCK_EPOCHS:
        return Verdict(False, f"{what}, too early: {at_end}", True, end)
    if end > len(classes) - SETTLING_EPOCHS:
        return Verdict(None, f"{what}, too late to judge: {at_end}", True, end)
    low, high = RELU_BAND
    if not low <= lab_run.level <= high:
        return Verdict(False, f"{what} and did not learn: {at_end}", True, end)
    return Verdict(True, f"{what} and learned: {at_end}", True, end)


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        Experiment("sigmoid-0.05", "sigmoid", 0.05, 97.48, "97.0 to 97.9 %", _learns),
        Experiment("sigmoid-0.005", "sigmoid", 0.005, 97.49, "97.0 to 97.9 %", _learns),
        Experiment("sigmoid-0.5", "sigmoid", 0.5, 9.74, "under 20 %", _collapses, "sigmoid-0.005"),
        Experiment("relu-0.05", "relu", 0.05, 9.58, "class 6, all epochs", _dies),
        Experiment(
            "relu-0.005",
            "relu",
            0.005,
            97.97,
            "class 7 for 10+ epochs; then to the end, or escapes to 96.5 to 98.5 %",
            _sticks,
        ),
    )
}


def experiments(names: Sequence[str] | None = None) -> list[Experiment]:
    """The experiments with these names, by default all five; an unknown name is a ValueError."""
    return [lookup(EXPERIMENTS, name, "lab run") for name in names or EXPERIMENTS]


def chains(asked: Sequence[Experiment]) -> list[list[Experiment]]:
    """Each experiment once, after the one it continues, which is added if it is not among them.

    The longest chains come first, so that they do not end last.
    """
    by_first: dict[str, list[Experiment]] = {}
    for experiment in asked:
        first = EXPERIMENTS[experiment.continues or experiment.name]
        chain = by_first.setdefault(first.name, [first])
        if experiment not in chain:
            chain.append(experiment)
    return sorted(by_first.values(), key=len, reverse=True)
