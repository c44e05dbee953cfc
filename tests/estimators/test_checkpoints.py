"""Fits, searches and ensembles that go on from a checkpoint, to the bits of unbroken ones."""

import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.base import clone

import arraymlp
from arraymlp import Backend, Checkpoint, CheckpointError, MLPClassifier, MLPSearchCV
from arraymlp.estimators.fitting.convergence import CURVES, WeightedLosses
from arraymlp.estimators.fitting.rows import SklearnOrders
from arraymlp.sweeps import population
from arraymlp.training import loop, train_function
from arraymlp.training.callbacks import StepEnd
from arraymlp.training.saver import Saver
from runs import interrupt_after
from sklearn_problem import (
    BOTH,
    NAMES,
    WEIGHT,
    X,
    assert_same_network,
    classify,
    mlp,
    scaled,
    target,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

Given: TypeAlias = dict[str, Any]
Fit: TypeAlias = Callable[[], Any]
STEPS = {"batch_size": 13, "max_iter": 7}  # 5 steps an epoch, the last of 8 rows
SGD = {"solver": "sgd", "learning_rate_init": 0.02, "momentum": 0.5}
FITS: dict[str, Given] = {
    "adam": {},
    "unshuffled": {"shuffle": False},
    "adamw with dropout": {"solver": "adamw", "dropout": 0.2, "gradient_clip": 0.5},
    "adaptive": SGD | {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
    "invscaling": SGD | {"learning_rate": "invscaling", "learning_rate_init": np.float32(0.02)},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 2},
    "by the loss": {"early_stopping": "loss", "validation_fraction": 0.3, "shuffle": False},
    "converged": {"tol": 0.5, "n_iter_no_change": 3},
}


class BrokenOffError(Exception):
    """What ends a call here, as a kill would."""


class After:
    """Has something happen in the training, without another way for the steps to be done.

    Call it with the number of steps after which, and with what: by default an error.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left, self._happens = inf, self.breaks
        note = loop.Ledger.note

        def noted(ledger: loop.Ledger, steps: int, *rest: Any) -> None:
            note(ledger, steps, *rest)
            self._left -= steps
            if steps and self._left <= 0:
                self._left = inf
                self._happens()

        monkeypatch.setattr(loop.Ledger, "note", noted)

    def __call__(self, steps: float, happens: Callable[[], None] | None = None) -> None:
        self._left, self._happens = steps, happens or self.breaks

    def breaks(self) -> None:
        raise BrokenOffError


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def break_off(monkeypatch: pytest.MonkeyPatch) -> After:
    return After(monkeypatch)


def with_breaks(fit: Fit, break_off: After, seed: int, most: int = 14) -> Any:
    """What a call gives in the end that is broken off at random places."""
    random, breaks = np.random.default_rng(seed), 0
    while True:
        break_off(int(random.integers(7, most)))
        try:
            result = fit()
        except BrokenOffError:
            breaks += 1
        else:
            break_off(inf)
            assert breaks > 0
            return result


@pytest.fixture
def forbid_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that has no epoch be trained any more."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it is finished")

    def forbid() -> None:
        for module in (train_function, population):
            monkeypatch.setattr(module, "train_epochs", refuse)

    return forbid


def assert_same_fit(a: Any, b: Any) -> None:
    """All that two fits have learned, but for times."""
    for name in (*CURVES, "n_iter_", "t_", "loss_", "_rate", "classes_", "findings_"):
        ours, theirs = getattr(a, name, None), getattr(b, name, None)
        assert type(ours) is type(theirs) or name == "_rate", name
        if isinstance(theirs, np.ndarray):
            ours, theirs = ours.tolist(), theirs.tolist()
        assert ours == theirs, name
    assert_same_network(a, b)
    assert a.predict(X).tolist() == b.predict(X).tolist()
    times = {"seconds", "samples_per_s"}
    ours, theirs = (
        [{k: v for k, v in record.items() if k not in times} for record in model.history_]
        for model in (a, b)
    )
    assert ours == theirs


def assert_same_scores(a: MLPSearchCV, b: MLPSearchCV) -> None:
    """All results of two searches, but for times, and the best network."""
    assert a.cv_results_.keys() == b.cv_results_.keys()
    for key, values in a.cv_results_.items():
        if not key.endswith("_time"):
            assert list(map(str, values)) == list(map(str, b.cv_results_[key])), key
    networks = [
        model[-1] if hasattr(model, "steps") else model
        for model in (a.best_estimator_, b.best_estimator_)
    ]
    assert networks[0].get_params() == networks[1].get_params()
    assert_same_network(*networks)
    assert networks[0].loss_curve_ == networks[1].loss_curve_


# One fit


@pytest.mark.parametrize(
    ("name", "weighted"),
    [("MLPClassifier", False), ("MLPClassifier", True), ("MLPRegressor", True)],
)
@pytest.mark.parametrize("which", FITS)
def test_a_fit_goes_on_to_the_same_bits(
    name: str,
    weighted: bool,
    which: str,
    break_off: After,
    forbid_training: Callable[[], None],
    tmp_path: Path,
) -> None:
    given, y = STEPS | FITS[which], target(name)
    weight = WEIGHT if weighted else None
    if weighted and name == "MLPClassifier":
        given = given | {"class_weight": "balanced"}
    unbroken = mlp(name, **given).fit(X, y, weight)
    kept = mlp(name, **given, checkpoint=Checkpoint(tmp_path / "fit.ckpt", every="4 steps"))
    resumed = with_breaks(lambda: clone(kept).fit(X, y, weight), break_off, seed=len(which))
    assert_same_fit(resumed, unbroken)
    forbid_training()
    assert_same_fit(clone(kept).fit(X, y, weight), unbroken)


def test_validation_rows_of_ones_own(break_off: After, tmp_path: Path) -> None:
    given = STEPS | {"early_stopping": True}
    validation = {"X_val": X[:20] + 0.1, "y_val": NAMES[:20]}
    unbroken = classify(**given).fit(X, NAMES, **validation)
    kept = classify(**given, checkpoint=Checkpoint(tmp_path / "fit.ckpt", every="1 epoch"))
    resumed = with_breaks(lambda: clone(kept).fit(X, NAMES, **validation), break_off, 1)
    assert_same_fit(resumed, unbroken)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("steps", [12, 15], ids=["within an epoch", "at its end"])
def test_ctrl_c(
    steps: int,
    weight: Any,
    break_off: After,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(Saver, "steps_ahead", lambda *_: 1)  # however long the disk takes
    given = STEPS | {"early_stopping": "loss", "batch_size": 10, "validation_fraction": 0.2}
    unbroken = classify(**given).fit(X, NAMES, weight)
    model = classify(**given, checkpoint=Checkpoint(tmp_path / "fit.ckpt", every="6 steps"))
    with monkeypatch.context() as patched:
        if weight is None:
            break_off(steps, press_ctrl_c)
        else:  # its steps are done one by one
            interrupt_after(patched, steps)
        with pytest.warns(UserWarning, match="interrupted by user"):
            model.fit(X, NAMES, weight)
    assert model.history_[-1]["step"] == steps
    assert_same_fit(model.fit(X, NAMES, weight), unbroken)


def test_ctrl_c_again_in_what_goes_on(
    break_off: After, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of an epoch that is broken off again is no iteration."""
    monkeypatch.setattr(Saver, "steps_ahead", lambda *_: 1)  # however long the disk takes
    model = classify(**STEPS, checkpoint=Checkpoint(tmp_path / "fit.ckpt", every="1 step"))
    for steps in (12, 1):
        break_off(steps, press_ctrl_c)
        with pytest.warns(UserWarning, match="interrupted by user"):
            model.fit(X, NAMES)
    assert [record["step"] for record in model.history_] == [5, 10, 13]
    assert model.n_iter_ == len(model.loss_curve_) == 2


def test_what_converged_in_the_last_epoch_has_not_failed_to(tmp_path: Path) -> None:
    rules = {"tol": 0.5, "n_iter_no_change": 3}
    epochs = classify(**rules).fit(X, NAMES).n_iter_
    model = classify(**rules | {"max_iter": epochs}, checkpoint=tmp_path / "fit.ckpt")
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert model.fit(X, NAMES).n_iter_ == epochs


def test_another_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.ckpt"
    model = classify(max_iter=2, checkpoint=path).fit(X, NAMES)
    for other, what in (
        ({"tol": 0.5}, "schedule was .*tol=0.0001.*, is .*tol=0.5"),
        ({"n_iter_no_change": 5}, "n_iter_no_change=5"),
        ({"early_stopping": True}, "X was"),
        ({"random_state": 1}, "the network that the call begins with is another one"),
        ({"max_iter": 3}, "epochs was 2, is 3"),
        ({"alpha": 0.5}, "alpha was"),
        ({"shuffle": False}, "shuffle was .*SklearnOrders"),
    ):
        with pytest.raises(CheckpointError, match=what):
            clone(model).set_params(**other).fit(X, NAMES)
    with pytest.raises(CheckpointError, match="X was"):
        clone(model).fit(X + 1, NAMES)
    assert_same_fit(clone(model).set_params(verbose=True).fit(X, NAMES), model)


@BOTH
def test_a_fit_that_cannot_be_repeated_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "fit.ckpt"
    for random in (None, np.random.RandomState(0), np.random.default_rng(0)):
        with pytest.raises(ValueError, match="random_state must be a number, not"):
            mlp(name, checkpoint=path, random_state=random).fit(X, target(name))
    with pytest.raises(ValueError, match="checkpoint is for the stochastic solvers"):
        mlp(name, checkpoint=path, solver="lbfgs").fit(X, target(name))
    classes = {"classes": np.unique(NAMES)} if name == "MLPClassifier" else {}
    with pytest.raises(ValueError, match="partial_fit does not support a checkpoint"):
        mlp(name, checkpoint=path).partial_fit(X, target(name), **classes)
    with pytest.raises(ValueError, match="must be the path of a file"):
        mlp(name, checkpoint="").fit(X, target(name))
    assert list(tmp_path.iterdir()) == []


def test_a_warm_start_has_a_file_of_its_own(break_off: After, tmp_path: Path) -> None:
    """It begins with a network, which the file knows; so the calls before it are made again."""
    given = STEPS | SGD | {"learning_rate": "invscaling", "warm_start": True}

    def both_fits(*paths: Any) -> Any:
        model = classify(**given, checkpoint=paths[0]).fit(X, NAMES)
        return model.set_params(checkpoint=paths[1], alpha=0.1).fit(X, NAMES, WEIGHT)

    unbroken = both_fits(None, None)
    paths = [Checkpoint(tmp_path / f"{i}.ckpt", every="4 steps") for i in range(2)]
    resumed = with_breaks(lambda: both_fits(*paths), break_off, seed=3)
    assert_same_fit(resumed, unbroken)
    with pytest.raises(CheckpointError, match="begins with is another one"):
        resumed.fit(X, NAMES, WEIGHT)


def test_the_file_of_a_model_has_no_checkpoint(tmp_path: Path) -> None:
    for checkpoint in (tmp_path / "fit.ckpt", Checkpoint(tmp_path / "fit.ckpt", "1 epoch")):
        model = classify(max_iter=2, checkpoint=checkpoint).fit(X, NAMES)
        assert clone(model).checkpoint == checkpoint
        assert pickle.loads(pickle.dumps(model)).checkpoint == checkpoint
        model.save(tmp_path / "model.safetensors")
        loaded = MLPClassifier.load(tmp_path / "model.safetensors")
        assert loaded.checkpoint is None
        assert_same_network(loaded, model)


def test_a_network_that_diverged_says_so_again(tmp_path: Path) -> None:
    given = {"solver": "sgd", "learning_rate_init": 1e30, "checkpoint": tmp_path / "fit.ckpt"}
    for _ in range(2):
        with pytest.raises(ValueError, match="non-finite"):
            classify(**given).fit(X, NAMES)


# Parts


def test_orders_can_be_asked_for_by_epoch() -> None:
    def orders(first: int = 0) -> SklearnOrders:
        return SklearnOrders(np.random.RandomState(0), first)

    drawn = orders()
    expected = [drawn(7, epoch).tolist() for epoch in range(4)]
    assert len(set(map(str, expected))) == 4
    late = orders()
    assert late.state() == orders().state() != drawn.state()
    assert late(7, 2).tolist() == late(7, 2).tolist() == expected[2]
    copied = deepcopy(late)
    assert late(7, 3).tolist() == copied(7, 3).tolist() == expected[3]
    assert [orders(10)(7, 10).tolist(), orders(10)(7, 13).tolist()] == [expected[0], expected[3]]
    with pytest.raises(ValueError, match="the order of epoch 1 is not to be had any more"):
        late(7, 1)
    assert repr(late) == repr(orders())
    assert repr(late) != repr(SklearnOrders(np.random.RandomState(1)))


@pytest.mark.parametrize("members", [(), (2,)], ids=["one", "members"])
def test_weighted_losses_go_on_within_an_epoch(members: Any, backend: Backend) -> None:
    network = arraymlp.MultilayerPerceptron.create([2, 1], backend=backend, dtype="float32")
    random = np.random.default_rng(0)

    def steps(losses: WeightedLosses, n: int) -> None:
        for _ in range(n):
            figures = random.uniform(size=(2, *members))
            loss, penalty = (backend.asarray(figures[i, ...], "float32") for i in range(2))
            rows = random.integers(1, 9, size=members) if members else 7
            losses.on_step(StepEnd(0, 0, rows, loss, penalty, network))

    straight, broken = WeightedLosses(3), WeightedLosses(3)
    assert broken.state() is None
    with backend.active():
        for losses in (straight, broken):
            random = np.random.default_rng(0)
            steps(losses, 3)
            if losses is broken:
                state = broken.state()
                broken = losses = WeightedLosses(3)
                broken.restore(state)
                assert broken.state() == state
            steps(losses, 2)
        assert broken.state() == straight.state()
        assert broken.take() == straight.take()
    assert broken.state() is None


# Many fits

GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(6,), (4, 3)]}
CLASSIFY = classify(**STEPS)
SEARCHES: dict[str, tuple[Any, Given, Given]] = {
    "grid": (CLASSIFY, GRID, {}),
    "weighted": (CLASSIFY, {"tol": [1e-4, 0.5]}, {"sample_weight": WEIGHT}),
    "early stopping": (
        classify(**STEPS, early_stopping="loss", validation_fraction=0.3, n_iter_no_change=1),
        {"learning_rate_init": [0.02, 0.2]},
        {},
    ),
    "adaptive": (
        classify(**STEPS | FITS["adaptive"]),
        {"learning_rate_init": [0.1, 0.5], "shuffle": [True, False]},
        {},
    ),
    "pipeline": (
        scaled(CLASSIFY),
        {"standardscaler__with_mean": [True, False], "mlpclassifier__alpha": [1e-4, 1.0]},
        {},
    ),
}


