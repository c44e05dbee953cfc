"""L-BFGS: the gradient of its objective, and the minima that it finds."""

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy import sparse

import problems
from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.data.data import Data
from arraymlp.data.loading import load_data
from arraymlp.data.weights import with_class_weights
from arraymlp.estimators.fitting.lbfgs import Objective, minimize
from arraymlp.initializers import normal
from arraymlp.losses import Huber, Loss, Quantile
from arraymlp.nn.losses import LOSSES
from arraymlp.training.settings import Settings
from conftest import assert_same, on_host

HostArray = np.ndarray[Any, Any]
Given = dict[str, Any]
N = problems.N
WEIGHT = np.random.default_rng(50).uniform(0.1, 2, N)
WEIGHT[2] = 0
WEIGHTED = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
PROBLEMS: dict[str, tuple[Loss, Callable[[], tuple[HostArray, HostArray]]]] = {
    name: (LOSSES[name], problems.PROBLEMS[name])
    for name in ("softmax_cross_entropy", "binary_cross_entropy", "squared_error", "poisson")
} | {"huber": (Huber(0.5), problems.numbers), "quantile": (Quantile((0.3, 0.6)), problems.numbers)}
EACH_LOSS = pytest.mark.parametrize("name", PROBLEMS)


def made(
    name: str = "softmax_cross_entropy",
    *,
    weight: Any = None,
    backend: Backend | None = None,
    dtype: str = "float64",
    form: Callable[[HostArray], Any] = np.asarray,
    hidden: tuple[int, ...] = (5,),
    repeat: int = 1,
) -> tuple[MultilayerPerceptron, Data]:
    """A network, and data on its device."""
    loss, problem = PROBLEMS[name]
    X, y = problem()
    X, y = np.tile(X, (repeat, 1)), np.concatenate([y] * repeat)
    n_outputs = 3 * loss.outputs_per_target
    backend = backend or resolve("numpy")
    network = MultilayerPerceptron.create(
        (X.shape[1], *hidden, n_outputs),
        activation="tanh",
        loss=loss,
        initializer=normal(0.5),
        seed=4,
        backend=backend,
        dtype=dtype,
    )
    settings = Settings(dtype=dtype)  # type: ignore[arg-type]
    w = None if weight is None else np.tile(weight, repeat)
    data = load_data(form(X), y, w, settings, network, backend)
    return network, with_class_weights(data, settings, backend)


def squares(network: MultilayerPerceptron) -> float:
    """|W|^2 over all layers, without the biases."""
    return sum(float((on_host(a.weights).astype(float) ** 2).sum()) for a in network.layers)


def losses(network: MultilayerPerceptron, data: Data) -> HostArray:
    """Each row's loss, on the host."""
    value, _ = network.loss(network.forward(data.X)[-1].z, data.y.values)
    return on_host(value)


def packed(network: MultilayerPerceptron) -> HostArray:
    arrays = [a for layer in network.layers for a in (layer.weights, layer.bias)]
    return np.concatenate([np.ravel(on_host(a)) for a in arrays])


FORMS = {"dense": np.asarray, "csr": sparse.csr_array, "csc": sparse.csc_matrix}


@EACH_LOSS
@WEIGHTED
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_its_gradient_is_that_of_its_value(name: str, weight: Any, form: Any) -> None:
    """Against central differences, whose error is below 1e-9 here."""
    network, data = made(name, weight=weight, form=form)
    objective = Objective(network, data, alpha=0.7)
    at = objective.packed()
    _, slopes = objective(at)
    slopes = slopes.copy()
    h = np.finfo(float).eps ** (1 / 3)
    differences = np.empty_like(at)
    for i in range(len(at)):
        step = np.zeros_like(at)
        step[i] = h
        differences[i] = (objective(at + step)[0] - objective(at - step)[0]) / (2 * h)
    assert abs(slopes).min() > 1e-6  # no entry passes for being 0
    np.testing.assert_allclose(slopes, differences, atol=1e-7 * abs(differences).max())


