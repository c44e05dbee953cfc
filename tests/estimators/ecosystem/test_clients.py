"""Other libraries that take scikit-learn's estimators take ours; each where it is installed."""

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arraymlp import MLPClassifier, MLPRegressor, resolve
from arraymlp.losses import Huber
from problems import labels, numbers

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Of these libraries' own code
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:(skops|imblearn|mapie|mlxtend|optuna).*"
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning:(skops|imblearn|mapie|mlxtend|optuna).*"),
]
X, Y = labels()
SMALL: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
MODELS = {
    "classifier": lambda: MLPClassifier(**SMALL).fit(X, np.array(["a", "b", "c"])[Y]),
    "regressor": lambda: MLPRegressor(**SMALL, loss=Huber(0.5)).fit(X, numbers()[1][:, 0]),
    "L-BFGS": lambda: MLPClassifier(**SMALL, solver="lbfgs").fit(X, Y),
    "pipeline": lambda: make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(X, Y),
    "trained elsewhere": lambda: MLPClassifier(**SMALL, backend="array_api_strict").fit(X, Y),
}


def through_skops(model: Any) -> Any:
    io = pytest.importorskip("skops.io")
    content = io.dumps(model)
    trusted = io.get_untrusted_types(data=content)
    assert all(name.startswith("arraymlp.") for name in trusted)
    return io.loads(content, trusted=trusted)


WAYS = {"skops": through_skops, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_stored_and_predicts_the_same(name: str, way: str) -> None:
    model = MODELS[name]()
    loaded = WAYS[way](model)
    assert (loaded.predict(X) == model.predict(X)).all()
    if hasattr(model, "predict_proba"):
        assert (loaded.predict_proba(X) == model.predict_proba(X)).all()


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_stored_and_goes_on_the_same(way: str) -> None:
    model = MODELS["classifier"]()
    loaded = WAYS[way](model)
    names = np.array(["a", "b", "c"])[Y]
    for each in (model, loaded):
        for _ in range(3):
            each.partial_fit(X, names)
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
    assert loaded.loss_curve_ == model.loss_curve_


def test_a_stored_backend_is_the_same_backend(backend: Any) -> None:
    for way in WAYS.values():
        assert way(backend) == backend == resolve(backend.name, backend.device)
        assert type(way(backend)) is type(backend)


def test_imbalanced_learn_resamples_before_a_fit() -> None:
    pipeline = pytest.importorskip("imblearn.pipeline")
    sampling = pytest.importorskip("imblearn.over_sampling")
    rare = (Y == 0) & (np.arange(len(Y)) % 3 == 0)
    model = pipeline.make_pipeline(
        sampling.RandomOverSampler(random_state=0), MLPClassifier(**SMALL)
    )
    model.fit(X, rare)
    assert model[-1].t_ == 3 * 2 * (~rare).sum()  # epochs, classes, rows of each
    assert set(model.predict(X)) <= {False, True}


def test_mlxtend_votes_and_selects_features() -> None:
    classifier = pytest.importorskip("mlxtend.classifier")
    selection = pytest.importorskip("mlxtend.feature_selection")
    one = MLPClassifier(**SMALL)
    vote = classifier.EnsembleVoteClassifier([one, one], voting="soft").fit(X, Y)
    assert (vote.predict(X) == one.fit(X, Y).predict(X)).all()
    selector = selection.SequentialFeatureSelector(one, k_features=2, cv=2).fit(X, Y)
    assert len(selector.k_feature_idx_) == 2


def test_mapie_makes_intervals() -> None:
    regression = pytest.importorskip("mapie.regression")
    y = numbers()[1][:, 0]
    model = MLPRegressor(**SMALL | {"max_iter": 30}).fit(X, y)
    conformal = regression.SplitConformalRegressor(model, confidence_level=0.9, prefit=True)
    predicted, intervals = conformal.conformalize(X, y).predict_interval(X)
    assert (predicted == model.predict(X)).all()
    assert ((intervals[:, 0, 0] <= y) & (y <= intervals[:, 1, 0])).mean() >= 0.9


def test_optuna_searches() -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("learning_rate_init", 1e-4, 1e-1, log=True)
        model = MLPClassifier(**SMALL | {"max_iter": 30}, learning_rate_init=rate)
        return float(cross_val_score(model, X, Y, cv=2).mean())

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n_trials=3)
    values = [trial.value for trial in study.trials]
    assert len(set(values)) > 1
    assert study.best_value == max(values)