@pytest.mark.parametrize("which", SEARCHES)
def test_a_search_goes_on_to_the_same_scores(
    which: str,
    break_off: After,
    forbid_training: Callable[[], None],
    tmp_path: Path,
) -> None:
    model, grid, given = SEARCHES[which]
    kept = MLPSearchCV(model, grid, cv=2, checkpoint=Checkpoint(tmp_path / "search", "4 steps"))
    unbroken = clone(kept).set_params(checkpoint=None).fit(X, NAMES, **given)
    resumed = with_breaks(lambda: clone(kept).fit(X, NAMES, **given), break_off, 5, most=20)
    assert_same_scores(resumed, unbroken)
    forbid_training()
    assert_same_scores(clone(kept).fit(X, NAMES, **given), unbroken)


def test_ctrl_c_in_a_search(break_off: After, tmp_path: Path) -> None:
    model, grid, given = SEARCHES["weighted"]
    kept = MLPSearchCV(model, grid, cv=2, checkpoint=tmp_path)
    break_off(12, press_ctrl_c)
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        clone(kept).fit(X, NAMES, **given)
    unbroken = clone(kept).set_params(checkpoint=None).fit(X, NAMES, **given)
    assert_same_scores(clone(kept).fit(X, NAMES, **given), unbroken)