@EACH_LOSS
@WEIGHTED
def test_its_value_is_the_weighted_mean_with_the_penalty(name: str, weight: Any) -> None:
    network, data = made(name, weight=weight)
    objective = Objective(network, data, alpha=0.7)
    value, _ = objective(objective.packed())
    w = np.ones(N) if weight is None else weight
    loss = (w * losses(network, data)).sum() / w.sum()
    penalty = 0.7 / 2 * squares(network) / w.sum()
    assert objective.loss == pytest.approx(loss, rel=1e-13)
    assert objective.penalty == pytest.approx(penalty, rel=1e-13)
    assert value == objective.loss + objective.penalty


@WEIGHTED
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_it_adds_up_blocks_of_rows(weight: Any, form: Any) -> None:
    """100 times the same rows, more than come at once, are those rows with alpha / 100."""
    few = Objective(*made(weight=weight), alpha=0.01)
    many = Objective(*made(weight=weight, form=form, repeat=100), alpha=1.0)
    at = few.packed()
    np.testing.assert_array_equal(many.packed(), at)
    (value, slopes), (expected, expected_slopes) = many(at), few(at)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(slopes, expected_slopes, rtol=1e-10, atol=1e-13)


def test_it_takes_the_parameters_from_the_vector() -> None:
    network, data = made()
    objective = Objective(network, data, alpha=0.1)
    np.testing.assert_array_equal(objective.packed(), packed(network))
    at = objective.packed() + np.arange(len(objective.packed()))
    objective(at)
    np.testing.assert_array_equal(packed(network), at)
    before = at.copy()
    network.layers[0].weights += 1.0  # the network's memory is its own
    np.testing.assert_array_equal(at, before)


def test_class_weights_count() -> None:
    network, data = made()
    backend, settings = resolve("numpy"), Settings(dtype="float64", class_weight={0: 4.0})
    _, y = problems.labels()
    objective = Objective(network, with_class_weights(data, settings, backend), alpha=0.7)
    weighted = Objective(*made(weight=np.where(y == 0, 4.0, 1.0)), alpha=0.7)
    assert objective(objective.packed())[0] == pytest.approx(weighted(weighted.packed())[0])


def run(network: MultilayerPerceptron, data: Data, **given: Any) -> Any:
    defaults = {"alpha": 0.5, "max_iter": 300, "max_fun": 15000, "tol": 1e-5}
    return minimize(network, data, **defaults | given)


@EACH_LOSS
@WEIGHTED
def test_it_ends_in_a_minimum(name: str, weight: Any) -> None:
    network, data = made(name, weight=weight, hidden=())  # a convex problem
    before, steep = Objective(network, data, 0.5)(packed(network))
    minimum = run(network, data, tol=1e-7)
    value, slopes = Objective(network, data, 0.5)(packed(network))
    assert value == pytest.approx(minimum.loss + minimum.penalty, rel=1e-14)
    assert value < before
    if name != "quantile":  # which has kinks
        assert minimum.ended
        assert minimum.status == 0
        assert abs(slopes).max() < 1e-4 < abs(steep).max()
    rng = np.random.default_rng(51)
    at = packed(network)
    objective = Objective(network, data, 0.5)
    for _ in range(20):
        assert objective(at + rng.normal(0, 1e-2, len(at)))[0] > value


def test_linear_least_squares_are_those_of_a_formula() -> None:
    network, data = made("squared_error", weight=WEIGHT, hidden=())
    run(network, data, tol=1e-10, alpha=2.0)
    X, y = problems.numbers()
    design = np.column_stack([X, np.ones(N)])
    l2 = np.diag([2.0] * X.shape[1] + [0.0])
    w = WEIGHT[:, None]
    expected = np.linalg.solve(design.T @ (w * design) + l2, design.T @ (w * y))
    np.testing.assert_allclose(network.layers[0].weights, expected[:-1], atol=1e-5)
    np.testing.assert_allclose(network.layers[0].bias[0], expected[-1], atol=1e-5)


@WEIGHTED
def test_sparse_rows_give_what_dense_ones_give(weight: Any) -> None:
    networks = []
    for form in (np.asarray, sparse.csr_array):
        network, data = made(weight=weight, form=form)
        run(network, data, max_iter=20)
        networks.append(packed(network))
    np.testing.assert_array_equal(*networks)


