"""Predictions: what logits mean for each loss, host in and host out, device in and device out."""

from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, MultilayerPerceptron, resolve
from arraymlp.initializers import normal
from arraymlp.losses import Quantile
from conftest import on_host

NUMPY = resolve("numpy")
ROWS = np.random.default_rng(40).normal(size=(5, 3))


def network_of(sizes: tuple[int, ...], **more: Any) -> MultilayerPerceptron:
    """A small network whose biases are not zero either."""
    settings = {"initializer": normal(0.7), "dtype": "float64", "backend": NUMPY, **more}
    return MultilayerPerceptron.create(sizes, **settings)


class TestPredictions:
    @pytest.mark.parametrize("n", [1, 999, 1000, 1001, 3500])  # around blocks of 1000
    def test_any_number_of_rows_is_predicted_in_order(self, n: int) -> None:
        X = np.random.default_rng(44).normal(size=(n, 3))
        network = network_of((3, 2), seed=[0, 1])
        layer = network.layers[0]
        # The rows of a product may be summed in another order in another block.
        np.testing.assert_allclose(
            network.logits(X), X @ layer.weights + layer.bias, rtol=1e-13, atol=1e-14
        )

    def test_many_rows_are_predicted_on_a_device(self, quick_backend: Backend) -> None:
        X = np.random.default_rng(44).normal(size=(4100, 3)).astype(np.float32)
        network = network_of((3, 2), seed=[0, 1], backend=quick_backend, dtype="float32")
        parts = [network.logits(X[:4096]), network.logits(X[4096:])]
        whole = network.logits(quick_backend.asarray(X))
        np.testing.assert_allclose(
            on_host(whole), np.concatenate(parts, axis=1), rtol=1e-6, atol=1e-6
        )

    @pytest.mark.parametrize("method", ["logits", "predict", "predict_proba"])
    def test_host_in_host_out(self, backend: Backend, method: str) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        assert type(getattr(network, method)(ROWS)) is np.ndarray
        assert type(getattr(network, method)(ROWS.tolist())) is np.ndarray

    @pytest.mark.parametrize("method", ["logits", "predict", "predict_proba"])
    def test_device_in_device_out_with_the_same_values(self, backend: Backend, method: str) -> None:
        network = network_of((3, 4, 2), backend=backend, dtype="float32")
        found = getattr(network, method)(backend.asarray(ROWS, "float32"))
        backend.require(found)
        np.testing.assert_array_equal(on_host(found), getattr(network, method)(ROWS))

    def test_an_array_of_another_device_is_refused_with_both_names(self, backend: Backend) -> None:
        elsewhere = resolve("array_api_strict", "device2").asarray(ROWS, "float32")
        network = network_of((3, 2), backend=backend, dtype="float32")
        expected = rf"X is on array_api_strict, device device2, but {backend.name}, device .* was"
        with pytest.raises(ValueError, match=expected):
            network.predict(elsewhere)

    def test_another_width_is_refused(self, quick_backend: Backend) -> None:
        network = network_of((3, 2), backend=quick_backend, dtype="float32")
        with pytest.raises(ValueError, match="X has 2 features, but 3 are expected"):
            network.predict(ROWS[:, :2])

    def test_labels_need_not_be_contiguous(self, backend: Backend) -> None:
        classes = np.asarray([3, 7, 20])
        network = network_of((3, 3), classes=classes, backend=backend, dtype="float32")
        expected = classes[np.argmax(network.logits(ROWS), axis=1)]
        assert len(set(expected)) > 1
        np.testing.assert_array_equal(network.predict(ROWS), expected)
        on_device = network.predict(backend.asarray(ROWS, "float32"))
        np.testing.assert_array_equal(on_host(on_device), expected)

    def test_new_labels_count_from_zero(self) -> None:
        np.testing.assert_array_equal(network_of((3, 4)).classes, [0, 1, 2, 3])

    def test_probabilities_are_softmax_of_the_logits(self, quick_backend: Backend) -> None:
        network = network_of((3, 4, 2), backend=quick_backend, dtype="float32")
        e = np.exp(network.logits(ROWS).astype(float))
        np.testing.assert_allclose(
            network.predict_proba(ROWS), e / e.sum(axis=1, keepdims=True), rtol=1e-6
        )

    def test_a_single_output_with_classes_gives_two_columns(self, quick_backend: Backend) -> None:
        network = network_of(
            (3, 4, 1),
            loss="binary_cross_entropy",
            classes=np.asarray([4, 9]),
            seed=1,
            backend=quick_backend,
            dtype="float32",
        )
        logits = network.logits(ROWS)[:, 0].astype(float)
        p = 1 / (1 + np.exp(-logits))
        assert (logits > 0).any()
        assert (logits < 0).any()
        np.testing.assert_allclose(
            network.predict_proba(ROWS), np.stack([1 - p, p], axis=1), rtol=1e-6
        )
        np.testing.assert_array_equal(network.predict(ROWS), np.where(logits > 0, 9, 4))

    def test_multi_label_gives_a_decision_for_each_column(self, quick_backend: Backend) -> None:
        network = network_of(
            (3, 4, 2), loss="binary_cross_entropy", backend=quick_backend, dtype="float32"
        )
        logits = network.logits(ROWS).astype(float)
        decided = network.predict(ROWS)
        np.testing.assert_array_equal(decided, (logits > 0).astype(int))
        assert set(np.unique(decided)) == {0, 1}
        np.testing.assert_allclose(network.predict_proba(ROWS), 1 / (1 + np.exp(-logits)), 1e-6)

    def test_regression_gives_the_outputs(self, quick_backend: Backend) -> None:
        network = network_of(
            (3, 4, 2), loss="squared_error", backend=quick_backend, dtype="float32"
        )
        np.testing.assert_array_equal(network.predict(ROWS), network.logits(ROWS))

    def test_regression_with_one_output_gives_one_number_a_sample(
        self, quick_backend: Backend
    ) -> None:
        network = network_of(
            (3, 4, 1), loss="squared_error", backend=quick_backend, dtype="float32"
        )
        np.testing.assert_array_equal(network.predict(ROWS), network.logits(ROWS)[:, 0])

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_poisson_gives_rates(self, quick_backend: Backend, outputs: int) -> None:
        network = network_of(
            (3, 4, outputs), loss="poisson", backend=quick_backend, dtype="float32"
        )
        rates = np.exp(network.logits(ROWS).astype(float))
        rates = rates[:, 0] if outputs == 1 else rates
        np.testing.assert_allclose(network.predict(ROWS), rates, rtol=1e-6)

    @pytest.mark.parametrize("loss", ["absolute_error", "huber"])
    def test_robust_regression_gives_the_outputs(self, loss: str) -> None:
        network = network_of((3, 4, 2), loss=loss)
        np.testing.assert_array_equal(network.predict(ROWS), network.logits(ROWS))

    @pytest.mark.parametrize(
        ("levels", "outputs", "shape"),
        [
            ((0.1, 0.5, 0.9), 3, (5, 3)),
            ((0.1, 0.5, 0.9), 6, (5, 2, 3)),
            ((0.5,), 1, (5,)),
            ((0.5,), 2, (5, 2)),
        ],
    )
    @pytest.mark.parametrize("seed", [0, [0, 1]], ids=["one", "members"])
    def test_quantiles_are_the_last_axis(
        self,
        quick_backend: Backend,
        levels: tuple[float, ...],
        outputs: int,
        shape: tuple[int, ...],
        seed: Any,
    ) -> None:
        network = network_of(
            (3, 4, outputs),
            loss=Quantile(levels),
            seed=seed,
            backend=quick_backend,
            dtype="float32",
        )
        shape = shape if seed == 0 else (2, *shape)
        expected = network.logits(ROWS).reshape(shape)
        if len(levels) > 1:
            expected = np.sort(expected, axis=-1)
            assert (expected != network.logits(ROWS).reshape(shape)).any()
        np.testing.assert_array_equal(network.predict(ROWS), expected)
        on_device = network.predict(quick_backend.asarray(ROWS, "float32"))
        np.testing.assert_array_equal(on_host(on_device), expected)

    def test_regression_has_no_probabilities(self) -> None:
        network = network_of((3, 1), loss="squared_error")
        with pytest.raises(ValueError, match="trained on squared_error predicts no probabilities"):
            network.predict_proba(ROWS)

    def test_read_only_rows_are_predicted(self, backend: Backend) -> None:
        network = network_of((3, 2), backend=backend, dtype="float32")
        X = ROWS.astype(np.float32)
        X.flags.writeable = False
        np.testing.assert_array_equal(network.predict(X), network.predict(ROWS))
