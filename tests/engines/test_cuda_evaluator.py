"""The CUDA kernels that evaluate: they say of a network what the generic evaluation says."""

from typing import Any

import numpy as np
import pytest

from arraymlp import MultilayerPerceptron, train
from arraymlp.data.inputs import Targets, targets
from arraymlp.engines.cpu.engine import CpuEngine
from arraymlp.engines.cuda.evaluator import LabelEvaluator as Evaluator
from arraymlp.engines.cuda.evaluator import covers
from arraymlp.nn.activations import ACTIVATIONS, Activation
from arraymlp.training.evaluation import evaluate
from cuda_on_host import BACKWARD, HostKernels, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")
ROWS = 45


def matmul(a: Any, b: Any, out: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
    """What cuBLAS does, in NumPy."""
    assert (alpha, beta) == (1.0, 0.0)
    out[...] = np.matmul(a, b)


def evaluator_of(network: MultilayerPerceptron, order: int | None = None) -> Evaluator:
    return Evaluator(network, HostKernels(f"dense_{network.dtype}.cu", order), matmul)


def network_of(
    sizes: tuple[int, ...] = (6, 5, 7), members: int | None = None, **told: Any
) -> MultilayerPerceptron:
    rng = np.random.default_rng(1)
    seeds = 0 if members is None else tuple(range(members))
    network = MultilayerPerceptron.create(sizes, seed=seeds, **told)
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
        own = rng.uniform(0, 2, ROWS).astype(network.dtype)
        y = Targets(y.values, y.loss, y.n_outputs, y.classes, own, own)
    return x, y


def assert_as_array(network: MultilayerPerceptron, x: Any, y: Targets) -> None:
    """Both evaluations give the same, one of them by the kernels."""
    asked: list[bool] = []
    by_kernels = evaluator_of(network)

    def noted(x: Any, labels: Any) -> Any:
        figures = by_kernels(x, labels)
        asked.append(figures is not None)
        return figures

    with np.errstate(all="ignore"):
        plain, ours = (
            evaluate(network, x, y, network.backend, evaluator=one) for one in (None, noted)
        )
    assert asked
    assert all(asked)
    rtol = 1e-5 if network.dtype == "float32" else 1e-12
    for name, own in ours._asdict().items():
        if name != "metrics":
            expected = getattr(plain, name)
            assert np.shape(own) == np.shape(expected)
            np.testing.assert_allclose(own, expected, rtol=rtol, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("members", [None, 1, 3])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "capped_softmax_cross_entropy"])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_generic_evaluation(
    dtype: str, members: int | None, loss: str, weighted: bool
) -> None:
    network = network_of(members=members, dtype=dtype, loss=loss)
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
    found = evaluator_of(network)(x, y.values)
    assert found is not None
    assert found[2][1] == ROWS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_logits_that_are_not_finite(value: float) -> None:
    network = network_of((6, 5, 40))
    network.layers[-1].bias[0, [35, 3]] = value
    assert_as_array(network, *data_of(network))


@pytest.mark.parametrize("order", [BACKWARD, 0])
def test_counts_do_not_depend_on_which_block_is_first(order: int) -> None:
    network = network_of((6, 5, 7), members=2)
    x, y = data_of(network)
    for a, b in zip(evaluator_of(network)(x, y.values), evaluator_of(network, order)(x, y.values)):  # type: ignore[arg-type]  # noqa: B905
        np.testing.assert_array_equal(a, b)


def test_what_it_does_not_evaluate() -> None:
    own = Activation("mine", ACTIVATIONS["tanh"].function, ACTIVATIONS["tanh"].derivative)
    assert not covers(network_of(activation=own))
    assert not covers(network_of(loss="binary_cross_entropy"))
    network = network_of()
    x, y = data_of(network)
    assert evaluator_of(network)(np.asfortranarray(x), y.values) is None
    assert evaluator_of(network)(x, np.eye(7, dtype=np.float32)[y.values]) is None
    assert evaluator_of(network)(x.astype("float64"), y.values) is None


def test_a_run_is_evaluated_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def evaluator(_: Any, network: MultilayerPerceptron) -> Any:
        asked.append(covers(network))
        return evaluator_of(network) if covers(network) else None

    monkeypatch.setattr(CpuEngine, "evaluator", evaluator)
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(90, 6)).astype("float32"), rng.integers(0, 3, 90)
    told: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 20,
        "validation": 0.3,
        "training_error": True,
        "hidden": (5,),
    }
    by_engine, plain = (
        train(X, y, engine=engine, backend="numpy", **told) for engine in ("auto", "array")
    )
    assert set(asked) == {True}
    for name in ("validation_loss", "training_loss", "validation_error", "training_error"):
        np.testing.assert_allclose(by_engine.history[name], plain.history[name], rtol=1e-5)
