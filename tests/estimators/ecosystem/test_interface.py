"""What the estimators show of themselves: parameters, signatures, attributes, imports."""

import inspect
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

import sklearn
from sklearn import neural_network
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import arraymlp
from arraymlp import Dropout, MLPClassifier, MLPRegressor
from arraymlp.losses import Huber
from processes import OPTIONAL, modules_after
from sklearn_problem import BOTH, X, Y, Z, assert_close, fitted, mlp, public, target

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # From scikit-learn's own L-BFGS, up to 1.7
    pytest.mark.filterwarnings("ignore:.*`disp` and `iprint` options:DeprecationWarning"),
]


@BOTH
def test_only_what_is_no_default_is_printed(name: str) -> None:
    Estimator = getattr(arraymlp, name)
    assert repr(Estimator()) == f"{name}()"
    assert repr(Estimator(alpha=1.0, hidden_layer_sizes=(5, 4))) == (
        f"{name}(alpha=1.0, hidden_layer_sizes=(5, 4))"
    )
    assert "Huber(threshold=0.5)" in repr(MLPRegressor(Huber(0.5)))
    assert "dropout=Dropout(hidden=0.5, input=0.0)" in repr(Estimator(dropout=Dropout(0.5)))
    with sklearn.config_context(print_changed_only=False):
        shown = Estimator().__repr__(N_CHAR_MAX=10_000)
    # It elides what is beyond the thirtieth.
    assert all(f"{parameter}=" in shown for parameter in sorted(Estimator().get_params())[:30])


@BOTH
def test_the_html_has_every_parameter(name: str) -> None:
    model = getattr(arraymlp, name)(alpha=0.125)
    html = model._repr_html_()
    shown = re.findall(r'<td class="param">\s*(?:<a.*?>)?\s*(\w+)', html, re.DOTALL)
    parameters = list(inspect.signature(type(model)).parameters)
    assert sorted(shown) == sorted(parameters)
    # In their order, but since 1.8 for what is no default, which comes first.
    assert [p for p in shown if p != "alpha"] == [p for p in parameters if p != "alpha"]
    assert "0.125" in html
    pipeline = make_pipeline(StandardScaler(), model)
    for shown in (pipeline._repr_html_(), estimator_html_repr(pipeline)):
        assert name in shown
        assert "gradient_clip" in shown
    assert name in estimator_html_repr(mlp(name).fit(X, target(name)))


@BOTH
def test_every_parameter_and_attribute_is_in_the_docstring(name: str) -> None:
    model = fitted(name, early_stopping=True)
    parameters, attributes = (
        re.findall(r"^ {4}(\w+(?:, \w+)*) :", part, re.MULTILINE)
        for part in re.split(r"\n\s+Attributes\n", type(model).__doc__, maxsplit=1)
    )
    parameters = [p for line in parameters for p in line.split(", ")]
    assert sorted(parameters) == sorted(model.get_params())
    attributes = {a for line in attributes for a in line.split(", ")}
    assert public(model) <= attributes | {"feature_names_in_"}


@BOTH
def test_parameters_are_scikit_learns_and_then_ours(name: str) -> None:
    ours = list(inspect.signature(getattr(arraymlp, name)).parameters.values())
    theirs = list(inspect.signature(getattr(neural_network, name)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in ours[: len(theirs)]] == [
        (p.name, p.kind, p.default) for p in theirs
    ]
    assert len(ours) > len(theirs)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@BOTH
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_methods_take_what_scikit_learns_take(name: str, method: str) -> None:
    ours = list(inspect.signature(getattr(getattr(arraymlp, name), method)).parameters.values())
    theirs = inspect.signature(getattr(getattr(neural_network, name), method))
    expected = [(p.name, p.kind, p.default) for p in theirs.parameters.values()]
    assert [(p.name, p.kind, p.default) for p in ours[: len(expected)]] == expected
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(expected) :])


@BOTH
@pytest.mark.parametrize(
    "parameters",
    [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}],
    ids=str,
)
def test_every_fitted_attribute_of_scikit_learns_is_there(
    name: str, parameters: dict[str, Any]
) -> None:
    y = Y if name == "MLPClassifier" else Z  # 1.7.0 cannot stop early with names of classes
    ours, theirs = (mlp(name, of, **parameters).fit(X, y) for of in (arraymlp, neural_network))
    expected = public(theirs)
    assert len(expected) > 8
    assert expected <= public(ours)
    for attribute in expected - {"coefs_", "intercepts_", "loss_curve_"}:
        a, b = getattr(ours, attribute), getattr(theirs, attribute)
        assert type(a) is type(b) or {type(a), type(b)} == {float, np.float64}, attribute
        if isinstance(a, float | list | np.ndarray):
            assert_close(a, b)
        else:
            assert a == b, attribute
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert_close(a, b)
    assert public(mlp(name)) == set()


@BOTH
def test_parameters_are_got_and_set(name: str) -> None:
    model = mlp(name)
    assert model.set_params(alpha=0.5, dropout=0.25) is model
    assert model.get_params()["alpha"] == model.alpha == 0.5
    assert model.get_params()["dropout"] == 0.25
    with pytest.raises(ValueError, match="Invalid parameter 'alpah' for estimator MLP"):
        model.set_params(alpah=1)
    pipeline = make_pipeline(model).set_params(**{f"{name.lower()}__gradient_clip": 2.0})
    assert pipeline[0].gradient_clip == 2.0
    given = {p: object() for p in model.get_params()}
    assert getattr(arraymlp, name)(**given).get_params() == given  # kept as they are, unchecked


def test_importing_the_package_does_not_import_scikit_learn() -> None:
    assert "sklearn" not in modules_after("from arraymlp import *; import arraymlp; dir(arraymlp)")


def printed_by(code: str) -> list[str]:
    """The lines that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_estimators_import_no_optional_library_but_scikit_learn() -> None:
    code = (
        "import sys, sklearn.neural_network\n"
        "before = {*sys.modules}\n"
        "import arraymlp\n"
        "arraymlp.MLPClassifier\n"
        "from arraymlp import MLPRegressor\n"
        "print(*{*sys.modules} - before, sep='\\n')"
    )
    imported = printed_by(code)
    assert "arraymlp.estimators.regressor" in imported
    assert not {name.partition(".")[0] for name in imported} & OPTIONAL


def test_the_estimators_are_listed() -> None:
    assert {"MLPClassifier", "MLPRegressor"} <= set(dir(arraymlp))
    assert arraymlp.MLPClassifier is MLPClassifier
    with pytest.raises(AttributeError, match="module 'arraymlp' has no attribute 'MLPClasifier'"):
        arraymlp.MLPClasifier  # noqa: B018


def test_without_scikit_learn_the_rest_is_there_and_a_line_that_installs_it() -> None:
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "from arraymlp import *\n"
        "import arraymlp\n"
        "print(train.__name__)\n"
        "for name in dir(arraymlp):\n"
        "    try:\n"
        "        getattr(arraymlp, name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(name, error)\n"
    )
    install = "the estimators need scikit-learn: pip install scikit-learn"
    names = sorted({name for name in dir(arraymlp) if name.startswith("MLP")})
    assert len(names) == 5
    assert printed_by(code) == ["train", *(f"{name} {install}" for name in names)]