def test_every_backend_finds_the_same(quick_backend: Backend) -> None:
    expected, host = made()
    ours, data = made(backend=quick_backend)
    here, there = (run(*pair, max_iter=8, tol=0.0) for pair in ((expected, host), (ours, data)))
    close = {"rtol": 1e-9, "atol": 1e-11}
    assert there.loss == pytest.approx(here.loss, rel=close["rtol"])
    for a, b in zip(ours.layers, expected.layers, strict=True):
        assert_same(a.weights, quick_backend.asarray(b.weights), **close)
        assert_same(a.bias, quick_backend.asarray(b.bias), **close)
    assert there.n_iter == here.n_iter == 8


def test_the_callback_is_told_of_each_iteration() -> None:
    reported: list[tuple[int, float]] = []
    network, data = made()
    minimum = run(
        network, data, callback=lambda n, loss, penalty: reported.append((n, loss + penalty))
    )
    assert [number for number, _ in reported] == list(range(1, minimum.n_iter + 1))
    values = [loss for _, loss in reported]
    assert all(a > b for a, b in pairwise(values))
    assert values[-1] == pytest.approx(minimum.loss + minimum.penalty, rel=1e-12)


def test_the_callback_sees_the_network_of_the_iteration() -> None:
    network, data = made()
    other, rows = made()
    seen: list[tuple[float, float]] = []

    def callback(number: int, loss: float, penalty: float) -> None:
        seen.append((loss + penalty, Objective(other, rows, 0.5)(packed(network))[0]))

    run(network, data, callback=callback)
    for reported, expected in seen:
        assert reported == pytest.approx(expected, rel=1e-13)
    assert len(seen) > 5


def test_the_callback_is_told_of_the_point_that_scipy_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Now and then that is not the last one that it evaluated."""
    network, data = made()
    objective = Objective(*made(), alpha=0.5)
    first = objective.packed()
    reported: list[float] = []

    def scipy_minimize(function: Any, x: HostArray, *, callback: Any, **rest: Any) -> Any:
        function(x)
        function(x + 1)
        callback(x)
        return SimpleNamespace(x=x, nit=1, success=True, status=0, message="")

    monkeypatch.setattr("scipy.optimize.minimize", scipy_minimize)
    minimum = run(network, data, callback=lambda n, loss, penalty: reported.append(loss + penalty))
    assert reported == [objective(first)[0]] == [minimum.loss + minimum.penalty]
    np.testing.assert_array_equal(packed(network), first)


def test_the_callback_ends_it() -> None:
    network, data = made()
    minimum = run(network, data, callback=lambda number, *_: number == 3)
    short, rows = made()
    expected = run(short, rows, max_iter=3)
    assert minimum.n_iter == 3
    assert minimum.ended
    np.testing.assert_array_equal(packed(network), packed(short))
    assert minimum.loss == expected.loss


def test_it_ends_after_max_iter() -> None:
    network, data = made()
    minimum = run(network, data, max_iter=4, tol=0.0)
    assert (minimum.n_iter, minimum.status, minimum.ended) == (4, 1, False)
    assert "ITERATIONS" in minimum.message.upper()


def test_it_ends_after_max_fun(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = made()
    passes = 0
    call = Objective.__call__

    def counted(self: Any, at: HostArray) -> Any:
        nonlocal passes
        passes += 1
        return call(self, at)

    monkeypatch.setattr(Objective, "__call__", counted)
    minimum = run(network, data, max_fun=6, tol=0.0)
    assert minimum.status == 1
    assert 6 <= passes <= 9
    assert "EVALUATIONS" in minimum.message.upper()


def test_a_larger_tol_ends_it_earlier() -> None:
    counts = [run(*made(), tol=tol).n_iter for tol in (1e-1, 1e-3, 1e-6)]
    assert counts[0] < counts[1] < counts[2]


def test_single_precision_stays() -> None:
    network, data = made(dtype="float32")
    minimum = run(network, data, max_iter=5)
    assert network.dtype == "float32"
    assert minimum.loss < losses(made(dtype="float32")[0], data).mean()
