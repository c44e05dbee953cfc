"""The estimators in a notebook, as scikit-learn shows them, each attribute described."""

import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.utils._repr_html.fitted_attributes", reason="of scikit-learn 1.9")

from sklearn.utils._repr_html.common import get_docstring

from arraymlp import (
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    MLPSearchCV,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (3,), "max_iter": 2}
ESTIMATORS = {
    "classifier": MLPClassifier(**SMALL),
    "early stopping": MLPClassifier(early_stopping=True, **SMALL),
    "lbfgs": MLPClassifier(solver="lbfgs", **SMALL),
    "regressor": MLPRegressor(**SMALL),
    "search": MLPSearchCV(MLPClassifier(**SMALL), {"alpha": [0.1, 0.2]}, cv=2),
    "search without refit": MLPSearchCV(
        MLPClassifier(**SMALL), {"alpha": [0.1, 0.2]}, cv=2, refit=False
    ),
    "ensemble": MLPEnsembleClassifier(MLPClassifier(**SMALL), 2),
    "ensemble of numbers": MLPEnsembleRegressor(MLPRegressor(**SMALL), 2),
}
EACH = pytest.mark.parametrize("name", ESTIMATORS)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "<zz>", "c"])
    models: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs are too few
        for name, model in ESTIMATORS.items():
            models[name] = model.fit(table, Y)
    return models


def parameters(model: Any) -> list[str]:
    return list(model.get_params(deep=False))


def attributes(model: Any) -> list[str]:
    return list(model._get_fitted_attr_html())


@EACH
def test_each_parameter_and_attribute_is_described(name: str, fitted: dict[str, Any]) -> None:
    model = fitted[name]
    for section, names in ("Parameters", parameters(model)), ("Attributes", attributes(model)):
        assert names
        for item in names:
            described = get_docstring(type(model), section, item)
            assert described is not None, (section, item)
            title, _, text = described.partition("<br><br>")
            assert title.startswith(f"{item}: ")
            assert len(title) > len(item) + 2
            assert len(text) > 3, described


@EACH
def test_it_is_shown_with_all_of_them_and_without_broken_links(
    name: str, fitted: dict[str, Any]
) -> None:
    model = fitted[name]
    html = model._repr_html_()
    for item in [*parameters(model), *attributes(model)]:
        assert item in html
    assert "href=" not in html  # the documentation is at no address yet
    assert "<zz>" not in html


@EACH
def test_before_it_is_fitted_it_is_shown_with_its_parameters(name: str) -> None:
    from sklearn.base import clone

    html = clone(ESTIMATORS[name])._repr_html_()
    assert "Fitted attributes" not in html
    assert all(item in html for item in parameters(ESTIMATORS[name]))


def test_one_that_was_read_again_is_shown(fitted: dict[str, Any], tmp_path: Any) -> None:
    model = fitted["classifier"]
    model.save(tmp_path / "model.safetensors")
    for again in (
        MLPClassifier.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert "coefs_" in again._repr_html_()


def test_with_an_address_each_has_its_tooltip(
    fitted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted["classifier"]
    monkeypatch.setattr(MLPClassifier, "_doc_link_module", "arraymlp", raising=False)
    template = "https://example.org/{estimator_name}.html"
    monkeypatch.setattr(MLPClassifier, "_doc_link_template", template)
    html = model._repr_html_()
    described = set(re.findall(r"--doc-link-(\w+);", html))
    assert described == {*parameters(model), *attributes(model)}
