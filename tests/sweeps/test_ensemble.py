"""Ensembles: NumPy's mean and deviation over their members, whatever these are stacked as."""

from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Ensemble, MultilayerPerceptron
from arraymlp.losses import Huber, Quantile
from conftest import assert_same, on_host

HostArray = np.ndarray[Any, Any]
X = problems.labels()[0]
RTOL = 2e-6


def network(backend: Any = "numpy", seed: Any = 0, **given: Any) -> MultilayerPerceptron:
    hidden = given.pop("hidden", (5,))
    outputs = given.pop("outputs", 3)
    given.setdefault("initializer", arraymlp.initializers.normal(0.7))
    return MultilayerPerceptron.create((4, *hidden, outputs), seed=seed, backend=backend, **given)


def varied_networks(backend: Any, **given: Any) -> list[MultilayerPerceptron]:
    """Of three architectures; the second and the fourth, and those of the population, are alike."""
    return [
        network(backend, 0, hidden=(7,), **given),
        network(backend, 1, **given),
        network(backend, 2, activation="tanh", **given),
        network(backend, 3, **given),
        network(backend, (4, 5), **given),
    ]


def each_of(networks: list[MultilayerPerceptron], method: str, rows: Any = X) -> HostArray:
    """What every member says by itself, (K, N, ...)."""
    alone = [
        single
        for n in networks
        for single in ([n] if n.members is None else [n.member(k) for k in range(n.members)])
    ]
    return np.stack([on_host(getattr(n, method)(rows)) for n in alone])


