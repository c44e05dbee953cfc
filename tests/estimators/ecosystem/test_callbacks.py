"""scikit-learn's own callbacks in a fit of ours."""

import re
import warnings
from math import inf
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arraymlp import MLPClassifier
from conftest import named
from sklearn_problem import (
    BOTH,
    NAMES,
    WEIGHT,
    X,
    Z,
    assert_same_network,
    classify,
    fitted,
    frame,
    mlp,
    regress,
    target,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From scikit-learn's own L-BFGS, up to 1.7
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),
]
callback = pytest.mark.skipif(
    not hasattr(MLPClassifier, "set_callbacks"), reason="scikit-learn has callbacks since 1.9"
)


class Recorder:
    """Records the events of a fit, and may stop it after some epochs."""

    def __init__(self, *, stop_after: float = inf, score: bool = True) -> None:
        self.stop_after, self.score = stop_after, score
        self.events: list[tuple[str, str, int]] = []
        self.scores: list[float] = []
        self.open: list[Any] = []
        self.metadata: list[Any] = []

    def setup(self, estimator: Any, context: Any) -> None:
        self.events.append(("setup", context.task_name, context.task_id))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.events.append(("teardown", context.task_name, context.task_id))

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any, y: Any) -> None:
        self.events.append(("begin", context.task_name, context.task_id))
        self.open.append(context)

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any, y: Any, metadata: Any, fitted_estimator: Any
    ) -> bool:
        self.events.append(("end", context.task_name, context.task_id))
        assert self.open.pop() is context
        self.metadata.append(metadata)
        if self.score and context.task_name == "epoch" and fitted_estimator is not None:
            assert fitted_estimator is not estimator
            self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) >= self.stop_after

    def tasks(self, event: str, name: str = "epoch") -> list[int]:
        return [i for e, n, i in self.events if (e, n) == (event, name)]


class Propagated(Recorder):
    """One that a pipeline hands on to its steps."""

    max_propagation_depth = None


WAYS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 60},
    "converged": {"tol": 10.0, "n_iter_no_change": 2},
    "our callback stops": {"callbacks": lambda event: event.number == 4},
    "elsewhere": {"backend": "torch"},
}


@callback
@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_each_epoch_is_a_task_and_each_beginning_has_an_end(way: str, name: str) -> None:
    if way == "elsewhere":
        pytest.importorskip("torch")
    recorder = Recorder()
    model = mlp(name, **WAYS[way]).set_callbacks(recorder)
    assert model.fit(X, target(name)) is model
    assert recorder.open == []
    assert recorder.events[0] == ("setup", "fit", 0)
    assert recorder.events[1] == ("begin", "fit", 0)
    assert recorder.events[-2:] == [("end", "fit", 0), ("teardown", "fit", 0)]
    begun, ended = recorder.tasks("begin"), recorder.tasks("end")
    assert begun == ended == list(range(len(begun)))
    # One that was begun when ours said stop has nothing to score.
    assert len(recorder.scores) == model.n_iter_ == len(begun) - (way == "our callback stops")
    assert model.n_iter_ > 1
    if way != "early stopping":  # whose weights are those of the best epoch
        assert recorder.scores[-1] == model.score(X, target(name))
    assert len(set(recorder.scores)) > 1


@callback
@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_watching_changes_nothing(solver: str, name: str) -> None:
    watched = mlp(name, solver=solver).set_callbacks(Recorder()).fit(X, target(name))
    plain = fitted(name, solver=solver)
    assert_same_network(watched, plain)
    assert watched.n_iter_ == plain.n_iter_
    assert watched.loss_ == plain.loss_


