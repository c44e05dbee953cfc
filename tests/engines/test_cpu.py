"""NumPy's engine against the array code, and its bits on any number of threads.

The tests in this folder are those of ``arraymlp/engines``: without it they go too, all others pass.
"""

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import arraymlp
from arraymlp.backends import threads as host_threads
from arraymlp.engines.cpu import library, steps
from arraymlp.engines.cpu.forward import WORTH_A_CALL
from arraymlp.engines.cpu.steps import NativeSteps
from arraymlp.nn.initializers import Initializer
from arraymlp.nn.losses import LOSSES
from engine_and_array import (
    ADDED,
    CASES,
    CLIPPED,
    HostArray,
    NormedSGD,
    assert_alike,
    assert_same_folds,
    both,
    data_and_settings,
    problem,
    setting_cases,
)

pytestmark = pytest.mark.skipif(library.load() is None, reason=library.why_not())

# The engine against the array code

# Large enough for several tiles of each product, and for several threads.
LARGE = {"rows": (150, 400), "widths": (90, 260), "batch_sizes": (60, 150)}
OF_LARGE: dict[str, list[Any]] = {"layers": [2], "schedule": ["cosine"], "weight_average": [0.0]}
LARGE_CASES = [
    *setting_cases(**ADDED | OF_LARGE),
    *setting_cases(**CLIPPED | OF_LARGE | {"gradient_clip": [np.inf, 0.5]}),
]


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_engine_and_array_agree(seed: int) -> None:
    X, y, settings = data_and_settings(CASES[seed], np.random.default_rng(seed))
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-8)


@pytest.mark.parametrize("seed", range(len(LARGE_CASES)))
def test_engine_and_array_agree_of_some_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, y, settings = data_and_settings(LARGE_CASES[seed], rng, **LARGE)
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-8)


@pytest.mark.parametrize(
    ("activation", "optimizer"), [("relu", "adam"), ("sigmoid", "sgd"), ("tanh", "momentum")]
)
def test_they_agree_in_single_precision(activation: str, optimizer: str) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 300, 130, 10)
    settings = {"hidden": (120, 110), "optimizer": optimizer, "activation": activation, "epochs": 1}
    settings |= {"learning_rate": 1e-3, "batch_size": 90}
    assert_alike(*both(X, y, "float32", **settings), rtol=1e-4)


def test_a_penalty_of_weighted_samples() -> None:
    rng = np.random.default_rng(0)
    X, y = problem(rng, "softmax_cross_entropy", 300, 150, 10)
    settings: dict[str, Any] = {"hidden": (120, 110), "batch_size": 90, "epochs": 1}
    for optimizer in ("sgd", "momentum"):
        runs = both(
            X,
            y,
            "float64",
            alpha=0.1,
            sample_weight=rng.random(300),
            optimizer=optimizer,
            **settings,
        )
        assert_alike(*runs, rtol=1e-9)


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_agrees_with_the_array_code(threads: int) -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 300, 130, 10)
    settings = {"hidden": (120, 110), "batch_size": 90, "optimizer": "momentum"}
    with threadpool_limits(threads, user_api="blas"):
        assert_alike(*both(X, y, "float64", **settings), rtol=1e-9)


def test_columns_of_a_table_are_as_good_as_rows() -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 300, 130, 10)
    settings: dict[str, Any] = {"hidden": (120,), "shuffle": False, "epochs": 1}
    settings |= {"optimizer": "momentum", "batch_size": 100}
    assert_alike(*both(np.asfortranarray(X), y, "float64", **settings), rtol=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "n_features", "dropout"),
    [
        ("sgd", 4, 0.0),
        ("momentum", 130, 0.0),
        ("adam", 4, 0.2),
        ("adam", 130, arraymlp.Dropout(0.2, 0.1)),
    ],
)
def test_folds_agree(optimizer: str, n_features: int, dropout: Any) -> None:
    X, y = problem(np.random.default_rng(1), "softmax_cross_entropy", 301, n_features, 3)
    settings: dict[str, Any] = {"hidden": (110,), "epochs": 2, "batch_size": 80, "order_seed": 1}
    assert_same_folds(X, y, optimizer=optimizer, dropout=dropout, **settings)