def test_probabilities_are_the_members_mean(quick_backend: Backend) -> None:
    networks = varied_networks(quick_backend)
    ensemble = Ensemble(networks)
    assert len(ensemble) == 6
    assert sorted(n.members for n in ensemble.networks) == [1, 1, 4]
    assert ensemble.backend == quick_backend
    assert repr(ensemble).startswith("<Ensemble of 6 in 3 stacks: [<MultilayerPerceptron")
    members = each_of(networks, "predict_proba")
    mean, std = ensemble.predict_proba(X, return_std=True)
    np.testing.assert_allclose(mean, members.mean(axis=0), rtol=RTOL)
    np.testing.assert_allclose(std, members.std(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(ensemble.predict_proba(X), mean)
    np.testing.assert_array_equal(ensemble.predict(X), members.mean(axis=0).argmax(axis=1))
    p = ensemble.member_probabilities(X)
    assert p.shape == (6, problems.N, 3)
    np.testing.assert_allclose(np.sort(p, axis=0), np.sort(members, axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(p.mean(axis=0), mean, rtol=RTOL)


def test_the_mean_is_not_the_vote() -> None:
    """Two members that are a little for the first class lose against one that is sure."""
    weak, sure = network(outputs=2, hidden=()), network(outputs=2, hidden=())
    for n, bias in ((weak, [0.1, 0.0]), (sure, [0.0, 5.0])):
        n.layers[0].weights *= 0
        n.layers[0].bias[...] = bias
    ensemble = Ensemble([weak, weak, sure])
    assert set(ensemble.predict(X)) == {1}
    votes = ensemble.member_predictions(X)
    assert votes.shape == (3, problems.N)
    assert votes.sum(axis=0).tolist() == [1] * problems.N


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
def test_labels_are_the_classes(quick_backend: Backend, loss: str) -> None:
    classes = np.asarray([-3, 12])
    outputs = 1 if loss == "binary_cross_entropy" else 2
    networks = varied_networks(quick_backend, loss=loss, classes=classes, outputs=outputs)
    members = each_of(networks, "predict_proba")
    assert members.shape == (6, problems.N, 2)
    labels = Ensemble(networks).predict(X)
    assert set(labels) == {-3, 12}
    np.testing.assert_array_equal(labels, classes[members.mean(axis=0).argmax(axis=1)])


def test_several_labels_are_columns(quick_backend: Backend) -> None:
    networks = varied_networks(quick_backend, loss="binary_cross_entropy")
    members = each_of(networks, "predict_proba")
    columns = Ensemble(networks).predict(X)
    assert columns.dtype == np.int32
    np.testing.assert_array_equal(columns, members.mean(axis=0) > 0.5)
    assert 0 < columns.mean() < 1


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"loss": "squared_error"}, (3,)),
        ({"loss": "squared_error", "outputs": 1}, ()),
        ({"loss": "poisson"}, (3,)),
        ({"loss": Huber(0.5)}, (3,)),
        ({"loss": Quantile((0.1, 0.5, 0.9))}, (3,)),
        ({"loss": Quantile((0.1, 0.9)), "outputs": 4}, (2, 2)),
    ],
    ids=str,
)
def test_numbers_are_the_members_mean(
    quick_backend: Backend, given: dict[str, Any], shape: tuple[int, ...]
) -> None:
    networks = varied_networks(quick_backend, **given)
    ensemble = Ensemble(networks)
    members = each_of(networks, "predict")
    mean, std = ensemble.predict(X, return_std=True)
    assert mean.shape == std.shape == (problems.N, *shape)
    np.testing.assert_allclose(mean, members.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, members.std(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ensemble.predict(X), mean)
    with pytest.raises(ValueError, match="predicts no probabilities"):
        ensemble.predict_proba(X)


def test_losses_with_parameters_of_their_own_are_stacked() -> None:
    ensemble = Ensemble([network(seed=i, loss=Huber(d)) for i, d in enumerate((0.1, 1.0, 1.0))])
    assert [n.members for n in ensemble.networks] == [3]
    assert ensemble.networks[0].loss == Huber((0.1, 1.0, 1.0))


def test_dtypes_are_stacks_of_their_own() -> None:
    networks = [network(dtype="float64"), network(seed=1)]
    ensemble = Ensemble(networks)
    assert len(ensemble.networks) == 2
    members = each_of(networks, "predict_proba")
    np.testing.assert_allclose(ensemble.predict_proba(X), members.mean(axis=0), rtol=RTOL)


def test_arrays_of_the_device_stay_there(backend: Backend) -> None:
    rows = backend.asarray(X, "float32")
    classes = np.asarray([2, 5, 9])
    ensemble = Ensemble([network(backend, s, classes=classes) for s in (0, 1)])
    host, std = ensemble.predict_proba(X, return_std=True)
    assert type(host) is type(std) is np.ndarray
    for array, expected in zip(
        ensemble.predict_proba(rows, return_std=True), (host, std), strict=True
    ):
        assert_same(array, backend.asarray(expected), rtol=1e-5, atol=1e-6)
    labels = ensemble.predict(rows)
    assert type(labels) is type(rows)
    np.testing.assert_array_equal(on_host(labels), ensemble.predict(X))
    numbers = Ensemble([network(backend, s, loss="squared_error") for s in (0, 1)])
    mean, spread = numbers.predict(rows, return_std=True)
    assert type(mean) is type(spread) is type(rows)
    np.testing.assert_allclose(on_host(mean), numbers.predict(X), rtol=1e-5, atol=1e-6)


def test_it_has_copies() -> None:
    single = network()
    ensemble = Ensemble([single])
    before = ensemble.predict_proba(X)
    single.layers[0].weights *= 0
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


@pytest.mark.parametrize(
    ("others", "what"),
    [
        ({"classes": np.asarray([1, 2, 3])}, "classes: "),
        ({"loss": "binary_cross_entropy"}, "classes: "),
        ({"outputs": 4}, "classes: "),
        ({"hidden": (), "loss": "squared_error"}, "classes: "),
    ],
    ids=str,
)
def test_networks_for_other_classes_are_refused(others: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=f"the networks of an ensemble differ in {what}"):
        Ensemble([network(), network(**others)])


def test_networks_for_other_things_are_refused() -> None:
    def differ(what: str, *networks: MultilayerPerceptron) -> None:
        with pytest.raises(ValueError, match=f"the networks of an ensemble differ in {what}: "):
            Ensemble(networks)

    numbers = network(loss="squared_error")
    differ("number of outputs", numbers, network(loss="squared_error", outputs=2))
    differ("kind of loss", numbers, network(loss="binary_cross_entropy"))
    differ("outputs a target", numbers, network(loss=Quantile((0.1, 0.5, 0.9))))
    wide = MultilayerPerceptron.create((5, 3), loss="squared_error")
    differ("number of inputs", numbers, wide)
    differ("device", network(), network("array_api_strict"))
    with pytest.raises(ValueError, match="an ensemble needs networks"):
        Ensemble([])


def test_labels_have_no_spread() -> None:
    with pytest.raises(ValueError, match=r"labels have no spread: predict_proba\(X, return_std=T"):
        Ensemble([network()]).predict(X, return_std=True)


@pytest.mark.parametrize("rows", [np.ones((3, 5)), np.ones(4), np.full((2, 4), np.nan)], ids=str)
def test_bad_rows_are_refused_as_by_a_network(rows: HostArray) -> None:
    single = network()
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        single.predict(rows)
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        Ensemble([single, network(hidden=(3,))]).predict(rows)
    assert str(refused.value) == str(expected.value)