def test_other_scores_choose_another_refit(tmp_path: Path) -> None:
    kept = MLPSearchCV(CLASSIFY, {"alpha": [1e-4, 100.0]}, cv=2, checkpoint=tmp_path)
    best = clone(kept).fit(X, NAMES)
    worst = clone(kept).set_params(scoring=lambda *given: -best.scorer_(*given)).fit(X, NAMES)
    assert [best.best_index_, worst.best_index_] == [0, 1]
    assert [file.name for file in sorted(tmp_path.glob("refit-*.safetensors"))] == [
        "refit-0.safetensors",
        "refit-1.safetensors",
    ]


def test_one_by_one_is_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"solver": ["lbfgs", "adam"]}
    kept = MLPSearchCV(CLASSIFY, grid, cv=2, refit=False, checkpoint=tmp_path / "a" / "b")
    first = kept.fit(X, NAMES).cv_results_["mean_test_score"].tolist()
    assert clone(kept).fit(X, NAMES).cv_results_["mean_test_score"].tolist() == first
    best = MLPSearchCV(CLASSIFY, {"solver": ["lbfgs"]}, cv=2, checkpoint=tmp_path / "c")
    assert best.fit(X, NAMES).best_estimator_.checkpoint is None


def test_another_search_is_refused(tmp_path: Path) -> None:
    kept = MLPSearchCV(CLASSIFY, {"alpha": [1e-4, 1.0]}, cv=2, checkpoint=tmp_path).fit(X, NAMES)
    for other in ({"cv": 3}, {"param_grid": {"alpha": [1e-4, 0.5]}}):
        with pytest.raises(CheckpointError, match="is of another sweep"):
            clone(kept).set_params(**other).fit(X, NAMES)
    with pytest.raises(CheckpointError, match=r"tol=0\.5"):
        clone(kept).set_params(estimator__tol=0.5).fit(X, NAMES)
    for given, what in (
        ({"estimator__random_state": None}, "random_state of MLPClassifier must be a number"),
        ({"estimator__checkpoint": "fit.ckpt"}, "give the search one"),
        (
            {"param_grid": None, "param_distributions": {"alpha": [0.1, 0.2]}, "n_iter": 1},
            "random_state of MLPSearchCV must be a number",
        ),
    ):
        with pytest.raises(ValueError, match=what):
            clone(kept).set_params(**given).fit(X, NAMES)


