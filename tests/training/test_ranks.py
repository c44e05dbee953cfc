"""One training by several processes: the bits of one, and no rank waits for ever."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import (
    Backend,
    Checkpoint,
    CheckpointError,
    EarlyStopping,
    RankError,
    Run,
    train,
)
from arraymlp.callbacks import Callback
from arraymlp.data.stripes import own_rows, rows_of_shards, striped_order
from arraymlp.steps.shards import add_up, leaf, padding, places
from conftest import assert_same
from ranks import ThreadGroup, on_ranks

pytestmark = pytest.mark.filterwarnings("ignore:.*do not fill a minibatch")

RNG = np.random.default_rng(5)
N, WIDTH = 203, 6
X = RNG.normal(size=(N, WIDTH)).astype(np.float32)
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
NUMBERS = (X[:, :2] ** 2).sum(axis=1) * 1e4 + 3e4
WEIGHT = RNG.random(N)
BASE: dict[str, Any] = {"hidden": (9, 7), "epochs": 3, "batch_size": 20, "validation": 0.2}

TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sgd, sum": {"optimizer": "sgd", "learning_rate": 0.01, "reduction": "sum"},
    "dropout": {"dropout": 0.3},
    "averages": {"weight_average": 0.9},
    "clipping": {"gradient_clip": 0.05},
    "weights": {"sample_weight": WEIGHT, "class_weight": "balanced"},
    "alpha": {"alpha": 0.1, "l2": 0.01},
    "smoothing": {"label_smoothing": 0.1},
    "early stopping": {"early_stopping": EarlyStopping(patience=1), "epochs": 12},
    "metrics": {"metrics": ["f1", "roc_auc"][:1], "training_error": True},
    "numbers": {"y": NUMBERS, "standardize": True, "metrics": ["r2"]},
    "population": {"seed": [1, 2, 3], "learning_rate": [0.001, 0.01, 0.1], "dropout": 0.2},
    "snapshots": {"snapshots": 2},
    "no shuffling": {"shuffle": False, "drop_last": True},
    "windows": {"window": 47},
    "windows in order": {"window": 47, "shuffle": False},
    "own order": {"shuffle": lambda n, epoch: np.roll(np.arange(n), epoch)},
    "float64": {"dtype": "float64"},
}


def grouped(group: ThreadGroup | None, **settings: Any) -> Run:
    own = {"shards": 8, **BASE, **settings}
    rows, y = own.pop("X", X), own.pop("y", LABELS)
    own["validation"] = own["validation"] if isinstance(rows, np.ndarray) else None
    return train(rows, y, group=group, **own)


def arrays_of(run: Run) -> list[Any]:
    parts = [a for layer in run.network.layers for a in (layer.weights, layer.bias)]
    return parts + [a for state in run.states for both in state for a in _flat(both)]


def _flat(state: Any) -> list[Any]:
    if state is None:
        return []
    return list(state) if isinstance(state, tuple) else [state]


def records(run: Run) -> list[dict[str, Any]]:
    time = ("seconds", "samples_per_s")
    return [{k: v for k, v in r.items() if k not in time} for r in run.history]


def assert_same_bits(runs: Any, alone: Run) -> None:
    for run in runs:
        if isinstance(run, BaseException):
            raise run
        to_numpy = run.backend.to_numpy
        for a, b in zip(arrays_of(run), arrays_of(alone), strict=True):
            assert np.asarray(to_numpy(a)).tobytes() == np.asarray(to_numpy(b)).tobytes()
        assert records(run) == records(alone)
        assert (run.ended, run.best_epoch) == (alone.ended, alone.best_epoch)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("kind", TRAININGS)
def test_ranks_have_the_bits_of_one_process(kind: str, size: int) -> None:
    alone = grouped(None, **TRAININGS[kind])
    runs = on_ranks(size, lambda group: grouped(group, **TRAININGS[kind]))
    assert_same_bits(runs, alone)


@pytest.mark.parametrize("size", [1, 3, 5, 8])
def test_any_number_of_ranks_has(size: int) -> None:
    settings = {"dropout": 0.2, "window": 60, "seed": [3, 4]}
    runs = on_ranks(size, lambda group: grouped(group, **settings))
    assert_same_bits(runs, grouped(None, **settings))


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 20])
def test_any_number_of_shards_is_the_plain_training_to_rounding(
    shards: int, quick_backend: Backend
) -> None:
    how = {**BASE, "dropout": 0.2, "sample_weight": WEIGHT, "engine": "array"}
    plain = train(X, LABELS, backend=quick_backend, **how)
    run = train(X, LABELS, backend=quick_backend, shards=shards, **how)
    for a, b in zip(arrays_of(run), arrays_of(plain), strict=True):
        assert_same(a, b, rtol=2e-4, atol=2e-5)
    assert run.engine == "array"


def test_ranks_compute_on_any_backend(quick_backend: Backend) -> None:
    how = {"backend": quick_backend, "dropout": 0.2, "weight_average": 0.9, "shards": 3}
    runs = on_ranks(2, lambda group: grouped(group, **how))
    assert_same_bits(runs, grouped(None, **how))


# Rows that are read


class Counted:
    """An array that is read by slices, and says which rows were."""

    def __init__(self, values: Any) -> None:
        self.values, self.read = values, np.zeros(len(values), int)
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, rows: slice) -> Any:
        self.read[rows] += 1
        return self.values[rows]


@pytest.mark.parametrize("settings", [{}, {"shuffle": False}, {"dropout": 0.2, "drop_last": True}])
def test_streams_have_the_bits_of_arrays(settings: dict[str, Any]) -> None:
    how = {"window": 60, "validation": None, **settings}
    alone = grouped(None, **how)
    assert_same_bits([grouped(None, X=Counted(X), **how)], alone)
    for size in (2, 3):
        assert_same_bits(on_ranks(size, lambda g: grouped(g, X=Counted(X), **how)), alone)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_last_window_with_more_rows_of_a_shard_than_a_whole_one_has(shuffle: bool) -> None:
    few = slice(0, 21)  # a window of 11 rows, in which shard 3 of 8 has 1, and one of 10 with 2
    how = {"y": LABELS[few], "window": 11, "batch_size": 11, "shuffle": shuffle, "validation": None}
    alone = grouped(None, X=X[few], **how)
    for size in (5, 8):
        assert_same_bits(on_ranks(size, lambda g: grouped(g, X=Counted(X[few]), **how)), alone)


def test_a_rank_reads_the_rows_of_its_own_shards_alone() -> None:
    sources = [Counted(X) for _ in range(4)]
    how = {"window": 40, "validation": None, "epochs": 1}
    runs = on_ranks(4, lambda g: grouped(g, X=sources[g.rank], **how))
    assert all(isinstance(run, Run) for run in runs), runs
    before = [Counted(X) for _ in range(4)]
    on_ranks(4, lambda g: grouped(g, X=before[g.rank], **{**how, "epochs": 0}))
    own = [a.read - b.read for a, b in zip(sources, before, strict=True)]
    assert np.array_equal(sum(own), np.ones(N, int))  # each row once, by one rank


def test_rows_of_stripes() -> None:
    for rows, size, shards in [(40, 20, 8), (47, 20, 8), (7, 7, 7), (23, 10, 3), (5, 20, 8)]:
        counts = rows_of_shards(rows, size, shards)
        assert counts.sum() == rows
        order = striped_order(rows, size, shards, np.random.default_rng(0))
        assert np.array_equal(np.sort(order), np.arange(rows))
        ends = np.cumsum([0, *counts.sum(axis=0)])
        position = 0
        for its_counts in counts:
            for s, n in enumerate(its_counts):
                drawn = order[position : position + n]
                assert ((drawn >= ends[s]) & (drawn < ends[s + 1])).all()
                position += n
        for in_order in (True, False):
            parts = [own_rows(rows, size, shards, range(s, s + 1), in_order) for s in range(shards)]
            assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))


def test_the_tree_is_the_same_however_it_is_cut() -> None:
    for shards in (1, 2, 3, 5, 8, 13):
        leaves = [(leaf(s), f"{s}") for s in range(shards)]
        whole = add_up([*leaves, *padding(shards)], lambda a, b: f"({a}+{b})")
        for cut in range(1, shards):
            left = add_up(leaves[:cut], lambda a, b: f"({a}+{b})")
            right = add_up([*leaves[cut:], *padding(shards)], lambda a, b: f"({a}+{b})")
            assert add_up([*left, *right], lambda a, b: f"({a}+{b})") == whole
            assert [node for node, _ in left] == [n for n, _ in places(99, shards, range(cut))]
    assert whole[0][1].startswith("((((0+1)+(2+3))+((4+5)+(6+7)))+(")


def test_an_order_that_is_drawn_is_rank_0s() -> None:
    def work(group: ThreadGroup) -> Run:
        drawn = np.random.default_rng(group.rank)
        return grouped(group, shuffle=lambda n, epoch: drawn.permutation(n))

    drawn = np.random.default_rng(0)
    alone = grouped(None, shuffle=lambda n, epoch: drawn.permutation(n))
    assert_same_bits(on_ranks(2, work), alone)


# One of them fails


def errors(results: Any) -> list[str]:
    return [f"{type(r).__name__}: {r}" for r in results]


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_ends_all_with_its_message(rank: int) -> None:
    def work(group: ThreadGroup) -> Run:
        y = LABELS[:-1] if group.rank == rank else LABELS
        return grouped(group, y=y)

    told = errors(on_ranks(3, work))
    assert told[rank].startswith("ValueError: ")
    others = [text for r, text in enumerate(told) if r != rank]
    assert all(text.startswith(f"RankError: rank {rank}: ") for text in others), told
    assert all(told[rank].removeprefix("ValueError: ") in text for text in others), told


def test_an_error_while_reading_ends_all() -> None:
    bad = np.tile(X, (10, 1))
    bad[1900, 0] = np.nan  # far from the rows that are looked at beforehand
    y = np.tile(LABELS, 10)

    def work(group: ThreadGroup) -> Run:
        return grouped(group, X=Counted(bad), y=y, window=60, validation=None)

    told = sorted(errors(on_ranks(2, work)))
    assert told[0].startswith("RankError: rank")
    assert told[1].startswith("ValueError: X must be finite, but X[1900, 0]")
    assert "X[1900, 0]" in told[0]


def test_an_error_of_a_callback_ends_all() -> None:
    def raising(event: Any) -> None:
        raise KeyError("of the user's")

    told = errors(on_ranks(2, lambda group: grouped(group, callbacks=raising)))
    assert told == ['KeyError: "of the user\'s"', 'RankError: rank 0: KeyError: "of the user\'s"']


def test_a_rank_error_of_a_callback_does() -> None:
    def raising(event: Any) -> None:  # as a training within it would
        raise RankError("of another group")

    told = errors(on_ranks(2, lambda group: grouped(group, callbacks=raising)))
    assert told == [
        "RankError: of another group",
        "RankError: rank 0: RankError: of another group",
    ]


def test_an_error_within_the_exchange_aborts() -> None:
    class Breaking(ThreadGroup):
        def exchange(self, pieces: Any, lengths: Any) -> Any:
            if self.rank == 1:
                raise MemoryError("no more")
            return super().exchange(pieces, lengths)

    boards = []

    def work(group: ThreadGroup) -> Run:
        boards.append(group.board)
        return grouped(Breaking(group.board, group.rank))

    results = on_ranks(2, work)
    assert isinstance(results[1], MemoryError)
    assert "rank 1 of 2" in boards[0].aborted
    assert "MemoryError: no more" in boards[0].aborted


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"X": X[::-1].copy()}, "X at rank 0 is"),
        ({"shards": 4}, "shards"),
        ({"checkpoint": "run.ckpt"}, "checkpoint"),
    ],
)
def test_ranks_that_are_given_something_else_are_told(
    other: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def work(group: ThreadGroup) -> Run:
        return grouped(group, **(other if group.rank == 2 else {}))

    results = on_ranks(3, work)
    assert all(isinstance(r, RankError) for r in results), results
    assert len({str(r) for r in results}) == 1
    assert "rank 2 on" in str(results[0])
    assert told in str(results[0])
    assert "rank 1 on" not in str(results[0])


def test_versions_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from arraymlp.training.ranks import agreement

    own, second = agreement.versions, threading.local()

    def versions() -> dict[str, str]:
        known = own()
        return {**known, "NumPy": "1.0"} if hasattr(second, "here") else known

    def work(group: ThreadGroup) -> Run:
        if group.rank == 1:
            second.here = True
        return grouped(group)

    monkeypatch.setattr(agreement, "versions", versions)
    told = errors(on_ranks(2, work))
    assert all(f"NumPy is 1.0, at rank 0 {np.__version__}" in text for text in told), told


def test_without_mpi_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ModuleNotFoundError, match="pip install mpi4py mpich"):
        train(X, LABELS, group="mpi")


def test_too_few_shards_and_too_many() -> None:
    results = on_ranks(3, lambda group: grouped(group, shards=2))
    assert all("give shards=3 or more" in str(r) for r in results), results
    with pytest.raises(ValueError, match=r"shards=8 cannot be cut out of .* batch_size=5"):
        grouped(None, batch_size=5)
    for name in ("probes", "profile"):
        with pytest.raises(ValueError, match=f"{name}=True"):
            grouped(None, **{name: True})
    with pytest.raises(ValueError, match="group must be"):
        grouped("mpj")  # type: ignore[arg-type]


def test_weights_that_drift_apart_are_noticed() -> None:
    class Changing(Callback):
        def __call__(self, event: Any) -> None:
            event.network.layers[0].bias += 1.0

    told = errors(on_ranks(2, lambda group: grouped(group, callbacks=Changing())))
    assert all("RankError: after epoch 1 the weights of rank 1" in text for text in told), told


def test_members_with_rows_of_their_own_are_refused() -> None:
    with pytest.raises(ValueError, match="shards"):
        grouped(None, seed=[0, 1], validation="in_turn")


# Rank 0 prints, calls back and saves


def test_rank_0_is_called_back_and_all_obey() -> None:
    seen: list[int] = []

    def stop(event: Any) -> bool:
        seen.append(event.record["epoch"])
        return event.record["epoch"] == 1

    runs = on_ranks(2, lambda group: grouped(group, callbacks=stop, epochs=9))
    assert seen == [0, 1]
    assert_same_bits(runs, grouped(None, callbacks=stop, epochs=9))


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step, self.losses = step, list[float]()

    def on_step(self, event: Any) -> bool:
        self.losses.append(float(event.loss))
        return event.step == self.step


def test_steps_are_watched_by_rank_0() -> None:
    watchers = [StopAt(13), StopAt(13)]
    runs = on_ranks(2, lambda group: grouped(group, callbacks=watchers[group.rank]))
    alone = StopAt(13)
    assert_same_bits(runs, grouped(None, callbacks=alone))
    assert (watchers[0].losses, watchers[1].losses) == (alone.losses, [])
    assert len(alone.losses) == 13


def test_a_checkpoint_goes_on_with_any_number_of_ranks(tmp_path: Path) -> None:
    alone = grouped(None, epochs=5, weight_average=0.9)
    path = tmp_path / "run.ckpt"

    def broken_off(event: Any) -> None:
        if event.record["epoch"] == 2:
            raise InterruptedError("power")

    def work(group: ThreadGroup | None, **more: Any) -> Run:
        kept = Checkpoint(path, every="1 epoch")
        return grouped(group, epochs=5, weight_average=0.9, checkpoint=kept, **more)

    results = on_ranks(2, lambda group: work(group, callbacks=broken_off))
    assert isinstance(results[0], InterruptedError)
    assert isinstance(results[1], RankError)
    assert_same_bits(on_ranks(4, work), alone)
    assert_same_bits([*on_ranks(2, work), work(None)], alone)  # it is finished

    told = errors(on_ranks(2, lambda g: grouped(g, epochs=6, checkpoint=path)))
    assert told[0].startswith("CheckpointError")
    assert "RankError: rank 0: CheckpointError" in told[1]
    with pytest.raises(CheckpointError, match="shards"):
        grouped(None, epochs=5, weight_average=0.9, checkpoint=path, shards=4)


def test_a_run_goes_on_in_a_group(tmp_path: Path) -> None:
    first = grouped(None, epochs=2, total_epochs=5)
    runs = on_ranks(2, lambda g: train(network=first, epochs=3, group=g))
    assert_same_bits(runs, train(network=grouped(None, epochs=2, total_epochs=5), epochs=3))


def test_an_error_that_all_have_is_each_ones_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = errors(on_ranks(2, lambda group: grouped(group, learning_rate=-1.0)))
    assert all(text.startswith("ValueError: learning_rate") for text in told), told


def test_a_signal_ends_all_at_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from arraymlp.training import train_function

    interruptible: Callable[[], Any] = train_function.interruptible

    class Pressing(Callback):
        """Has the signal come to rank 1 alone, in the middle of an epoch."""

        def on_step(self, event: Any) -> None:
            if event.step == 11:
                noted[1].requested = True

    noted: dict[int, Any] = {}

    def work(group: ThreadGroup) -> Run:
        from contextlib import contextmanager

        @contextmanager
        def noting() -> Any:
            with interruptible() as interrupt:
                import threading

                noted[ranks_by_thread[threading.get_ident()]] = interrupt
                yield interrupt

        import threading

        ranks_by_thread[threading.get_ident()] = group.rank
        monkeypatch.setattr(train_function, "interruptible", noting)
        return grouped(group, callbacks=Pressing())

    ranks_by_thread: dict[int, int] = {}
    runs = on_ranks(2, work)
    assert [run.ended for run in runs] == ["interrupted"] * 2
    assert runs[0].steps_done == runs[1].steps_done == 12
