"""Members that train on rows and in orders of their own: folds of cross-validation, minibatch
orders by seed. Each meets what it would meet alone, with nothing looked at inside an epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, Dropout, EarlyStopping, SweepResult
from arraymlp.data.minibatches import Minibatch, epoch_order, minibatches
from arraymlp.data.row_plans import PlannedEpoch, RowPlan, groups
from arraymlp.data.splits import folds, split
from arraymlp.sweeps import partition
from arraymlp.training import loop
from conftest import on_host
from looks import ARRAY, LOOKS, LookedError
from members import RTOL, WEIGHT, assert_as_alone, assert_same_bits, on, parameters, sweep
from members import alone as trained_alone

HostArray = np.ndarray[Any, Any]
X, Y = problems.labels()
Pairs = list[tuple[HostArray, HostArray]]


# --- the minibatches -----------------------------------------------------------------------------

ROWS = [np.arange(0, 20), np.arange(3, 22), np.arange(24)[::-1][:18]]


def planned(
    backend: Backend,
    row_plans: list[RowPlan],
    weight: HostArray | None = None,
    *,
    epoch: int = 2,
    skip: int = 0,
    drop_last: bool = False,
) -> list[Minibatch]:
    w = None if weight is None else backend.asarray(weight, "float32")
    x, y = backend.asarray(X, "float32"), backend.asarray(Y)
    plan = PlannedEpoch(row_plans, epoch, backend, batch_size=8, drop_last=drop_last)
    return list(plan.minibatches(x, y, w, skip))


@pytest.mark.parametrize("weight", [None, WEIGHT, np.stack([WEIGHT] * 6, axis=1) * range(1, 7)])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("twice", [False, True])
def test_a_plan_gives_its_rows_as_alone(
    quick_backend: Backend, weight: HostArray | None, drop_last: bool, twice: bool
) -> None:
    row_plans = [RowPlan(rows, order=seed) for rows, seed in zip(ROWS, (0, 1, 0), strict=True)]
    of_members = (
        [c for c in row_plans for _ in range(2)] if twice else [*row_plans, *row_plans[::-1]]
    )
    batches = planned(quick_backend, of_members, weight, drop_last=drop_last)
    assert len(batches) == (2 if drop_last else 3)
    assert {int(b.x.shape[0]) for b in batches} == {3 if twice else 6}
    for k, row_plan in enumerate(of_members):
        in_order = row_plan.rows[epoch_order(len(row_plan.rows), row_plan.order, 2)]
        w = None if weight is None else weight if weight.ndim == 1 else weight[:, k]
        for i, batch in enumerate(batches):
            rows = in_order[8 * i : 8 * i + 8]
            group = k * int(batch.x.shape[0]) // 6
            n = len(rows)
            assert int(np.broadcast_to(batch.samples, (6,))[k]) == n
            np.testing.assert_array_equal(on_host(batch.x)[group, :n], X[rows].astype(np.float32))
            np.testing.assert_array_equal(on_host(batch.y)[k, :n], Y[rows])
            expected = np.ones(n) if w is None else w[rows]
            if batch.weight is None:
                assert w is None
                assert batch.rows == n
            else:
                weights = on_host(batch.weight)[k]
                np.testing.assert_array_equal(weights[:n], expected.astype(np.float32))
                assert not weights[n:].any()
            total = np.broadcast_to(np.asarray(on_host_number(batch.total)), (6,))[k]
            assert total == pytest.approx(expected.sum(), rel=1e-6)


def on_host_number(value: Any) -> Any:
    return value if isinstance(value, int) else on_host(value)


def test_full_minibatches_have_no_weights(quick_backend: Backend) -> None:
    batches = planned(quick_backend, [RowPlan(rows, order=0) for rows in ROWS])
    assert [b.weight is None for b in batches] == [True, True, False]
    assert [b.samples_per_member is None for b in batches] == [True, True, False]
    assert batches[-1].rows == 4
    assert list(batches[-1].samples) == [4, 3, 2]


def test_members_that_share_a_plan_share_its_rows(quick_backend: Backend) -> None:
    a, b = RowPlan(np.arange(16), order=0), RowPlan(np.arange(8, 24), order=1)
    assert [int(m.x.shape[0]) for m in planned(quick_backend, [a, a, b, b])] == [2, 2]
    assert [int(m.x.shape[0]) for m in planned(quick_backend, [a, a, b])] == [3, 3]
    assert [int(m.x.shape[0]) for m in planned(quick_backend, [a, a])] == [1, 1]
    assert groups([a, a, b, a]) == [(a, 0, 2), (b, 2, 3), (a, 3, 4)]


def test_minibatches_are_left_out_at_the_start(numpy_backend: Backend) -> None:
    row_plans = [RowPlan(rows, order=3) for rows in ROWS]
    whole = planned(numpy_backend, row_plans, epoch=1)
    (later,) = planned(numpy_backend, row_plans, epoch=1, skip=2)
    np.testing.assert_array_equal(later.x, whole[2].x)
    order = ROWS[0][epoch_order(20, 3, 1)]
    x = X.astype(np.float32)
    alone = list(minibatches(x, Y, 8, backend=numpy_backend, order=order))
    np.testing.assert_array_equal(whole[1].x[0], alone[1].x)


def test_an_order_is_by_seed_by_function_or_as_it_stands() -> None:
    rows = np.asarray([5, 7, 2, 9])
    assert RowPlan(rows).ordered(3, None) is rows
    turned = RowPlan(rows, order=lambda n, epoch: np.roll(np.arange(n), epoch))
    assert list(turned.ordered(1, 2)) == [9, 5, 7, 2]
    seeded = RowPlan(rows, order=4)
    assert list(seeded.ordered(1, None)) == list(rows[epoch_order(4, 4, 1)])
    assert list(seeded.ordered(1, 2)) == list(rows[epoch_order(4, 4, 1, 2)])
    assert seeded.begun() is seeded
    assert (RowPlan(rows).minibatches(3, False), RowPlan(rows).minibatches(3, True)) == (2, 1)


# --- folds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, Y])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_folds_hold_each_row_out_once_and_are_alike(k: int, classes: HostArray | None) -> None:
    pairs = folds(24, k, 7, classes)
    assert len(pairs) == k
    assert sorted(r for _, out in pairs for r in out) == list(range(24))
    for rows, out in pairs:
        assert sorted([*rows, *out]) == list(range(24))
        assert list(rows) == sorted(rows)
        assert list(out) == sorted(out)
        assert rows.dtype == out.dtype == np.int32
    sizes = [len(out) for _, out in pairs]
    assert max(sizes) - min(sizes) <= 1
    for c in () if classes is None else np.unique(classes):
        counts = [int((classes[out] == c).sum()) for _, out in pairs]  # type: ignore[index]
        assert max(counts) - min(counts) <= 1


def test_folds_are_a_matter_of_the_seed() -> None:
    def held_out(seed: int) -> list[list[int]]:
        return [list(out) for _, out in folds(24, 3, seed)]

    assert held_out(1) == held_out(1) != held_out(2)


# --- as alone ------------------------------------------------------------------------------------


def assert_folds_as_alone(
    pairs: Pairs | Callable[[arraymlp.sweeps.result.Member], Pairs],
    X_: Any = X,
    y: Any = Y,
    weight: HostArray | None = None,
    **given: Any,
) -> SweepResult:
    """Every member of a sweep over folds as its network alone on the fold's rows."""
    given = {"mode": "grid", "seed": [0, 1], **given}
    result = sweep(X_, y, sample_weight=weight, **given)
    for member in result:
        rows, out = (pairs(member) if callable(pairs) else pairs)[member.fold]
        held_out = (X_[out], y[out], *([] if weight is None else [weight[out]]))
        w = None if weight is None else weight[rows]
        more = {"sample_weight": w, "validation": held_out}
        run = trained_alone(member, X_[rows], y[rows], **{**given, **more})
        assert_as_alone(member, run, RTOL[run.settings.dtype])
    return result


