"""Training: an epoch in arraymlp, in its peers, and the bare products that it contains."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from bench_peers import (
    AbsentError,
    Epoch,
    Task,
    jax_scan,
    ours,
    scikit_learn,
    torch_compiled,
    torch_eager,
)
from bench_rounds import (
    BARE,
    GENERIC,
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
from products import bare_epoch

import arraymlp
from arraymlp.backends.array import HostArray

PEERS: dict[str, Callable[[Task], Epoch]] = {
    "PyTorch": torch_eager,
    "torch.compile": torch_compiled,
    "JAX": jax_scan,
    "scikit-learn": scikit_learn,
}
THREADS: dict[str, Any] = {"PyTorch": torch_threads, "torch.compile": torch_threads, "JAX": None}
FASTER = {name: Goal(OURS, 1.0) for name in PEERS}
TOLERANCE = 1e-4  # of a mean loss after an epoch in float32


@cache
def mnist() -> tuple[HostArray, HostArray]:
    """The 60,000 training images as float32, and their digits."""
    data = arraymlp.datasets.load_mnist(dtype="float32")
    return data.X_train, data.y_train.astype(np.int64)


def synthetic(rows: int, features: int, classes: int) -> tuple[HostArray, HostArray]:
    """Standard normal features, and classes that a linear rule gives."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features), dtype=np.float32)
    return X, np.argmax(X @ rng.standard_normal((features, classes)), axis=1)


def task(
    data: tuple[HostArray, HostArray], hidden: tuple[int, ...], batch: int, plan: Plan, **given: Any
) -> Task:
    """A task on as many of the rows as the plan says."""
    rows = plan.rows(len(data[0]), batch)
    X, y = data[0][:rows], data[1][:rows]
    drawn = arraymlp.train(X, y, hidden=hidden, epochs=0, backend="numpy")
    return Task(X, y, drawn.network, batch, **given)


def case_a(plan: Plan) -> list[Result]:
    """The lab's network on MNIST."""
    goals = {OURS: Goal(BARE, 1.25), GENERIC: Goal(BARE, 1.5)}
    goals |= {"PyTorch": Goal(OURS, 1.8), "scikit-learn": Goal(OURS, 2.0)}
    return both_orders("a", task(mnist(), (100, 100), 100, plan), plan, goals)


def case_b(plan: Plan) -> list[Result]:
    """Many rows of few features."""
    data = synthetic(199_936, 28, 2)
    return both_orders("b", task(data, (256, 256), 256, plan), plan, FASTER)


def case_c(plan: Plan) -> list[Result]:
    """Layers so wide that the products are nearly all there is."""
    data = synthetic(10_240, 784, 10)
    goals = {OURS: Goal(BARE, 1.1), **FASTER}
    return both_orders("c", task(data, (1024, 1024), 512, plan), plan, goals)


def case_g(plan: Plan) -> list[Result]:
    """The first with Adam and dropout. Losses are compared without it: masks are each one's own."""
    own = task(mnist(), (100, 100), 100, plan, adam=True, rate=0.001, dropout=0.2)
    compared = own.without_dropout(min(len(own.X), 3000))
    losses = {
        name: epoch(len(compared.X), False)[1]
        for name, epoch in implementations(compared, plan).items()
        if not isinstance(epoch, str) and name != "scikit-learn"  # which has no dropout
    }
    notes = [f"without dropout, {len(compared.X):,} rows: {note}" for note in agreement(losses)]
    results = both_orders("g", own, plan, FASTER)
    results[0].notes += notes
    return results


def implementations(of: Task, plan: Plan) -> dict[str, Epoch | str]:
    """Every library's epoch, or why it is absent."""
    found: dict[str, Epoch | str] = {OURS: ours(of, True), GENERIC: ours(of, False)}
    for name, make in PEERS.items():
        if not plan.peers and name != "scikit-learn":
            found[name] = "left out"
            continue
        try:
            found[name] = make(of)
        except AbsentError as error:
            found[name] = str(error)
    return found


def both_orders(case: str, of: Task, plan: Plan, goals: dict[str, Goal]) -> list[Result]:
    """Rows in order, whose losses are compared, and shuffled anew; on as many threads in both."""
    epochs = implementations(of, plan)
    n = len(of.X)
    short = min(n, max(4, n // 10 // of.batch) * of.batch)
    losses: dict[bool, dict[str, Any]] = {False: {}, True: {}}

    def run(name: str, epoch: Epoch, rows: int, shuffled: bool) -> float:
        seconds, loss = epoch(rows, shuffled)
        assert loss is None or np.isfinite(loss), f"{name}: the loss is {loss}"
        if rows == n:
            losses[shuffled][name] = loss
        return seconds

    whole, few = (bare_epoch(of.X[:rows], of.network.sizes, of.batch) for rows in (n, short))
    how = f"{'Adam' if of.adam else 'SGD'}{f', dropout {of.dropout}' if of.dropout else ''}"
    what = f"{'-'.join(map(str, of.network.sizes))}, batch {of.batch}, {how}, {n:,} rows"
    results: list[Result] = []
    for shuffled in (False, True):
        bare = Candidate(timed(whole), blas_threads, timed(few))
        work: dict[str, Candidate | str] = {BARE: bare}
        for name, epoch in epochs.items():
            if isinstance(epoch, str):
                work[name] = epoch
                continue
            threads = THREADS.get(name, blas_threads)
            trial = partial(run, name, epoch, short, shuffled) if threads else None
            work[name] = Candidate(partial(run, name, epoch, n, shuffled), threads, trial)
        title = f"{what}, {'shuffled' if shuffled else 'in order'}: an epoch"
        result = Result(case, title, n, goals=goals)
        result.threads = dict(results[0].threads) if results else {}
        results.append(measure(result, work, plan.share(2)))
    if not of.dropout:
        results[0].notes += agreement(losses[False])
    return results


def agreement(losses: dict[str, Any]) -> list[str]:
    """A note on how far losses are from ours; those that are None cannot be compared.

    Raises:
        AssertionError: further than rounding explains, so that they did not do the same.
    """
    apart = {
        name: float(np.max(np.abs(loss - losses[OURS])))
        for name, loss in losses.items()
        if loss is not None and name != OURS
    }
    far = [f"{name}'s by {a:.1e}" for name, a in apart.items() if not a <= TOLERANCE]
    assert not far, f"from equal weights the losses differ from ours: {', '.join(far)}"
    if not apart:
        return []
    left_out = [name for name, loss in losses.items() if loss is None]
    but = f"; {', '.join(left_out)} draws its own weights" if left_out else ""
    return [f"from equal weights the mean losses differ by at most {max(apart.values()):.0e}{but}"]
