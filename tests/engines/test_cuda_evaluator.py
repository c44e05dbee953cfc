"""The CUDA kernels that evaluate: their figures of a network are those of the array code."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arraymlp import MultilayerPerceptron, train
from arraymlp.data.targets import Targets, targets
from arraymlp.engines.cpu import library
from arraymlp.engines.cpu.engine import CpuEngine
from arraymlp.engines.cuda.evaluator import LabelEvaluator, covers
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.training.evaluation import evaluate
from cuda_on_host import BACKWARD, HostKernels, unavailable
from pairwise import pairwise

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works"),
    pytest.mark.xdist_group(__name__),  # kernels are compiled once a process
]
ROWS = 45


def matmul(a: Any, b: Any, out: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
    """The product that cuBLAS makes, in NumPy."""
    assert (alpha, beta) == (1.0, 0.0)
    out[...] = np.matmul(a, b)


def evaluator_of(network: MultilayerPerceptron, order: int | None = None) -> LabelEvaluator:
    return LabelEvaluator(network, HostKernels(f"dense_{network.dtype}.cu", order), matmul)


def network_of(
    sizes: tuple[int, ...] = (6, 5, 7), members: int | None = None, **settings: Any
) -> MultilayerPerceptron:
    rng = np.random.default_rng(1)
    seeds = 0 if members is None else tuple(range(members))
    network = MultilayerPerceptron.create(sizes, seed=seeds, **settings)
    for layer in network.layers:
        layer.bias += rng.normal(size=layer.bias.shape).astype(layer.bias.dtype)
    return network


def data_of(network: MultilayerPerceptron, weighted: bool = False) -> tuple[Any, Targets]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(ROWS, network.sizes[0])).astype(network.dtype)
    labels = np.concatenate(
        [np.arange(network.sizes[-1]), rng.integers(0, network.sizes[-1], ROWS)]
    )
    y = targets(labels[:ROWS], ROWS, network.backend, network.dtype)
    if weighted:
        weight = rng.uniform(0, 2, ROWS).astype(network.dtype)
        y = replace(y, weight=weight, loss_weight=weight)
    return x, y


def assert_as_array(network: MultilayerPerceptron, x: Any, y: Targets) -> None:
    """Both evaluations give the same, one of them by the kernels."""
    evaluated: list[bool] = []
    by_kernels = evaluator_of(network)

    def noted(x: Any, labels: Any) -> Any:
        figures = by_kernels(x, labels)
        evaluated.append(figures is not None)
        return figures

    with np.errstate(all="ignore"):
        plain, ours = (
            evaluate(network, x, y, network.backend, evaluator=evaluator)
            for evaluator in (None, noted)
        )
    assert evaluated
    assert all(evaluated)
    rtol = 1e-5 if network.dtype == "float32" else 1e-12
    for name, figure in ours._asdict().items():
        if name != "metrics":
            expected = getattr(plain, name)
            assert np.shape(figure) == np.shape(expected)
            np.testing.assert_allclose(figure, expected, rtol=rtol, err_msg=name)


CASES = pairwise(
    {
        "dtype": ["float32", "float64"],
        "members": [None, 1, 3],
        "loss": ["softmax_cross_entropy", "capped_softmax_cross_entropy"],
        "weighted": [False, True],
    }
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_it_is_the_evaluation_of_the_array_code(case: dict[str, Any]) -> None:
    settings = dict(case)
    weighted = settings.pop("weighted")
    network = network_of(**settings)
    assert covers(network)
    assert_as_array(network, *data_of(network, weighted))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(name: str) -> None:
    network = network_of((6, 40, 9, 70), activation=name)
    assert_as_array(network, *data_of(network))


@pytest.mark.parametrize("sizes", [(3, 2), (5, 33, 31), (4, 3, 100), (1, 1, 2)])
def test_shapes(sizes: tuple[int, ...]) -> None:
    network = network_of(sizes, members=2)
    assert_as_array(network, *data_of(network))


def test_caps_are_reached() -> None:
    network = network_of(loss="capped_softmax_cross_entropy")
    network.layers[-1].weights *= 300
    assert_as_array(network, *data_of(network))


def test_of_equal_logits_the_first_counts() -> None:
    network = network_of((6, 5, 70))
    network.layers[-1].weights[...] = 0.0
    network.layers[-1].bias[...] = np.tile([0.0, 1.0, 1.0, -1.0, 1.0], 14)
    x, y = data_of(network)
    assert_as_array(network, x, y)
    figures = evaluator_of(network)(x, y.values)
    assert figures is not None
    assert figures[2][1] == ROWS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_logits_that_are_not_finite(value: float) -> None:
    network = network_of((6, 5, 40))
    network.layers[-1].bias[0, [35, 3]] = value
    assert_as_array(network, *data_of(network))


@pytest.mark.parametrize("order", [BACKWARD, 0])
def test_counts_do_not_depend_on_which_block_is_first(order: int) -> None:
    network = network_of((6, 5, 7), members=2)
    x, y = data_of(network)
    figures = [evaluator_of(network, first)(x, y.values) for first in (None, order)]
    for a, b in zip(*figures, strict=True):  # type: ignore[arg-type]
        np.testing.assert_array_equal(a, b)


def test_what_it_does_not_evaluate() -> None:
    mine = Activation("mine", ACTIVATIONS["tanh"].function, ACTIVATIONS["tanh"].derivative)
    assert not covers(network_of(activation=mine))
    assert not covers(network_of(loss="binary_cross_entropy"))
    network = network_of()
    x, y = data_of(network)
    assert evaluator_of(network)(np.asfortranarray(x), y.values) is None
    assert evaluator_of(network)(x, np.eye(7, dtype=np.float32)[y.values]) is None
    assert evaluator_of(network)(x.astype("float64"), y.values) is None


@pytest.mark.skipif(library.load() is None, reason=library.why_not())
def test_a_run_is_evaluated_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    covered: list[bool] = []

    def evaluator(_: Any, network: MultilayerPerceptron) -> Any:
        covered.append(covers(network))
        return evaluator_of(network) if covers(network) else None

    monkeypatch.setattr(CpuEngine, "evaluator", evaluator)
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(90, 6)).astype("float32"), rng.integers(0, 3, 90)
    settings: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 20,
        "validation": 0.3,
        "training_error": True,
        "hidden": (5,),
    }
    by_engine, plain = (
        train(X, y, engine=engine, backend="numpy", **settings) for engine in ("auto", "array")
    )
    assert set(covered) == {True}
    for name in ("validation_loss", "training_loss", "validation_error", "training_error"):
        np.testing.assert_allclose(by_engine.history[name], plain.history[name], rtol=1e-5)
