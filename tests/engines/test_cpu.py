"""NumPy's engine against the array code, and its products against matmul.

The tests in this folder are those of ``arraymlp/engines``: without it they go too, all others pass.
"""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import arraymlp
from arraymlp.backends import threads as host_threads
from arraymlp.backends.threads import OneBlasThread, thread_pools
from arraymlp.engines.cpu import blas
from arraymlp.engines.cpu.step import PIECE, BufferedStep, in_pieces
from arraymlp.steps.optimizers import Adam
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
from pairwise import pairwise

SHAPES = [(7, 5, 3), (1, 1, 1), (100, 200, 60), (101, 77, 133), (1, 1300, 900), (260, 3, 2000)]
PRODUCTS = pairwise(
    {
        "shape": SHAPES,
        "layout": ["rows", "columns", "wider", "backwards"],
        "dtype": ["float32", "float64"],
        "threads": [1, 2, 5],
    }
)


def laid_out(a: HostArray, layout: str) -> HostArray:
    """The same numbers, in memory by rows, by columns, as rows of a wider matrix, or backwards."""
    if layout == "columns":
        return np.ascontiguousarray(a.mT).mT
    if layout == "wider":
        wide = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
        wide[..., : a.shape[-1]] = a
        return wide[..., : a.shape[-1]]
    if layout == "backwards":
        return np.ascontiguousarray(a[..., ::-1])[..., ::-1]
    return a


@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: "-".join(map(str, case.values())))
def test_a_product_is_matmuls(case: dict[str, Any]) -> None:
    (m, k, n), dtype, layout = case["shape"], case["dtype"], case["layout"]
    rng = np.random.default_rng(m + k + n)
    a = laid_out(rng.normal(size=(m, k)).astype(dtype), layout)
    b = laid_out(rng.normal(size=(k, n)).astype(dtype), layout)
    product = blas.Product(m, k, n, None, dtype, case["threads"])
    tolerance = np.finfo(dtype).eps * k
    exact = a.astype("float64") @ b.astype("float64")
    c = np.full((m, n), np.nan, dtype)
    product(a, b, c)  # what was there before does not count, even NaN
    np.testing.assert_allclose(c, exact, rtol=0, atol=4 * tolerance)
    product(a, b, c, 1.0)
    np.testing.assert_allclose(c, 2 * exact, rtol=0, atol=8 * tolerance)
    product(2 * a, b, c, -0.5)
    np.testing.assert_allclose(c, exact, rtol=0, atol=16 * tolerance)


GROUPS = pairwise(
    {
        "groups": [0, 1, 2, 6],
        "threads": [1, 2, 8],
        "shape": [(4, 3, 5), (120, 110, 100)],
        "betas": [(6, 1, 1), (1, 1)],
    }
)


@pytest.mark.parametrize("case", GROUPS, ids=lambda case: "-".join(map(str, case.values())))
def test_members_share_their_groups_matrix(case: dict[str, Any]) -> None:
    groups, threads, (m, k, n) = case["groups"], case["threads"], case["shape"]
    rng = np.random.default_rng(groups)
    a = rng.normal(size=(groups, m, k) if groups else (m, k))
    b, c = rng.normal(size=(6, k, n)), rng.normal(size=(6, m, n))
    beta = rng.normal(size=case["betas"])
    of_members = np.repeat(a, 6 // groups, axis=0) if groups else a
    expected = beta * c + of_members @ b
    blas.Product(m, k, n, 6, "float64", threads)(a, b, c, beta)
    np.testing.assert_allclose(c, expected, rtol=1e-9, atol=1e-9)


def test_the_pools_size_is_as_before() -> None:
    before = [pool["num_threads"] for pool in thread_pools()]
    a = np.ones((300, 300))
    with OneBlasThread():
        inside = [pool["num_threads"] for pool in thread_pools()]
        blas.Product(300, 300, 300, None, "float64", 2)(a, a, np.empty_like(a))
        assert [pool["num_threads"] for pool in thread_pools()] == inside
    assert [pool["num_threads"] for pool in thread_pools()] == before


def test_without_such_a_blas_matmul_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "numpy_blas", lambda: None)
    a, c = np.full((200, 200), 2.0), np.ones((200, 200))
    product = blas.Product(200, 200, 200, None, "float64", 2)
    assert not product.adds
    product(a, a, c, 3.0)
    np.testing.assert_array_equal(c, 803.0)


def test_small_products_are_kept_from_blas() -> None:
    # Older OpenBLAS crashes on them: see the module.
    assert not blas.Product(100, 100, 100, None, "float32", 8).adds
    if blas.numpy_blas() is not None:
        for m in (1, 3, 101, 4000):
            product = blas.Product(m, 1001, 1000, None, "float32", 64)
            assert min(product.sizes[0]) * 1001 * 1000 > blas.SMALL