@callback
@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_callback_that_says_true_stops_the_training(solver: str, name: str) -> None:
    recorder = Recorder(stop_after=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody is told that it has not converged
        model = mlp(name, solver=solver).set_callbacks(recorder).fit(X, target(name))
    assert model.n_iter_ == 3
    assert recorder.tasks("begin") == recorder.tasks("end") == [0, 1, 2]
    assert recorder.open == []
    assert recorder.scores[-1] == model.score(X, target(name))


class Keeper(Recorder):
    """Keeps the estimator of each epoch, and what it predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Any, Any]] = []

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any, y: Any, fitted_estimator: Any
    ) -> None:
        if context.task_name == "epoch":
            self.kept.append((fitted_estimator, fitted_estimator.predict_proba(X)))


@callback
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_estimator_of_an_epoch_stays_what_it_was(solver: str) -> None:
    keeper = Keeper()
    model = classify(solver=solver).set_callbacks(keeper).fit(X, NAMES)
    assert len(keeper.kept) == model.n_iter_
    for estimator, then in keeper.kept:
        assert estimator.predict_proba(X).tolist() == then.tolist()
    assert (keeper.kept[0][1] != keeper.kept[-1][1]).any()


@callback
def test_a_fit_that_fails_tears_down() -> None:
    recorder = Recorder(score=False)
    with pytest.raises(ValueError, match="non-finite"):
        regress(solver="sgd", learning_rate_init=1e30).set_callbacks(recorder).fit(X, Z)
    assert recorder.events[-1] == ("teardown", "fit", 0)


@callback
def test_a_callback_is_told_of_weights() -> None:
    recorder = Recorder()
    classify(max_iter=2).set_callbacks(recorder).fit(X, NAMES, WEIGHT)
    assert all(data["sample_weight"] is WEIGHT for data in recorder.metadata)
    recorder = Recorder()
    classify(max_iter=2).set_callbacks(recorder).fit(X, NAMES)
    assert recorder.metadata == [None] * 3


@callback
@pytest.mark.parametrize("wrong", [print, Recorder, object(), lambda event: None], ids=named)
def test_what_is_no_callback_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="callbacks must be instances following the FitCallback"):
        MLPClassifier().set_callbacks(wrong)


@callback
def test_a_clone_shares_its_callbacks() -> None:
    recorder = Recorder()
    model = clone(classify(max_iter=2).set_callbacks(recorder)).fit(X, NAMES)
    assert recorder.tasks("end") == [0, 1]
    assert model.set_callbacks() is model
    model.fit(X, NAMES)
    assert recorder.tasks("end") == [0, 1]


@callback
def test_a_fitted_estimator_keeps_nothing_of_the_tasks() -> None:
    recorded, plain = classify().set_callbacks(Recorder()).fit(X, NAMES), fitted()
    assert vars(recorded).keys() - vars(plain).keys() == {"_skl_callbacks"}
    assert not [name for name in vars(plain) if "callback" in name and name != "callbacks"]


def monitor(**given: Any) -> Any:
    return pytest.importorskip("sklearn.callback").ScoringMonitor(**given)


def scores(watch: Any, name: str) -> list[float]:
    return [row[name] for row in watch.get_logs().data if row["task_name"] == "epoch"]


MONITORED: dict[str, dict[str, Any]] = {
    "adam": {"max_iter": 30},
    "lbfgs": {"solver": "lbfgs", "max_iter": 30},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 60},
}


@callback
@pytest.mark.parametrize("parameters", MONITORED.values(), ids=MONITORED)
@pytest.mark.parametrize("form", ["array", "pandas", "polars"])
def test_a_monitored_accuracy_rises_epoch_by_epoch(form: str, parameters: dict[str, Any]) -> None:
    watch = monitor(scoring="accuracy")
    data = X if form == "array" else frame(form)
    model = classify(**parameters).set_callbacks(watch).fit(data, NAMES)
    monitored = scores(watch, "accuracy")
    assert len(monitored) == model.n_iter_ > 3
    assert monitored[-1] > monitored[0] + 0.1
    if not model.early_stopping:
        assert monitored[-1] == model.score(data, NAMES)


@callback
def test_a_monitor_may_score_probabilities_with_weights() -> None:
    watch = monitor(scoring=["neg_log_loss", "roc_auc_ovr"])
    model = classify(max_iter=8).set_callbacks(watch).fit(X, NAMES, WEIGHT)
    monitored = scores(watch, "neg_log_loss")
    assert len(monitored) == 8
    assert monitored == sorted(monitored)
    assert monitored[-1] == get_scorer("neg_log_loss")(model, X, NAMES, sample_weight=WEIGHT)
    assert len(scores(watch, "roc_auc_ovr")) == 8


@callback
def test_each_partial_fit_is_a_run_of_one_epoch() -> None:
    watch = monitor(scoring="accuracy")
    model = classify().set_callbacks(watch)
    after = [model.partial_fit(X, NAMES, classes=np.unique(NAMES)).score(X, NAMES)]
    after += [model.partial_fit(X, NAMES).score(X, NAMES) for _ in range(9)]
    runs = watch.get_logs(select="all")
    monitored = [[r["accuracy"] for r in run.data if r["task_name"] == "epoch"] for run in runs]
    assert sorted(monitored) == sorted([score] for score in after)
    assert after[-1] > after[0]


@callback
def test_a_step_of_a_pipeline_is_monitored() -> None:
    watch = monitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), classify().set_callbacks(watch)).fit(X, NAMES)
    monitored = scores(watch, "accuracy")
    assert len(monitored) == pipeline[-1].n_iter_
    assert monitored[-1] == pipeline.score(X, NAMES)


@callback
def test_a_pipeline_hands_its_callbacks_on() -> None:
    recorder = Propagated()
    pipeline = make_pipeline(StandardScaler(), classify(max_iter=5)).set_callbacks(recorder)
    pipeline.fit(X, NAMES)
    assert recorder.tasks("end") == [0, 1, 2, 3, 4]
    assert recorder.open == []
    assert [task[:2] for task in recorder.events if task[0] in ("setup", "teardown")] == [
        ("setup", "fit"),
        ("teardown", "fit"),
    ]
    assert not hasattr(pipeline[-1], "_skl_callbacks")
    assert not hasattr(pipeline[-1], "_parent_callback_ctx")


@callback
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_monitors_each_of_its_fits(jobs: int) -> None:
    watch = monitor(scoring="accuracy")
    model = classify(max_iter=4).set_callbacks(watch)
    GridSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=jobs).fit(X, NAMES)
    assert len(scores(watch, "accuracy")) == (2 * 2 + 1) * 4


@callback
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_progress_bar_gets_to_its_end(solver: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    bar = pytest.importorskip("sklearn.callback").ProgressBar()
    model = classify(solver=solver, max_iter=4)
    make_pipeline(StandardScaler(), model).set_callbacks(bar).fit(X, NAMES)
    out = capsys.readouterr().out
    assert re.search(r"MLPClassifier.*fit.*100%", out)
    assert re.search(r"Pipeline.*fit.*100%", out)