def test_several_populations_have_folders_of_their_own(break_off: After, tmp_path: Path) -> None:
    """Regressors of columns that are reported alike or not do not train together."""
    given = STEPS | {"early_stopping": True, "validation_fraction": 0.3}
    grid = {"loss": ["squared_error", "absolute_error"]}
    model = arraymlp.MLPRegressor(hidden_layer_sizes=(6,), random_state=0, **given)
    y = np.stack([X[:, 0], X[:, 1] * X[:, 2]], axis=1)
    kept = MLPSearchCV(model, grid, cv=2, checkpoint=Checkpoint(tmp_path, every="4 steps"))
    unbroken = clone(kept).set_params(checkpoint=None).fit(X, y)
    resumed = with_breaks(lambda: clone(kept).fit(X, y), break_off, 5, most=20)
    assert_same_scores(resumed, unbroken)
    assert {"group-1", "group-2"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["MLPEnsembleClassifier", "MLPEnsembleRegressor"])
def test_an_ensemble_goes_on(
    name: str,
    break_off: After,
    forbid_training: Callable[[], None],
    tmp_path: Path,
) -> None:
    of = name.replace("Ensemble", "")
    member, y = mlp(of, **STEPS, early_stopping=True, validation_fraction=0.3), target(of)
    kept = getattr(arraymlp, name)(
        member, 3, random_state=0, checkpoint=Checkpoint(tmp_path, every="4 steps")
    )
    unbroken = clone(kept).set_params(checkpoint=None).fit(X, y, WEIGHT)
    resumed = with_breaks(lambda: clone(kept).fit(X, y, WEIGHT), break_off, seed=8)
    forbid_training()
    for model in (resumed, clone(kept).fit(X, y, WEIGHT)):
        for ours, theirs in zip(model.estimators_, unbroken.estimators_, strict=True):
            assert_same_fit(ours, theirs)
    with pytest.raises(ValueError, match="random_state must be a number"):
        clone(kept).set_params(random_state=None).fit(X, y)
    with pytest.raises(ValueError, match="give the ensemble one"):
        clone(kept).set_params(estimator__checkpoint="fit.ckpt").fit(X, y)


