"""Populations and searches: against bare products, networks one by one, and peers."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier as SklearnClassifier

import arraymlp
from arraymlp.backends.threads import processors
from benchmarks.peers import AbsentError, Epoch, Task, jax_scan, torch_func
from benchmarks.products import folded_epoch
from benchmarks.rounds import (
    BARE,
    OURS,
    Candidate,
    Goal,
    Plan,
    Result,
    blas_threads,
    measure,
    timed,
    torch_threads,
)
from benchmarks.training import agreement, mnist, synthetic

ROWS = {1: 12_000, 4: 12_000, 16: 12_000, 64: 3000}
BATCH, EPOCHS = 100, 2
PEERS: dict[str, tuple[Callable[[Task], Epoch], Any]] = {
    "JAX vmap(scan)": (jax_scan, None),
    "torch.func": (torch_func, torch_threads),
}


def case_d(plan: Plan) -> list[Result]:
    """K of the lab's network at once."""
    return [population(k, plan.share(len(ROWS))) for k in ROWS]


def population(k: int, plan: Plan) -> Result:
    """An epoch of K networks."""
    X, y = mnist()
    n = plan.rows(ROWS[k], BATCH)
    X, y = X[:n], y[:n]
    seeds = list(range(k))
    task = Task(X, y, arraymlp.train(X, y, seed=seeds, epochs=0, backend="numpy").network, BATCH)
    losses: dict[str, Any] = {}
    sizes = task.network.sizes
    result = Result("d", f"{k} x {'-'.join(map(str, sizes))}, {n:,} rows: an epoch", n * k)
    result.goals = {name: Goal(OURS, 1.2) for name in PEERS}

    def together() -> float:
        seconds = timed(sweep)()
        return seconds / EPOCHS

    def sweep() -> None:
        result = arraymlp.sweep(X, y, seed=seeds, epochs=EPOCHS, shuffle=False, **task.settings)
        losses[OURS] = np.array([member.history["loss"][0] for member in result])

    def run(name: str, epoch: Epoch, rows: int) -> float:
        seconds, loss = epoch(rows, False)
        if rows == n:
            losses[name] = loss
        return seconds

    short = min(n, max(4, n // 10 // BATCH) * BATCH)
    whole, few = (folded_epoch(X[:rows], sizes, BATCH, k) for rows in (n, short))
    work: dict[str, Candidate | str] = {
        BARE: Candidate(timed(whole), blas_threads, timed(few)),
        OURS: Candidate(together, None),
    }
    for name, (make, threads) in PEERS.items():
        if not plan.peers:
            work[name] = "left out"
            continue
        try:
            epoch = make(task)
            trial = partial(run, name, epoch, short) if threads else None
            work[name] = Candidate(partial(run, name, epoch, n), threads, trial)
        except AbsentError as error:
            work[name] = str(error)
    measure(result, work, plan)
    result.notes += agreement(losses)
    return result


def case_e(plan: Plan) -> list[Result]:
    """Many small networks: together, one by one, and scikit-learn's."""
    n, hidden, epochs, members = plan.rows(2000, 100), (16,), 10, 64
    X, y = synthetic(n, 20, 3)
    common: dict[str, Any] = {"hidden": hidden, "learning_rate": 0.05, "optimizer": "sgd"}
    common |= {"epochs": epochs, "batch_size": 100, "backend": "numpy"}

    def scikit_learn(members: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for seed in range(members):
                SklearnClassifier(
                    hidden, solver="sgd", momentum=0, learning_rate_init=0.05, batch_size=100,
                    nesterovs_momentum=False, alpha=0, max_iter=epochs, tol=0,
                    n_iter_no_change=epochs, random_state=seed,
                ).fit(X, y)  # fmt: skip

    def one_by_one(members: int) -> None:
        for seed in range(members):
            arraymlp.train(X, y, seed=seed, **common)

    def together() -> None:
        arraymlp.sweep(X, y, seed=range(members), **common)

    alone = f"{OURS}, one by one"
    work = {
        OURS: Candidate(timed(together), None),
        alone: Candidate(timed(partial(one_by_one, members)), None, timed(partial(one_by_one, 2))),
        "scikit-learn": Candidate(
            timed(partial(scikit_learn, members)), blas_threads, timed(partial(scikit_learn, 4))
        ),
    }
    title = f"{members} x 20-16-3, {n:,} rows, {epochs} epochs: all of it"
    result = Result("e", title, n * members * epochs)
    result.goals = {alone: Goal(OURS, 10), "scikit-learn": Goal(OURS, 60)}
    return [measure(result, work, plan.share(3))]


def case_f(plan: Plan) -> list[Result]:
    """A search over settings and folds."""
    return [search(dtype, goal, plan.share(2)) for dtype, goal in (("float32", 5), ("float64", 3))]


def search(dtype: str, goal: float, plan: Plan) -> Result:
    """24 settings x 5 folds on digits: MLPSearchCV against GridSearchCV on all cores."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(dtype)
    epochs = max(2, int(20 * plan.part))
    grid = {
        "alpha": [1e-5, 1e-4, 1e-3, 1e-2],
        "learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    }
    same: dict[str, Any] = {"tol": 0.0, "n_iter_no_change": 50, "random_state": 0}
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    searches: dict[str, Any] = {}

    def theirs(epochs: int) -> None:
        model = SklearnClassifier(max_iter=epochs, **same)
        grid_search = GridSearchCV(model, grid, cv=folds, n_jobs=processors(), refit=False)
        with blas_threads(1):
            searches["scikit-learn"] = grid_search.fit(X, y)

    def ours(epochs: int) -> None:
        model = arraymlp.MLPClassifier(max_iter=epochs, **same)
        searches[OURS] = arraymlp.MLPSearchCV(model, grid, cv=folds, refit=False).fit(X, y)

    # 24 networks on each of 5 folds of 7 whole minibatches; the eighth, of 37 rows, is left out.
    products = folded_epoch(X[:1400], (64, 100, 10), 200, 24)

    def bare(epochs: int) -> None:
        for _ in range(5 * epochs):
            products()

    work = {
        name: Candidate(timed(partial(do, epochs)), threads, timed(partial(do, 1)))
        for name, do, threads in (
            (BARE, bare, blas_threads),
            (OURS, ours, None),
            ("scikit-learn", theirs, None),
        )
    }
    title = f"24 settings x 5 folds on digits, {dtype}, {epochs} epochs: all of it"
    result = Result("f", title, goals={"scikit-learn": Goal(OURS, goal)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        measure(result, work, plan)
    a, b = (float(searches[name].best_score_) for name in (OURS, "scikit-learn"))
    i = searches["scikit-learn"].best_index_
    error = float(searches["scikit-learn"].cv_results_["std_test_score"][i]) / 5**0.5
    result.notes.append(f"best mean scores {a:.4f} and {b:.4f} (standard error {error:.4f})")
    return result