@pytest.mark.parametrize("engine", ["auto", "array"])
def test_a_diverging_run_ends_alike(engine: Any) -> None:
    X, y = problem(np.random.default_rng(1), "squared_error", 60, 5, 1)
    with pytest.raises(arraymlp.NonFiniteLossError, match="in epoch"):
        arraymlp.train(
            X, y, optimizer="sgd", learning_rate=1e6, batch_size=9, engine=engine, backend="numpy"
        )


def test_huge_logits_cost_what_the_array_code_says() -> None:
    X = np.asarray([[1e30], [-1e30], [3e35]])
    settings: dict[str, Any] = {"hidden": (), "epochs": 1, "batch_size": 3}
    settings |= {"optimizer": "sgd", "learning_rate": 1e-30}
    by_engine, by_array = both(X, [0, 1, 2], "float32", **settings)
    np.testing.assert_allclose(by_engine.history["loss"], by_array.history["loss"], rtol=1e-6)


# Which code does the steps


ZEROS = Initializer("zeros", lambda rng, n, m: (np.zeros((n, m)), np.zeros((1, m))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_below_the_least_normal_number_is_0_in_the_engine_alone(dtype: str) -> None:
    least = np.finfo(dtype).smallest_normal
    X, y = np.ones((64, 300), dtype), np.full(64, least / 8, dtype)
    how: dict[str, Any] = {"hidden": (), "epochs": 1, "batch_size": 64, "optimizer": "sgd"}
    how |= {"learning_rate": 1.0, "standardize": False, "initializer": ZEROS, "dtype": dtype}
    run, by_array = (
        arraymlp.train(X, y, engine=engine, backend="numpy", **how) for engine in ("auto", "array")
    )
    assert (run.engine, run.engine_reason) == ("cpu", "")
    assert not np.asarray(run.network.layers[0].weights).any()
    assert np.asarray(by_array.network.layers[0].weights).all()
    assert (y / 2).all(), "the caller's own arithmetic is as it was"


def test_the_engine_is_the_default_and_array_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRAYMLP_ENGINE_CHECK", "0")  # it calls the engine, too
    called = []
    epoch = NativeSteps.epoch
    monkeypatch.setattr(NativeSteps, "epoch", lambda *a: called.append(1) or epoch(*a))
    X, y = problem(np.random.default_rng(0), "huber", 20, 3, 1)
    arraymlp.train(X, y, epochs=1, batch_size=10, backend="numpy", engine="array")
    assert called == []
    run = arraymlp.train(X, y, epochs=1, batch_size=10, backend="numpy")
    assert len(called) == 1
    assert run.engine == "cpu"


def test_the_data_may_be_read_only() -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 300, 130, 10)
    X = X.astype(np.float32)
    X.flags.writeable = False
    arraymlp.train(X, y, epochs=1, batch_size=100, backend="numpy", shuffle=False)


def test_what_it_lacks_goes_by_the_definition_and_is_said() -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 200, 300, 4)
    settings: dict[str, Any] = {"hidden": (200,), "epochs": 1, "batch_size": 100}
    run, by_array = both(X, y, "float64", optimizer=NormedSGD(), **settings)
    assert_alike(run, by_array, rtol=1e-9)
    assert (run.engine, run.engine_reason) == ("array", "the engine has no NormedSGD")
    run = arraymlp.train(X, y, **settings | {"hidden": (3,) * 64}, backend="numpy")
    assert run.engine_reason == "the engine has room for 64 layers, not for 65"


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_loss(loss: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    classifies = LOSSES[loss].classifies
    kind = {"one": "softmax_cross_entropy", "each": "binary_cross_entropy"}.get(classifies, "")
    X, y = problem(rng, kind, 90, 7, 4)
    y = np.abs(y) if loss == "poisson" else y
    given: dict[str, Any] = {"loss": loss, "hidden": (9,), "batch_size": 20, "epochs": 3}
    given |= {"learning_rate": 0.01, "optimizer": "sgd", "standardize": False}
    runs = both(X, y, dtype, **given)
    assert runs[0].engine == "cpu"
    assert_alike(*runs, rtol=1e-9 if dtype == "float64" else 2e-5)


@pytest.mark.parametrize(
    "loss",
    [
        arraymlp.losses.Huber((0.5, 2.0, 1.0)),
        arraymlp.losses.Quantile(((0.1, 0.5), (0.2, 0.6), (0.3, 0.9))),
    ],
    ids=lambda loss: loss.name,
)
def test_losses_with_parameters_of_members(loss: Any) -> None:
    X, y = problem(np.random.default_rng(3), "", 50, 5, 2)
    given = {"hidden": (6,), "batch_size": 9, "epochs": 2, "seed": (0, 1, 2), "loss": loss}
    assert_alike(*both(X, y, "float64", **given), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "hidden", "n_out", "batch_size", "members"),
    [
        (1, (1,), 2, 1, None),
        (2, (), 2, 2, None),
        (30, (1,) * 50, 2, 7, None),
        (40, (17, 16, 15), 33, 13, None),
        (25, (5,), 3, 25, 300),
        (64, (64, 128), 16, 64, 3),
        (600, (130,), 10, 600, None),
    ],
)
def test_odd_sizes(
    dtype: str, n: int, hidden: Any, n_out: int, batch_size: int, members: int | None
) -> None:
    rng = np.random.default_rng(n)
    X, y = rng.normal(size=(n, 3)), rng.normal(size=(n, n_out))
    given: dict[str, Any] = {"hidden": hidden, "batch_size": batch_size, "epochs": 2}
    given |= {"activation": "tanh", "optimizer": "adam", "learning_rate": 1e-3}
    given |= {"seed": 0 if members is None else range(members), "standardize": False}
    runs = both(X, y, dtype, **given)
    assert_alike(*runs, rtol=1e-8 if dtype == "float64" else 1e-4)


