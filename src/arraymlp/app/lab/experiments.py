"""The published lab: its five runs, and how each is judged by what the lab reported.

The lab is a university report, "Artificial Neural Network and Backpropagation" (course D7041E, lab
5): MNIST, 784-100-100-10, sigmoid or ReLU, three learning rates, 70 epochs. Two of its five runs
failed; they should fail here too, in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arraymlp._checks import lookup
from arraymlp.training.evaluation import only_class
from arraymlp.training.run import Run
from arraymlp.training.settings import PRESETS

STUCK_EPOCHS = 5

LAB = PRESETS["lab"]


@dataclass(frozen=True)
class Verdict:
    """The result of a run, compared with what the lab reported.

    Attributes:
        in_band: True where it agrees; None for a run of another length, which is not judged.
        what: what happened, as text.
        escaped: for relu-0.005, True if it left its plateau; None for the other runs.
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


def _learns(lab_run: LabRun) -> Verdict:
    return Verdict(97.0 <= lab_run.accuracy <= 97.9, "learned")


def _collapses(lab_run: LabRun) -> Verdict:
    constant = sum(c is not None for c in lab_run.constant_classes)
    epochs = len(lab_run.run.history)
    return Verdict(
        lab_run.accuracy < 20,
        f"collapsed: one class for all images in {constant} of {epochs} epochs",
    )


def _dies(lab_run: LabRun) -> Verdict:
    classes = set(lab_run.constant_classes)
    if len(classes) == 1 and None not in classes:
        return Verdict(True, f"dead: class {classes.pop()} for all images, all epochs")
    return Verdict(False, "not one constant class")


def _sticks(lab_run: LabRun) -> Verdict:
    classes = lab_run.constant_classes
    first = classes[0]
    stuck = next((i for i, c in enumerate(classes) if c is None or c != first), len(classes))
    if stuck == len(classes):
        return Verdict(first == 7, f"stuck: class {first} for all images, all epochs", False)
    if stuck < STUCK_EPOCHS:
        what = f"one class for the first {stuck} epochs only, then {lab_run.accuracy:.2f} %"
        return Verdict(False, what, True)
    what = f"stuck at class {first} for {stuck} epochs, then "
    if classes[-1] is not None:
        return Verdict(False, f"{what}at class {classes[-1]}", False)
    if lab_run.accuracy < 97.0:
        return Verdict(False, f"{what}{lab_run.accuracy:.2f} %", True)
    return Verdict(lab_run.accuracy <= 98.4, f"{what}learned", True)


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
    """The experiments with these names, by default all five; an unknown name is a ValueError."""
    return [lookup(EXPERIMENTS, name, "lab run") for name in names or EXPERIMENTS]
