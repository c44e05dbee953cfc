"""Good data in any form trains the same network, and its targets choose the loss."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, Run, resolve
from arraymlp.data.targets import targets
from arraymlp.nn.losses import LOSSES, Huber, Loss, Quantile
from conftest import on_host
from refusals import COLUMNS, NUMBERS, N, X, Y, assert_says, quick, refusal

# Good data

X_FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": lambda a: a.tolist(),
    "tuples": lambda a: tuple(map(tuple, a.tolist())),
    "float64": lambda a: a.astype("float64"),
    "float16": lambda a: a.astype("float16"),
    "uint8": lambda a: a.astype("uint8"),
    "int64": lambda a: a.astype("int64"),
    "big-endian": lambda a: a.astype(">f4"),
    "Fortran-ordered": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}
Y_FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda a: a.tolist(),
    "uint8": lambda a: a.astype("uint8"),
    "int32": lambda a: a.astype("int32"),
    "uint64": lambda a: a.astype("uint64"),
    "big-endian": lambda a: a.astype(">i4"),
    "one column": lambda a: a[:, None],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
}


@pytest.fixture(scope="module")
def expected() -> Iterator[Callable[[Backend], Run]]:
    """The run on plain data, one for each backend."""
    runs: dict[str, Run] = {}

    def run_on(backend: Backend) -> Run:
        if backend.name not in runs:
            runs[backend.name] = on(backend, X, Y)
        return runs[backend.name]

    yield run_on
    runs.clear()


def on(backend: Backend, x: Any, y: Any, **settings: Any) -> Run:
    return quick(x, y, backend=backend.name, device=backend.device, **settings)


def assert_same_run(actual: Run, expected: Run) -> None:
    assert actual.backend == expected.backend
    assert actual.network.loss == expected.network.loss
    for a, b in zip(actual.network.layers, expected.network.layers, strict=True):
        assert (on_host(a.weights) == on_host(b.weights)).all()
        assert (on_host(a.bias) == on_host(b.bias)).all()


@pytest.mark.parametrize("form", X_FORMS.values(), ids=X_FORMS)
def test_every_form_of_x_trains_the_same_network(
    backend: Backend, form: Callable[..., Any], expected: Callable[[Backend], Run]
) -> None:
    run = on(backend, form(X), Y)
    assert_same_run(run, expected(backend))
    assert (run.network.predict(form(X)) == run.network.predict(X)).all()


@pytest.mark.parametrize("form", Y_FORMS.values(), ids=Y_FORMS)
def test_every_form_of_y_trains_the_same_network(
    backend: Backend, form: Callable[..., Any], expected: Callable[[Backend], Run]
) -> None:
    run = on(backend, X, form(Y))
    assert_same_run(run, expected(backend))
    labels = run.network.predict(backend.asarray(X))
    assert (on_host(labels) == run.network.predict(X)).all()


def test_device_arrays_train_the_same_network(
    backend: Backend, expected: Callable[[Backend], Run]
) -> None:
    x, y = backend.asarray(X), backend.asarray(Y, "int32")
    run = quick(x, y, backend="auto" if backend.name != "numpy" else "numpy")
    assert_same_run(run, expected(backend))
    assert (on_host(x) == X).all()
    assert (on_host(y) == Y).all()


def test_host_arrays_are_not_written(backend: Backend) -> None:
    x, y = X.copy(), NUMBERS.copy()
    on(backend, x, y, hidden=(), epochs=2)
    assert (x == X).all()
    assert (y == NUMBERS).all()


@pytest.mark.parametrize("form", ["uint8", "int32", "bool"])
def test_device_data_that_is_not_floating_point_is_converted(backend: Backend, form: str) -> None:
    host = (X > 4).astype(form)
    run = quick(backend.asarray(host), Y, backend="auto" if backend.name != "numpy" else "numpy")
    assert_same_run(run, on(backend, host, Y))


def test_data_frames_and_series_are_taken(
    numpy_backend: Backend, expected: Callable[[Backend], Run]
) -> None:
    pandas = pytest.importorskip("pandas")
    frame, series = pandas.DataFrame(X, columns=list("abcd")), pandas.Series(Y)
    run = quick(frame, series)
    assert_same_run(run, expected(numpy_backend))
    assert (run.network.predict(frame) == run.network.predict(X)).all()
    assert_same_run(quick(frame, pandas.DataFrame({"label": Y})), expected(numpy_backend))


def test_a_data_frame_with_text_is_refused_where_it_is_not_to_be_encoded() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(N), "b": ["x"] * N})
    assert_says(refusal(quick, frame, Y, encode=False), ["X must be numeric", "object"])


def test_a_missing_value_in_a_data_frame_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": pandas.array([None, *range(1, N)], dtype="Int64")})
    assert "X[0, 0] is nan" in refusal(quick, frame, Y)


def test_labels_need_not_be_contiguous(backend: Backend) -> None:
    run = on(backend, X, Y * 10 + 5)
    assert run.network.classes.tolist() == [5, 15, 25]
    assert set(run.network.predict(X)) <= {5, 15, 25}


def test_labels_wider_than_the_devices_integers_are_not_cut_short() -> None:
    backend = resolve("jax", fallback=False) if pytest.importorskip("jax") else None
    network = on(backend, X, Y + 2**40).network
    assert (network.predict(X) >= 2**40).all()
    if backend.xp.arange(1).dtype == "int32":
        message = refusal(network.predict, backend.asarray(X, "float32"))
        assert_says(message, ["labels", str(2**40)[:10]])


# loss="auto"


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "classes"),
    [
        (Y, "softmax_cross_entropy", 3, [0, 1, 2]),
        (Y[:, None], "softmax_cross_entropy", 3, [0, 1, 2]),
        (Y.astype("uint8"), "softmax_cross_entropy", 3, [0, 1, 2]),
        (Y > 0, "softmax_cross_entropy", 2, [0, 1]),
        ((Y > 0)[:, None], "softmax_cross_entropy", 2, [0, 1]),
        (COLUMNS, "binary_cross_entropy", 3, None),
        (COLUMNS == 1, "binary_cross_entropy", 3, None),
        (COLUMNS.astype(float), "squared_error", 3, None),
        (NUMBERS, "squared_error", 2, None),
        (NUMBERS[:, 0], "squared_error", 1, None),
        (NUMBERS[:, :1], "squared_error", 1, None),
        (NUMBERS.astype("float16"), "squared_error", 2, None),
    ],
)
def test_the_targets_choose_the_loss(
    y: Any,
    loss: str,
    n_outputs: int,
    classes: list[int] | None,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="arraymlp"):
        made = targets(y, N, backend, "float32")
    assert (made.loss.name, made.n_outputs) == (loss, n_outputs)
    assert classes == (None if made.classes is None else made.classes.tolist())
    assert f"loss: {loss}" in caplog.text


@pytest.mark.parametrize(
    ("y", "loss", "n_outputs", "classes"),
    [
        (Y * 2, "squared_error", 1, None),
        (COLUMNS, "softmax_cross_entropy", 3, [0, 1, 2]),
        (COLUMNS * 0.5 + 1 / 6, "softmax_cross_entropy", 3, [0, 1, 2]),
        (COLUMNS * 0.5, "binary_cross_entropy", 3, None),
        ((Y > 0) + 4, "binary_cross_entropy", 1, [4, 5]),
        (Y, "absolute_error", 1, None),
        (COLUMNS, "huber", 3, None),
        (Y, "poisson", 1, None),
        (NUMBERS, "poisson", 2, None),
        (Y, "quantile", 3, None),
        (NUMBERS[:, :1], "quantile", 3, None),
        (NUMBERS, "quantile", 6, None),
        (NUMBERS, Quantile((0.2, 0.8)), 4, None),
        (NUMBERS, Huber(2.0), 2, None),
    ],
)
def test_a_loss_that_is_given_decides(
    y: Any, loss: str | Loss, n_outputs: int, classes: list[int] | None, backend: Backend
) -> None:
    made = targets(y, N, backend, "float32", loss=loss)
    assert made.loss == (loss if isinstance(loss, Loss) else LOSSES[loss])
    assert made.n_outputs == n_outputs
    assert classes == (None if made.classes is None else made.classes.tolist())