# Threads


def trained(threads: int, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[HostArray]:
    """The parameters after a training on so many threads, whatever the machine has."""
    monkeypatch.setattr(steps, "cores", lambda: threads)
    monkeypatch.setattr(host_threads, "cores", lambda: threads)
    monkeypatch.setattr(host_threads, "processors", lambda: threads)
    host_threads._helpers.cache_clear()
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(700, 90)), rng.integers(0, 5, 700)
    given: dict[str, Any] = {"hidden": (120, 110), "epochs": 2, "batch_size": 130}
    run = arraymlp.train(X, y, backend="numpy", **given | settings)
    host_threads._helpers.cache_clear()
    arrays = [np.asarray(run.history["loss"])]
    return arrays + [a for layer in run.network.layers for a in (layer.weights, layer.bias)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adam", "dropout": 0.2, "alpha": 0.1, "gradient_clip": 0.5},
        {"seed": (0, 1, 2), "weight_average": 0.9},
        {"seed": tuple(range(9)), "hidden": (30,)},
        {"dtype": "float64", "standardize": True},
    ],
    ids=str,
)
def test_any_number_of_threads_gives_the_same_bits(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trained(1, monkeypatch, **settings)
    for threads in (2, 3, 4):
        for a, b in zip(one, trained(threads, monkeypatch, **settings), strict=True):
            np.testing.assert_array_equal(a, b)


def test_two_trainings_at_once_have_the_bits_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 60)), rng.integers(0, 4, 600)
    given: dict[str, Any] = {"hidden": (90, 80), "epochs": 3, "backend": "numpy"}
    alone = [arraymlp.train(X, y, seed=seed, **given).history["loss"] for seed in range(2)]
    together: dict[int, Any] = {}

    def train(seed: int) -> None:
        together[seed] = arraymlp.train(X, y, seed=seed, **given).history["loss"]

    threads = [threading.Thread(target=train, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[0], together[1]] == alone


CODE = """
import numpy as np, arraymlp
X, y = np.random.default_rng(0).normal(size=(400, 350)), np.arange(400) % 10
given = {"hidden": (140, 130), "epochs": 2, "batch_size": 130, "optimizer": "momentum"}
run = arraymlp.train(X, y, backend="numpy", **given)
print(run.engine, [loss.hex() for loss in run.history["loss"]], run.network.layers[0].weights.sum())
"""


def in_a_process(code: str = CODE, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_other_processes_have_the_same_bits() -> None:
    results = {
        in_a_process(OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
        for threads in ("1", "4")
    }
    assert len(results) == 1
    assert results.pop().startswith("cpu ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_a_fork_trains_with_the_same_bits() -> None:
    code = (
        CODE
        + """
import os, sys
sys.stdout.flush()
child = os.fork()
again = arraymlp.train(X, y, backend="numpy", **given)
assert again.history["loss"] == run.history["loss"]
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    in_a_process(code, OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore")


def available_isas() -> list[str]:
    native = library.load()
    return [] if native is None else list(library.ISAS[: library.ISAS.index(native.isa) + 1])


@pytest.mark.parametrize("isa", available_isas())
def test_every_instruction_set_that_this_processor_has(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARRAYMLP_ISA", isa)
    monkeypatch.setattr(library._Process, "outcome", None)  # as in a new process
    for seed in range(0, len(CASES), 4):
        X, y, settings = data_and_settings(CASES[seed], np.random.default_rng(seed))
        assert_alike(*both(X, y, "float64", **settings), rtol=1e-8)
    X, y, settings = data_and_settings(CASES[1], np.random.default_rng(1), (150, 400), (90, 260))
    assert_alike(*both(X, y, "float32", **settings), rtol=1e-3)
    native = library.load()
    assert native is not None
    assert native.isa == isa


# Data


@pytest.mark.parametrize("kind", ["memmap", "chunks", "sparse"])
def test_streams_have_the_bits_of_memory(kind: str, tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(230, 12)).astype(np.float32), rng.integers(0, 3, 230)
    given: dict[str, Any] = {"hidden": (9,), "batch_size": 20, "window": 60, "epochs": 2}
    given |= {"sample_weight": rng.random(230), "dropout": 0.2, "backend": "numpy"}
    rows: Any = np.memmap(tmp_path / "rows", np.float32, "w+", shape=X.shape)
    rows[:] = X
    if kind == "sparse":
        rows = pytest.importorskip("scipy.sparse").csr_matrix(X)
    whole = arraymlp.train(X, y, **given)
    if kind == "chunks":
        chunks = [(X[i : i + 50], y[i : i + 50]) for i in range(0, 230, 50)]
        run = arraymlp.train(chunks, **given)
    else:
        run = arraymlp.train(rows, y, **given)
    assert run.engine == "cpu"
    assert run.history["loss"] == whole.history["loss"]


def test_columns_of_wider_rows_are_read_where_they_stand() -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 300, 130, 10)
    wide = np.zeros((300, 200), np.float32)
    wide[:, 40:170] = X
    given: dict[str, Any] = {"hidden": (20,), "shuffle": False, "epochs": 1, "backend": "numpy"}
    one, other = (arraymlp.train(rows, y, **given) for rows in (X, wide[:, 40:170]))
    assert one.history["loss"] == other.history["loss"]


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_are_the_definitions(members: int | None, dtype: str) -> None:
    rng = np.random.default_rng(0)
    network = arraymlp.MultilayerPerceptron.create(
        (40, 70, 30, 5),
        activation=("gelu", "sigmoid"),
        seed=0 if members is None else range(members),
        dtype=dtype,
    )
    n = 1 + 2 * WORTH_A_CALL // network.n_parameters
    X = rng.normal(size=(n, 40)).astype(dtype)
    forward = arraymlp.training.engine.choose_engine(network).forward(network)
    expected = network.forward(X, network.backend.xp)[-1].z
    rtol = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(forward(X), expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(network.logits(X), expected, rtol=rtol, atol=rtol)