# Kills


def slow_fit(what: str, path: Path | None) -> list[Any]:
    """What a fit or a search gives that takes its time to say how far it is."""
    kept = None if path is None else Checkpoint(path, every="4 steps")
    rules = {"max_iter": 200, "tol": 0.0, "n_iter_no_change": 200, "verbose": True}
    model = classify(**STEPS | rules)
    if what == "fit":
        return [model.set_params(checkpoint=kept).fit(X, NAMES).predict_proba(X).tolist()]
    grid = {"learning_rate_init": [0.001, 0.01]}
    search = MLPSearchCV(model, grid, cv=2, checkpoint=kept).fit(X, NAMES)
    scores = [search.cv_results_[f"split{i}_test_score"].tolist() for i in range(2)]
    return [*scores, search.predict_proba(X).tolist()]


KILLED = """
import builtins, sys, time
from pathlib import Path
real_print = print
builtins.print = lambda *words: (real_print(*words, flush=True), time.sleep(0.003))
sys.path[:0] = sys.argv[3:]
from test_checkpoints import slow_fit
slow_fit(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("what", ["fit", "search"])
def test_a_killed_process_is_gone_on_with(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, files = tmp_path / "kept", {"fit": "kept", "search": "kept/stack-0.safetensors"}[what]
    folders = [str(Path(__file__).parent), *sys.path]
    command = [sys.executable, "-c", KILLED, what, str(path), *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines, written = 0, set[int]()
        while len(written) < 4:  # the third state and the fourth were taken after 30 epochs
            assert process.stdout.readline().startswith("Iteration")
            lines += 1
            if lines > 30 and (tmp_path / files).exists():
                written.add((tmp_path / files).stat().st_mtime_ns)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    resumed, printed = slow_fit(what, path), capsys.readouterr().out
    assert resumed == slow_fit(what, None)
    assert len(printed) < len(capsys.readouterr().out)