def test_numpys_wheels_have_the_blas() -> None:
    build = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index,call-overload]
    if "openblas" not in build["name"]:
        pytest.skip(f"NumPy is built with {build['name']}")
    numbers = [int(n) for n in build["version"].split(".")[:3]]
    assert (blas.numpy_blas() is not None) == (tuple(numbers) >= blas.OLDEST)


# The engine against the array code

# Large enough that products go to BLAS.
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
def test_engine_and_array_agree_where_blas_multiplies(seed: int) -> None:
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


def test_a_penalty_of_weighted_samples_where_blas_multiplies() -> None:
    # Its factor of W is an array of one number.
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


def test_the_engine_is_the_default_and_array_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRAYMLP_ENGINE_CHECK", "0")  # it calls the engine, too
    called = []
    call = BufferedStep.__call__
    monkeypatch.setattr(BufferedStep, "__call__", lambda *a: called.append(1) or call(*a))
    X, y = problem(np.random.default_rng(0), "huber", 20, 3, 1)
    arraymlp.train(X, y, epochs=1, batch_size=10, backend="numpy", engine="array")
    assert called == []
    arraymlp.train(X, y, epochs=1, batch_size=10, backend="numpy")
    assert len(called) == 2


def test_the_data_may_be_read_only() -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 300, 130, 10)
    X = X.astype(np.float32)
    X.flags.writeable = False
    arraymlp.train(X, y, epochs=1, batch_size=100, backend="numpy", shuffle=False)


def test_an_optimizer_of_ones_own_sees_whole_gradients() -> None:
    X, y = problem(np.random.default_rng(0), "softmax_cross_entropy", 200, 300, 4)
    settings: dict[str, Any] = {"hidden": (200,), "optimizer": NormedSGD(), "epochs": 1}
    settings["batch_size"] = 100
    assert_alike(*both(X, y, "float64", **settings), rtol=1e-9)


@pytest.mark.parametrize("shape", [(PIECE // 100, 200), (3, PIECE // 50, 130), (1, 7)])
def test_an_update_in_pieces_is_the_same_to_the_bit(shape: tuple[int, ...]) -> None:
    rng, rule = np.random.default_rng(0), Adam()
    w, g = rng.normal(size=shape), rng.normal(size=shape)
    m, v = rng.normal(size=shape), rng.random(shape)
    table = rule.constants(np.full((1, 1), 0.01), np.ones((1, 1)))
    constants = type(table)(*(np.asarray(value).item() for value in table))
    whole = rule.update(w.copy(), g.copy(), (m.copy(), v.copy()), constants, np)
    pieces = in_pieces(rule.update)(w, g, (m, v), constants, np)
    for a, b in zip((whole[0], *whole[1]), (pieces[0], *pieces[1]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.xdist_group("signals")
def test_a_process_with_many_threads_trains_alike() -> None:
    # A product that is cut up runs on threads of its own only in a process that has them.
    code = """
import numpy as np, arraymlp
X, y = np.random.default_rng(0).normal(size=(400, 350)), np.arange(400) % 10
given = {"hidden": (140, 130), "epochs": 2, "batch_size": 130, "optimizer": "momentum"}
run = arraymlp.train(X, y, backend="numpy", **given)
print(run.history["loss"][-1].hex(), run.network.layers[0].weights.sum())
"""
    results = []
    for threads in ("1", "4"):
        env = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(done.stdout)
    assert results[0] == results[1]


def test_a_product_goes_to_one_thread_where_two_are_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if blas.numpy_blas() is None:
        pytest.skip("NumPy has no such OpenBLAS here")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 200)), rng.normal(size=(200, 200))
    product = blas.Product(200, 200, 200, None, "float64", 2)
    assert product.threads == 2
    called: list[int] = []
    product.blas = product.blas._replace(set_threads=called.append)  # type: ignore[union-attr]
    c, first = np.empty_like(a), np.empty_like(a)
    with OneBlasThread():
        product(a, b, first)
        called.clear()
        product.calls, product.seconds = blas.TRIES, [1e-9, 1e9]  # both threads were slow
        product(a, b, c)
        assert called == []
        np.testing.assert_array_equal(c, first)
        product.seconds = [1e9, 1e-9]
        product(a, b, c)
        assert called == [2, 1]
        np.testing.assert_array_equal(c, first)
        called.clear()
        product.calls, product.seconds = blas.PERIOD, [1e-9, 1e9]  # the other way is tried
        product(a, b, c)
        assert called == [2, 1]
        called.clear()
        product.seconds = [1e9, 1e-9]
        monkeypatch.setattr(host_threads._PROCESS, "inside", 2)  # another training is at work
        product(a, b, c)
        assert called == []
        np.testing.assert_array_equal(c, first)
        monkeypatch.undo()