LOTS: dict[str, Any] = {
    "learning_rate": [0.05, 0.2],
    "optimizer": "adam",
    "class_weight": [None, "balanced"],
    "mode": "zip",
    "alpha": [0.1, 0.3],
    "gradient_clip": [1.0, 0.5],
    "dropout": [Dropout(0.1, 0.1), 0.2],
    "label_smoothing": [0.1, 0.0],
    "metrics": "f1",
    "training_error": True,
    "schedule": ["cosine", "step"],
    "weight": WEIGHT,
}


def test_folds_are_as_alone_on_every_backend(backend: Backend, float64: str) -> None:
    given = {"hidden": (), "epochs": 2, **on(backend)}  # JAX compiles for each layer
    result = assert_folds_as_alone(folds(24, 3, 0, Y), cv=3, **given)
    assert [(m.point, m.fold) for m in result] == [(i, f) for i in (0, 1) for f in (0, 1, 2)]


@pytest.mark.parametrize("cv", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_folds_are_as_alone_with_much_that_differs(
    quick_backend: Backend, cv: int, dtype: str
) -> None:
    given = {**LOTS, "cv": cv, "dtype": dtype, **on(quick_backend)}
    result = assert_folds_as_alone(folds(24, cv, 0, Y), **given)
    assert len(result) == 2 * cv
    sizes = {len(rows) for rows, _ in folds(24, cv, 0, Y)}
    assert result.plan.startswith(f"{2 * cv} networks in 1 population\n")
    assert len(sizes) == {2: 1, 3: 1, 5: 2}[cv]


@pytest.mark.parametrize(
    "given",
    [
        {"shuffle": False},
        {"drop_last": True, "batch_size": 5},
        {"window": 8},
        {"order_seed": 3},
        {"weight_average": 0.9},
        {"reduction": "sum", "learning_rate": 0.01},
        {"weight": WEIGHT, "optimizer": "rmsprop", "learning_rate": 0.01},
        {"class_weight": "balanced"},
        {"batch_size": 19},
        {"batch_size": 24 * 4 // 5},
        {"epochs": 0},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:the last . of .. samples do not fill a minibatch")
def test_folds_of_unequal_size_are_as_alone(given: dict[str, Any]) -> None:
    pairs = folds(24, 5, given.get("order_seed", 0), Y)
    assert {len(rows) for rows, _ in pairs} == {19, 20}
    result = assert_folds_as_alone(pairs, cv=5, **given)
    if given.get("batch_size") == 19:  # 19 rows are a minibatch, and 20 are two
        assert "10 networks in 2 populations, which differ in minibatches" in result.plan


@pytest.mark.parametrize("loss", sorted(problems.PROBLEMS))
def test_folds_of_every_loss_are_as_alone(loss: str) -> None:
    X_, y = problems.PROBLEMS[loss]()
    classes = y if y.ndim == 1 else None
    assert_folds_as_alone(
        folds(24, 5, 0, classes), X_, y, weight=WEIGHT, loss=loss, cv=5, training_error=True
    )


def test_every_fold_has_seeds_of_its_own() -> None:
    given = {"seed": [0, 1], "order_seed": [0, 2], "mode": "grid", "cv": 3, "epochs": 0}
    result = sweep(X, Y, **given)
    seeds = [(row["seed"], row["order_seed"]) for row in result.rows]
    drawn = [(s, o) for s in (0, 1) for o in (0, 2)]
    assert seeds == [(3 * s + fold, 3 * o + fold) for s, o in drawn for fold in range(3)]
    assert len(set(seeds)) == 12
    assert [(m.swept["seed"], m.swept["order_seed"]) for m in result] == seeds
    assert len(result.rank()) == 1  # twelve repeats of one setting
    initial = {m.network.layers[0].weights.tobytes() for m in result}
    assert len(initial) == 6  # by seed


def test_folds_that_are_alike_end_unlike() -> None:
    """One fold's rows given thrice: the seeds alone make three networks of it."""
    rows, out = folds(24, 3, 0, Y)[0]
    result = sweep(X, Y, cv=[(rows, out)] * 3, seed=0, mode="grid")
    assert [(row["seed"], row["order_seed"]) for row in result.rows] == [(0, 0), (1, 1), (2, 2)]
    assert len({m.score for m in result}) == 3
    run = result.run(2)
    assert (run.settings.seed, run.settings.order_seed) == (2, 2)


def test_rows_left_over_are_told_of_once() -> None:
    with pytest.warns(UserWarning, match=r"^the last 4 of 20 samples do not fill") as told:
        sweep(X, Y, cv=6, drop_last=True, learning_rate=[0.1, 0.2, 0.3])
    assert len({str(w.message) for w in told}) == len({len(r) for r, _ in folds(24, 6, 0, Y)})


def test_folds_of_two_classes_are_as_alone() -> None:
    y = np.where(Y == 1, 7, 3)
    given = {"cv": 4, "loss": "binary_cross_entropy", "metrics": "roc_auc"}
    result = assert_folds_as_alone(folds(24, 4, 0, y == 7), y=y, **given)
    assert result.score == "validation_roc_auc"
    assert result.greater_is_better


PAIRS: Pairs = [
    (np.arange(10), np.arange(10, 24)),
    (np.arange(4, 24), np.arange(2)),
    (np.asarray([23, 4, 5, *range(6, 22), 0, 1]), np.asarray([22, 2])),
]


@pytest.mark.parametrize("given", [list, iter, lambda pairs: (p for p in pairs)])
def test_pairs_are_as_alone(given: Callable[[Pairs], Any]) -> None:
    in_order = [(np.sort(rows), np.sort(out)) for rows, out in PAIRS]
    result = assert_folds_as_alone(
        in_order, cv=given(PAIRS), order_seed=[0, 5], weight=WEIGHT, dtype="float32"
    )
    assert len(result) == 2 * 2 * 3
    assert "12 networks in 2 populations, which differ in minibatches" in result.plan


@pytest.mark.parametrize("name", ["KFold", "StratifiedKFold", "ShuffleSplit"])
def test_splitters_of_scikit_learn_are_as_alone(name: str) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    splitter = getattr(selection, name)(n_splits=3)
    if name == "ShuffleSplit":
        splitter.random_state = 1
    pairs = [(np.sort(rows), np.sort(out)) for rows, out in splitter.split(X, Y)]
    result = assert_folds_as_alone(pairs, cv=splitter)
    assert len(result) == 6


def test_sparse_rows_have_folds_too() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = np.where(np.abs(X) < 0.7, 0, X)
    for given in ({"cv": 5}, {"order_seed": [0, 1]}):
        ours = sweep(sparse.csr_array(rows), Y, **given, mode="grid", seed=0)
        dense = sweep(rows, Y, **given, mode="grid", seed=0)
        for a, b in zip(ours, dense, strict=True):
            np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-12)


# --- orders --------------------------------------------------------------------------------------

ORDERS: dict[str, Any] = {"order_seed": [0, 1, 2], "mode": "zip", "weight": WEIGHT}


def assert_orders_as_alone(weight: HostArray | None = None, **given: Any) -> SweepResult:
    result = sweep(X, Y, sample_weight=weight, **given)
    for member in result:
        run = trained_alone(member, X, Y, **{**given, "sample_weight": weight})
        assert_as_alone(member, run, RTOL[run.settings.dtype])
    return result


@pytest.mark.parametrize("validation", [None, 0.25, 0.3, problems.labels()], ids=str)
def test_orders_are_as_alone(quick_backend: Backend, validation: Any) -> None:
    given = {**ORDERS, "validation": validation, **on(quick_backend), "class_weight": "balanced"}
    result = assert_orders_as_alone(**given)
    assert result.plan.startswith("3 networks in 1 population\n")
    assert [m.fold for m in result] == [None] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orders_that_some_members_share_are_as_alone(quick_backend: Backend, dtype: str) -> None:
    given = {"order_seed": [0, 1, 1], "hidden": (4,), "epochs": 2, "dtype": dtype}
    assert_orders_as_alone(**given, **on(quick_backend))


def test_a_fraction_is_held_out_by_each_order_seed() -> None:
    result = sweep(X, Y, order_seed=[0, 1, 2], validation=0.25)
    for member in result:
        rows, out = split(24, 0.25, member.swept["order_seed"], Y)
        run = result.run(member.number)
        np.testing.assert_array_equal(run.data.X, X[rows])
        np.testing.assert_array_equal(run.data.X_val, X[out])


@pytest.mark.parametrize("compact", [True, False])
def test_members_with_row_plans_stop_early_as_alone(quick_backend: Backend, compact: bool) -> None:
    given = {
        "learning_rate": [0.05, 0.3],
        "early_stopping": [EarlyStopping("validation_loss", 1), EarlyStopping(patience=2)],
        "class_weight": [None, "balanced"],
        "mode": "zip",
        "epochs": 9,
        "compact": compact,
        **on(quick_backend),
    }
    result = assert_folds_as_alone(folds(24, 5, 0, Y), cv=5, weight=WEIGHT, **given)
    assert len({len(m.history) for m in result}) > 1
    assert any(m.best_epoch < len(m.history) - 1 for m in result)


class Turning:
    """An order that remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, n: int, epoch: int) -> HostArray:
        self.asked += 1
        return np.roll(np.arange(n), self.asked)


@pytest.mark.parametrize("memory", [None, "1.2MB"])
def test_an_order_of_ones_own_is_as_alone(memory: str | None) -> None:
    order = Turning()
    given = {"shuffle": order, "cv": 3, "mode": "grid", "seed": range(4), "memory": memory}
    result = sweep(X, Y, **given)
    assert order.asked == 0  # each population has its own
    assert (" stacks" in result.plan) is (memory is not None)
    for member in result:
        rows, out = folds(24, 3, 0, Y)[member.fold]
        of_fold = {**given, "shuffle": Turning(), "validation": (X[out], Y[out])}
        assert_as_alone(member, trained_alone(member, X[rows], Y[rows], **of_fold), 1e-9)


def test_an_order_is_asked_once_an_epoch_by_groups_of_unequal_size(numpy_backend: Backend) -> None:
    """As where a member that shares a plan has stopped early, and left the population."""
    order = Turning()
    shared = RowPlan(np.arange(16), order=order)
    planned(numpy_backend, [RowPlan(np.arange(8, 24)), shared, shared])
    assert order.asked == 1


def test_an_order_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="must give 16 numbers of rows"):
        sweep(X, Y, cv=3, shuffle=lambda n, epoch: np.arange(n + 1))


@pytest.mark.parametrize(("memory", "stacks", "atol"), [("0.4MB", 45, 1e-15), ("2MB", 9, 0)])
def test_stacks_of_folds_are_as_the_whole(
    memory: str, stacks: int, atol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit where each stack has all folds: a last minibatch is filled up for the longest."""
    monkeypatch.setattr(partition, "cores", lambda: 1)
    given = {"cv": 5, "learning_rate": [0.05, 0.1, 0.2], "seed": range(3), "mode": "grid"}
    whole, cut = sweep(X, Y, **given), sweep(X, Y, memory=memory, **given)
    assert " in 1 population\n" in whole.plan
    assert " stacks" not in whole.plan
    assert f" in {stacks} stacks of up to {45 // stacks}" in cut.plan
    for a, b in zip(cut, whole, strict=True):
        if atol == 0:
            assert_same_bits(a, b)
        for p, q in zip(parameters(a.network), parameters(b.network), strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-12, atol=atol)


def test_a_fold_that_diverges_changes_no_bit_of_the_others() -> None:
    y = problems.numbers()[1]
    given = {"cv": 5, "mode": "grid", "seed": 0, "dtype": "float32", "compact": False}
    wild = sweep(X, y, learning_rate=[0.02, 1e3, 0.05], epochs=5, **given)
    calm = sweep(X, y, learning_rate=[0.02, 0.03, 0.05], epochs=5, **given)
    for a, b in zip(wild, calm, strict=True):
        if a.point == 1:
            assert a.status == "diverged"
        else:
            assert_same_bits(a, b)


# --- nothing is looked at ------------------------------------------------------------------------

GUARDED: dict[str, dict[str, Any]] = {
    "folds": {"cv": 5},
    "folds with lots": {**LOTS, "cv": 5, "early_stopping": "validation_loss"},
    "orders": {"order_seed": [0, 1]},
    "orders with lots": {**LOTS, "order_seed": [0, 1], "validation": 0.3},
}


def guarded_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every look within an epoch or its evaluation raise; the list gets each epoch's steps."""
    run_epoch, evaluations = loop.run_epoch, loop.evaluations
    steps: list[int] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        raise LookedError

    def guarded(function: Callable[..., Any], *args: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name in LOOKS:
                patch.setattr(ARRAY, name, look, raising=False)
            return function(*args)

    def run_epoch_guarded(*args: Any) -> Any:
        done = guarded(run_epoch, *args)
        steps.append(args[1].partial_epoch.steps)
        return done

    monkeypatch.setattr(loop, "run_epoch", run_epoch_guarded)
    monkeypatch.setattr(loop, "evaluations", lambda *args: guarded(evaluations, *args))
    return steps


@pytest.mark.parametrize("given", GUARDED.values(), ids=list(GUARDED))
def test_an_epoch_looks_at_nothing_and_brings_its_figures_at_once(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, strict_backend: Backend
) -> None:
    steps = guarded_epochs(monkeypatch)
    to_numpy, so_far = Backend.to_numpy, []  # epochs begun before each transfer

    def to_numpy_noted(backend: Backend, array: Any) -> Any:
        so_far.append(len(steps))
        return to_numpy(backend, array)

    monkeypatch.setattr(Backend, "to_numpy", to_numpy_noted)
    given = {"seed": [0, 1], "epochs": 4, **given, "sample_weight": given.get("weight")}
    given.pop("weight", None)
    result = sweep(X, Y, **given, **on(strict_backend))
    assert all(m.status in ("finished", "stopped") for m in result)
    assert steps == [3] * 4
    assert [so_far.count(epoch) for epoch in (1, 2, 3)] == [1, 1, 1]


def test_the_guard_catches_a_look(monkeypatch: pytest.MonkeyPatch, strict_backend: Backend) -> None:
    planned_minibatches = PlannedEpoch.minibatches

    def looking(*args: Any) -> Any:
        for batch in planned_minibatches(*args):
            float(batch.x[0, 0, 0])
            yield batch

    given = {"cv": 5, **on(strict_backend)}
    monkeypatch.setattr(PlannedEpoch, "minibatches", looking)
    sweep(X, Y, **given)
    guarded_epochs(monkeypatch)
    with pytest.raises(LookedError):
        sweep(X, Y, **given)
