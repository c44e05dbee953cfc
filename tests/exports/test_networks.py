"""Networks as graphs: the same predictions, of every activation, loss and kind of label."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")

import arraymlp
from arraymlp.losses import Huber, Quantile
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.scaling import Scaling
from onnx_runs import evaluators, expected, network, require_close, require_same
from onnx_runs import given as given_by

ROWS = np.random.default_rng(0).normal(size=(20, 3))
ROWS[0] = 0
ROWS[1] *= 30
BINARY = np.array([-1, 1])
MEMBERS = [None, 1, 3]
DTYPES = ["float32", "float64"]


def require_graph(model: Any, rows: np.ndarray = ROWS) -> None:
    """The graph of a network or an ensemble gives what it gives itself."""
    dtypes = {network.dtype for network in getattr(model, "networks", [model])}
    rows = rows.astype(max(dtypes))
    require_same(arraymlp.to_onnx(model), {"X": rows}, expected(model, rows), min(dtypes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, dtype: str) -> None:
    require_graph(network(activation=activation, dtype=dtype))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_leaves_the_numbers_for_huge_sums(activation: str) -> None:
    made = network(activation=activation, sizes=(1, 3, 1), loss="squared_error")
    made.layers[0].weights[:] = 1
    made.layers[1].weights[:] = 1e-30
    rows = np.array([[-1e30], [-1e4], [-90], [90], [1e4], [1e30]], "float32")
    require_same(arraymlp.to_onnx(made), {"X": rows}, expected(made, rows))


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss: str, dtype: str, members: int | None) -> None:
    made = network(members, loss=loss, dtype=dtype, sizes=(3, 5, 6))
    if loss == "poisson":  # a rounding of s is one of e^s times |s|, which is kept near 1
        made.layers[-1].weights[:] *= 0.1
        made.layers[-1].bias[:] *= 0.1
    require_graph(made)


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "capped_binary_cross_entropy"])
def test_one_output_gives_two_probabilities(loss: str, members: int | None) -> None:
    require_graph(network(members, loss=loss, classes=BINARY, sizes=(3, 5, 1)))


@pytest.mark.parametrize("members", MEMBERS)
def test_labels_are_those_of_the_network(members: int | None) -> None:
    require_graph(network(members, classes=np.array([-(2**62), 5, 2**62])))


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("levels", [(0.3,), (0.1, 0.5, 0.9)])
def test_quantiles_ascend_on_the_last_axis(
    levels: tuple[float, ...], targets: int, members: int | None
) -> None:
    scaling = Scaling(np.arange(1.0, 1 + targets), np.arange(2.0, 2 + targets))
    sizes = (3, 5, targets * len(levels))
    require_graph(network(members, loss=Quantile(levels), sizes=sizes, outputs=scaling))


def test_members_have_losses_of_their_own() -> None:
    require_graph(network(2, loss=Huber((0.5, 1.0)), sizes=(3, 4, 1)))


SCALINGS = {
    "shared": Scaling(np.array([0.0, 1e3, -5.0]), np.array([1.0, 0.5, 1e-3])),
    "own": Scaling(
        np.array([[0.0, 1e3, -5.0], [0.5, 1e3 + 1, -4.5]]),
        np.array([[1.0, 0.5, 1e-3], [2.0, 0.25, 1e-2]]),
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("of", SCALINGS)
def test_features_are_standardised_in_double_precision(of: str, dtype: str) -> None:
    scaling = SCALINGS[of]
    rows = ROWS[2:] * scaling.scale.min(axis=0) + scaling.mean.min(axis=0)
    made = network(2, inputs=scaling, dtype=dtype)
    require_graph(made, rows.astype("float32"))
    if of == "shared":
        require_graph(made.member(0), rows.astype("float32"))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("of", SCALINGS)
def test_numbers_are_in_the_units_of_the_targets(of: str, n: int) -> None:
    scaling = Scaling(SCALINGS[of].mean[..., :n], SCALINGS[of].scale[..., :n])
    made = network(2, loss="squared_error", sizes=(3, 4, n), outputs=scaling)
    require_graph(made)
    require_graph(made.member(1))


def test_layers_may_be_one_or_many() -> None:
    require_graph(network(sizes=(3, 3)))
    require_graph(network(2, sizes=(3, 2, 3, 4, 5, 4, 3), activation="tanh"))


def test_networks_that_differ_are_one_graph() -> None:
    small, deep = network(2, sizes=(3, 4, 3)), network(3, activation="gelu", dtype="float64")
    require_graph(arraymlp.Ensemble([small, deep]))
    require_graph(arraymlp.Ensemble([small, small.member(0)]))


def test_large_tables_are_computed_at_once() -> None:
    made = network(classes=np.array([3, 4, 5]))
    rows = np.random.default_rng(0).normal(size=(20_000, 3)).astype("float32")
    model = arraymlp.to_onnx(made)
    for evaluator in evaluators(model):
        there = given_by(evaluator, model, {"X": rows})
        assert abs(there["probabilities"] - made.predict_proba(rows)).max() < 1e-6
        assert (there["label"] == made.predict(rows)).mean() > 0.9999  # but for ties


@st.composite
def networks(draw: st.DrawFn) -> Any:
    loss = draw(st.sampled_from(sorted(LOSSES)))
    binary = "binary" in loss and draw(st.booleans())
    n_out = 1 if binary else draw(st.integers(1, 3)) * LOSSES[loss].outputs_per_target
    n_in, members = draw(st.integers(1, 4)), draw(st.sampled_from([None, 1, 2, 3]))
    hidden = draw(st.lists(st.integers(1, 9), max_size=3))
    made = network(
        members,
        sizes=(n_in, *hidden, n_out),
        loss=loss,
        classes=BINARY if binary else None,
        activation=[draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in hidden],
        dtype=draw(st.sampled_from(DTYPES)),
    )
    numbers = st.floats(-5, 5), st.floats(0.2, 5)
    if draw(st.booleans()):
        shape = (n_in,) if members is None or draw(st.booleans()) else (members, n_in)
        made.inputs = Scaling(*(np.full(shape, draw(number)) for number in numbers))
    if LOSSES[loss].scales and draw(st.booleans()):
        n_targets = n_out // LOSSES[loss].outputs_per_target
        shape = (n_targets,) if members is None or draw(st.booleans()) else (members, n_targets)
        made.outputs = Scaling(*(np.full(shape, draw(number)) for number in numbers))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**32 - 1))
def test_networks_of_any_kind(made: Any, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(5, made.sizes[0])).astype(made.dtype)
    model, wanted = arraymlp.to_onnx(made), expected(made, rows)
    # Where two classes are all but alike, rounding decides: the labels are those of the graph's own
    # probabilities.
    label = wanted.pop("label", None)
    for evaluator in evaluators(model):
        there = given_by(evaluator, model, {"X": rows})
        if label is not None:
            assert there.pop("label").shape == label.shape
        assert there.keys() == wanted.keys()
        for name, value in wanted.items():
            require_close(there[name], value, name, made.dtype)
