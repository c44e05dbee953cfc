"""train()'s alpha, scikit-learn's L2 in the summed loss; orders of one's own; sparse data."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, MultilayerPerceptron, Run
from arraymlp.callbacks import EpochEnd, StepEnd
from arraymlp.initializers import normal
from arraymlp.optimizers import SGD, Adam
from conftest import assert_same, on_host

X, Y = problems.labels()
N, BATCH = problems.N, problems.BATCH
RAGGED = 10  # two of them, and one of four rows
WEIGHT = np.random.default_rng(40).uniform(0.2, 3, N)
HostArray = np.ndarray[Any, Any]
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum"])
WEIGHTED = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def train(X_: Any = X, y: Any = Y, backend: Backend | str = "numpy", **given: Any) -> Run:
    """arraymlp.train on the small problem, from weights that are large enough to matter."""
    if isinstance(backend, Backend):
        given |= {"device": backend.device}
        backend = backend.name
    defaults: dict[str, Any] = {"batch_size": BATCH, "epochs": 2, "optimizer": SGD()}
    if "network" not in given:
        made = {"hidden": (6,), "activation": "tanh", "initializer": normal(0.5)}
        defaults |= made | {"dtype": "float64"}
    return arraymlp.train(X_, y, backend=backend, **defaults | given)


def parameters(network: MultilayerPerceptron) -> list[HostArray]:
    return [np.array(on_host(a)) for layer in network.layers for a in (layer.weights, layer.bias)]


def assert_close(ours: Any, theirs: Any, rtol: float = 1e-11, atol: float = 1e-13) -> None:
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def assert_same_bits(ours: MultilayerPerceptron, theirs: MultilayerPerceptron) -> None:
    for a, b in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def differ(ours: MultilayerPerceptron, theirs: MultilayerPerceptron) -> float:
    return max(abs(a - b).max() for a, b in zip(parameters(ours), parameters(theirs), strict=True))


def one_hot_loss(P: list[HostArray], x: HostArray, y: HostArray) -> HostArray:
    """Each row's softmax cross-entropy in a network of one layer of tanh."""
    s = np.tanh(x @ P[0] + P[1]) @ P[2] + P[3]
    return np.asarray(np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(y)), y])


# --- alpha ---------------------------------------------------------------------------------------


@REDUCTIONS
@WEIGHTED
def test_the_gradient_is_that_of_the_penalised_loss(
    backend: Backend, float64: str, weight: HostArray | None, reduction: str
) -> None:
    """One step of gradient descent, against central differences."""
    alpha, w = 0.7, np.ones(N) if weight is None else weight
    given = {"batch_size": N, "backend": backend, "sample_weight": weight, "alpha": alpha}
    P = parameters(train(**given, epochs=0).network)
    after = parameters(train(**given, epochs=1, learning_rate=0.01, reduction=reduction).network)
    divisor = w.sum() if reduction == "mean" else 1

    def objective() -> float:
        penalty = alpha / 2 * ((P[0] ** 2).sum() + (P[2] ** 2).sum())  # and not of biases
        return float(((w * one_hot_loss(P, X, Y)).sum() + penalty) / divisor)

    before = [p.copy() for p in P]
    for p, old, new in zip(P, before, after, strict=True):
        slopes = np.empty_like(p)
        for i in np.ndindex(*p.shape):
            h = 1e-5
            p[i] = old[i] + h
            up = objective()
            p[i] = old[i] - h
            slopes[i] = (up - objective()) / (2 * h)
            p[i] = old[i]
        largest = abs(slopes).max()
        np.testing.assert_allclose((old - new) / 0.01, slopes, atol=1e-6 * largest)


@pytest.mark.parametrize("optimizer", [SGD(0.9, nesterov=True), Adam()], ids=["sgd", "adam"])
def test_with_batches_alike_it_is_l2_over_the_batch_size(
    backend: Backend, float64: str, optimizer: Any
) -> None:
    given = {"optimizer": optimizer, "learning_rate": 0.05, "backend": backend, "epochs": 4}
    ours = train(**given, alpha=0.8).network
    assert_close(ours, train(**given, l2=0.8 / BATCH).network)
    assert differ(ours, train(**given).network) > 1e-3


def test_summed_it_is_l2(quick_backend: Backend) -> None:
    given = {"learning_rate": 0.01, "backend": quick_backend, "epochs": 4, "reduction": "sum"}
    ours = train(**given, alpha=0.8, batch_size=RAGGED).network
    assert_close(ours, train(**given, l2=0.8, batch_size=RAGGED).network)
    assert differ(ours, train(**given, batch_size=RAGGED).network) > 1e-3


def transcription(
    P: list[HostArray], weight: HostArray, alpha: float, reduction: str, eta: float, epochs: int
) -> tuple[list[HostArray], list[float], list[float]]:
    """Gradient descent in plain NumPy, rows in order: parameters, losses and penalties."""
    P = [p.copy() for p in P]
    losses, penalties = [], []
    for _ in range(epochs):
        loss = penalty = total = 0.0
        for start in range(0, N, RAGGED):
            x, y, w = (a[start : start + RAGGED] for a in (X, Y, weight))
            loss += (w * one_hot_loss(P, x, y)).sum()
            penalty += alpha / 2 * ((P[0] ** 2).sum() + (P[2] ** 2).sum())
            total += w.sum()
            z = np.tanh(x @ P[0] + P[1])
            e = np.exp(z @ P[2] + P[3])
            ds = w[:, None] * (e / e.sum(axis=1, keepdims=True) - np.eye(3)[y])
            dh = ds @ P[2].T * (1 - z**2)
            G = [x.T @ dh, dh.sum(axis=0), z.T @ ds, ds.sum(axis=0)]
            G[0] += alpha * P[0]
            G[2] += alpha * P[2]
            divisor = w.sum() if reduction == "mean" else 1
            P = [p - eta * g / divisor for p, g in zip(P, G, strict=True)]
        losses.append(loss / total)
        penalties.append(penalty / total)
    return P, losses, penalties


@REDUCTIONS
@WEIGHTED
def test_with_a_ragged_last_batch_it_is_the_transcription(
    backend: Backend, float64: str, weight: HostArray | None, reduction: str
) -> None:
    eta = 0.2 if reduction == "mean" else 0.02
    given = {"batch_size": RAGGED, "shuffle": False, "backend": backend, "learning_rate": eta}
    given |= {"sample_weight": weight, "alpha": 0.5, "reduction": reduction}
    start = parameters(train(**given, epochs=0).network)
    run = train(**given, epochs=5)
    w = np.ones(N) if weight is None else weight
    P, losses, penalties = transcription(start, w, 0.5, reduction, eta, 5)
    for ours, theirs in zip(parameters(run.network), P, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(run.history["penalty"], penalties, rtol=1e-12)


def test_weights_that_are_all_alike_are_a_smaller_alpha() -> None:
    ours = train(alpha=0.6, sample_weight=np.full(N, 3.0)).network
    assert_close(ours, train(alpha=0.2).network)


def test_without_it_there_is_no_penalty_in_the_history() -> None:
    assert "penalty" not in train().history[-1]
    assert "penalty" not in train(l2=0.1).history[-1]
    assert "penalty" in train(alpha=0.1).history[-1]


def test_an_epoch_broken_off_has_the_penalty_of_all_its_steps() -> None:
    class StopAfterTwo:
        def __call__(self, event: EpochEnd) -> None:
            pass

        def on_step(self, event: StepEnd) -> bool:
            return event.step == 2

    given = {"alpha": 0.5, "epochs": 1, "learning_rate": 0.5}
    first = train(**given, callbacks=[StopAfterTwo()])
    assert first.partial_epoch.steps == 2
    rest = arraymlp.train(network=first, epochs=1)
    whole = train(**given)
    part, both, expected = (e["penalty"] for e in (*rest.history, whole.history[0]))
    assert both == pytest.approx(expected, rel=1e-14)
    assert part != pytest.approx(expected, rel=1e-3)
    assert_same_bits(rest.network, whole.network)


@REDUCTIONS
def test_each_member_has_its_own(quick_backend: Backend, reduction: str) -> None:
    alphas, seeds = (0.0, 0.3, 2.0), (5, 6, 7)
    eta = 0.1 if reduction == "mean" else 0.01
    given = {"backend": quick_backend, "learning_rate": eta, "reduction": reduction, "epochs": 3}
    given |= {"batch_size": RAGGED, "sample_weight": WEIGHT}
    population = train(**given, alpha=alphas, seed=seeds)
    for k, (alpha, seed) in enumerate(zip(alphas, seeds, strict=True)):
        alone = train(**given, alpha=alpha, seed=seed)
        assert_close(population.network.member(k), alone.network)
        penalties = [of[k] for of in population.history["penalty"]]
        theirs = alone.history["penalty"] if alpha else [0.0] * 3
        np.testing.assert_allclose(penalties, theirs, rtol=1e-12)


def test_each_member_has_its_own_of_weights_of_its_own(quick_backend: Backend) -> None:
    each = np.stack([WEIGHT, WEIGHT[::-1]])
    given = {"backend": quick_backend, "learning_rate": 0.1, "batch_size": RAGGED, "seed": (5, 6)}
    population = train(**given, alpha=(0.3, 2.0), sample_weight=each)
    for k in range(2):
        own = {"alpha": (0.3, 2.0)[k], "seed": (5, 6)[k], "sample_weight": each[k]}
        assert_close(population.network.member(k), train(**given | own).network)


def test_it_pulls_weights_and_not_biases() -> None:
    run = train(np.zeros_like(X), Y, alpha=N, learning_rate=0.1, epochs=40, batch_size=N)
    assert abs(run.network.layers[0].weights).max() < 0.05
    network = train(np.zeros_like(X), Y, epochs=0, batch_size=N).network
    np.testing.assert_array_equal(abs(network.layers[0].bias) > 0.01, True)


def test_a_minibatch_that_weighs_nothing_changes_nothing(quick_backend: Backend) -> None:
    """Without loss there is nothing that the penalty could be weighed against."""
    weight = np.where(np.arange(N) < BATCH, 0.0, WEIGHT)
    given = {"alpha": 0.5, "shuffle": False, "backend": quick_backend, "learning_rate": 0.05}
    ours = train(**given, sample_weight=weight)
    rest = train(X[BATCH:], Y[BATCH:], **given, sample_weight=weight[BATCH:])
    assert_close(ours.network, rest.network)
    assert np.isfinite(ours.history["penalty"]).all()


BAD = {"negative": -0.1, "infinite": np.inf, "nan": np.nan, "a string": "much", "true": True}


@pytest.mark.parametrize("alpha", BAD.values(), ids=BAD)
def test_bad_values_are_refused(alpha: Any) -> None:
    with pytest.raises(ValueError, match="alpha must be a number from 0"):
        train(alpha=alpha)


def test_values_for_members_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha has 2 values"):
        train(alpha=(0.1, 0.2))
    with pytest.raises(ValueError, match="alpha has 2 values"):
        train(alpha=(0.1, 0.2), seed=(1, 2, 3))


# --- steps that are watched ----------------------------------------------------------------------


class Watch:
    """Keeps what it is told of steps."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.loss: list[Any] = []
        self.penalty: list[Any] = []

    def __call__(self, event: EpochEnd) -> None:
        pass

    def on_step(self, event: StepEnd) -> None:
        self.rows.append(event.rows)
        self.loss.append(event.loss)
        self.penalty.append(event.penalty)


@WEIGHTED
def test_steps_tell_rows_and_penalty(
    backend: Backend, float64: str, weight: HostArray | None
) -> None:
    watch, w = Watch(), np.ones(N) if weight is None else weight
    given = {"alpha": 0.5, "batch_size": RAGGED, "sample_weight": weight, "shuffle": False}
    run = train(**given, epochs=1, backend=backend, callbacks=[watch])
    assert watch.rows == [10, 10, 4]
    totals = [w[:10].sum(), w[10:20].sum(), w[20:].sum()]
    before = parameters(train(**given, epochs=0, backend=backend).network)
    first = 0.5 / 2 * ((before[0] ** 2).sum() + (before[2] ** 2).sum()) / totals[0]
    penalties, losses = (np.array([float(v) for v in told]) for told in (watch.penalty, watch.loss))
    assert penalties[0] == pytest.approx(first, rel=1e-12)
    for name, told in (("penalty", penalties), ("loss", losses)):
        assert run.history[0][name] == pytest.approx((told * totals).sum() / w.sum(), rel=1e-12)


def test_without_alpha_steps_tell_no_penalty() -> None:
    watch = Watch()
    train(callbacks=[watch], epochs=1)
    assert watch.penalty == [0.0] * 3


def test_of_a_population_each_member_is_told(backend: Backend) -> None:
    watch = Watch()
    given = {"alpha": (0.1, 0.2, 0.0), "seed": (1, 1, 1), "dtype": "float32", "epochs": 1}
    given |= {"hidden": ()}
    run = train(callbacks=[watch], backend=backend, **given)
    assert all(tuple(told.shape) == (3,) for told in watch.penalty)
    first = on_host(watch.penalty[0])
    assert first[1] == pytest.approx(2 * first[0], rel=1e-6)
    assert first[2] == 0
    mean = np.mean([on_host(told) for told in watch.penalty], axis=0)
    np.testing.assert_allclose(run.history[0]["penalty"], mean, rtol=1e-6)


# --- orders of one's own -------------------------------------------------------------------------


def test_rows_are_trained_on_in_the_order_given(quick_backend: Backend) -> None:
    orders = [np.random.default_rng(epoch).permutation(N) for epoch in range(3)]
    told = []

    def shuffle(n: int, epoch: int) -> HostArray:
        told.append((n, epoch))
        return orders[epoch]

    given = {"backend": quick_backend, "batch_size": RAGGED}
    run = train(**given, epochs=3, sample_weight=WEIGHT, shuffle=shuffle)
    assert told == [(N, 0), (N, 1), (N, 2)]
    network = train(**given, epochs=0).network
    for order in orders:
        own = {"network": network, "sample_weight": WEIGHT[order], "shuffle": False, "epochs": 1}
        network = train(X[order], Y[order], **given | own).network
    assert_same_bits(run.network, network)
    in_order = train(**given, epochs=3, sample_weight=WEIGHT, shuffle=False).network
    assert differ(run.network, in_order) > 1e-3


def test_rows_may_come_twice_or_not_at_all() -> None:
    rows = np.zeros(N, dtype=np.uint8)
    rows[1::2] = 5
    run = train(shuffle=lambda n, epoch: rows)
    unseen, seen = X.copy(), X.copy()
    unseen[1:5], unseen[6:] = 99.0, 99.0
    assert_same_bits(run.network, train(unseen, shuffle=lambda n, epoch: rows).network)
    seen[5] += 1
    assert differ(run.network, train(seen, shuffle=lambda n, epoch: rows).network) > 1e-6


def test_a_list_of_rows_will_do() -> None:
    assert_same_bits(
        train(shuffle=lambda n, epoch: list(range(n))).network, train(shuffle=False).network
    )


def test_a_run_that_goes_on_asks_for_the_next_epoch() -> None:
    told = []

    def shuffle(n: int, epoch: int) -> HostArray:
        told.append(epoch)
        return np.random.default_rng(epoch).permutation(n)

    run = arraymlp.train(network=train(shuffle=shuffle), epochs=2)
    assert told == [0, 1, 2, 3]
    assert_same_bits(run.network, train(shuffle=shuffle, epochs=4).network)


BAD_ORDERS: dict[str, Callable[[int, int], Any]] = {
    "too short": lambda n, epoch: np.arange(n - 1),
    "too long": lambda n, epoch: np.arange(n + 1),
    "beyond the last row": lambda n, epoch: np.arange(1, n + 1),
    "before the first row": lambda n, epoch: np.arange(-1, n - 1),
    "no whole numbers": lambda n, epoch: np.arange(n) / 2,
    "a table": lambda n, epoch: np.arange(n)[:, None],
    "booleans": lambda n, epoch: np.ones(n, dtype=bool),
    "nothing": lambda n, epoch: None,
}


@pytest.mark.parametrize("shuffle", BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_bad_orders_are_refused(shuffle: Any) -> None:
    with pytest.raises(ValueError, match=rf"shuffle\({N}, 0\) must give {N} numbers of rows"):
        train(shuffle=shuffle)


@pytest.mark.parametrize("shuffle", ["yes", 1, np.arange(N)], ids=["string", "number", "array"])
def test_what_is_neither_true_nor_false_nor_a_function_is_refused(shuffle: Any) -> None:
    with pytest.raises(ValueError, match="shuffle must be True or False"):
        train(shuffle=shuffle)


def test_an_order_needs_rows_in_memory(tmp_path: Any) -> None:
    tree_map = np.memmap(tmp_path / "x", "float64", "w+", shape=X.shape)
    tree_map[:] = X
    with pytest.raises(ValueError, match="needs X in memory and no window"):
        train(tree_map, shuffle=lambda n, epoch: np.arange(n))


# --- sparse data ---------------------------------------------------------------------------------


SPARSE_X = X * (np.random.default_rng(41).random(X.shape) < 0.5)
FORMS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "lil_array"]
SPARSE_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ragged": {"batch_size": RAGGED},
    "in order": {"shuffle": False},
    "by windows": {"window": BATCH},
    "an order of one's own": {"shuffle": lambda n, epoch: np.arange(n)[::-1]},
    "weighted, with alpha": {"sample_weight": WEIGHT, "alpha": 0.5},
    "a part for validation": {"validation": 0.25, "batch_size": 6, "metrics": ["accuracy"]},
    "evaluated": {"training_error": True},
    "without a last batch": {"drop_last": True, "batch_size": RAGGED},
}


def as_sparse(form: str, values: HostArray = SPARSE_X) -> Any:
    return getattr(pytest.importorskip("scipy.sparse"), form)(values)


@pytest.mark.filterwarnings("ignore:the last .* do not fill a minibatch:UserWarning")
@pytest.mark.parametrize("case", SPARSE_CASES)
def test_sparse_rows_train_as_dense_ones(quick_backend: Backend, case: str) -> None:
    given = SPARSE_CASES[case] | {"backend": quick_backend}
    ours, dense = train(as_sparse("csr_array"), **given), train(SPARSE_X, **given)
    assert_same_bits(ours.network, dense.network)
    times = {"seconds", "samples_per_s"}
    for a, b in zip(ours.history, dense.history, strict=True):
        assert {k: v for k, v in a.items() if k not in times} == {
            k: v for k, v in b.items() if k not in times
        }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_sparse_data_trains(form: str, dtype: str) -> None:
    ours = train(as_sparse(form), dtype=dtype)
    assert_same_bits(ours.network, train(SPARSE_X, dtype=dtype).network)


def test_sparse_validation_rows() -> None:
    validation = as_sparse("csc_array", SPARSE_X[::-1]), Y[::-1]
    ours = train(as_sparse("csr_array"), validation=validation)
    dense = train(SPARSE_X, validation=(SPARSE_X[::-1], Y[::-1]))
    assert ours.history["validation_loss"] == dense.history["validation_loss"]


@pytest.mark.parametrize("form", FORMS)
def test_networks_predict_on_sparse_rows(form: str) -> None:
    network, rows = train(SPARSE_X).network, as_sparse(form)
    for method in ("predict", "predict_proba", "logits"):
        ours, dense = (getattr(network, method)(given) for given in (rows, SPARSE_X))
        assert_same(ours, dense)


def test_predictions_on_sparse_rows_are_on_the_host(backend: Backend) -> None:
    network = train(SPARSE_X, backend=backend, dtype="float32", epochs=0).network
    found = network.predict_proba(as_sparse("csr_array"))
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, network.predict_proba(SPARSE_X), rtol=1e-6)


def test_of_a_population_each_predicts_on_sparse_rows() -> None:
    network = train(SPARSE_X, seed=(1, 2)).network
    found = network.predict_proba(as_sparse("csr_array"))
    assert found.shape == (2, N, 3)
    np.testing.assert_array_equal(found, network.predict_proba(SPARSE_X))


def test_many_sparse_rows_are_predicted_block_by_block() -> None:
    many = np.resize(SPARSE_X, (2500, X.shape[1]))
    network = train(SPARSE_X).network
    assert_same(network.predict_proba(as_sparse("csr_array", many)), network.predict_proba(many))


def test_sparse_data_are_not_written() -> None:
    rows = as_sparse("csc_array")
    before = rows.copy()
    train(rows)
    assert type(rows) is type(before)
    np.testing.assert_array_equal(rows.toarray(), before.toarray())


def test_bad_sparse_data_are_refused() -> None:
    bad = SPARSE_X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match="X must be finite, but it has nan"):
        train(as_sparse("csr_array", bad), shuffle=False)
    with pytest.raises(ValueError, match="X has 3 features, but 4 are expected"):
        train(as_sparse("csr_array", X[:, :3]), network=train().network)
    with pytest.raises(ValueError, match="X is empty"):
        train(as_sparse("csr_array", X[:0]), Y[:0])
    network = train().network
    with pytest.raises(ValueError, match="3 features, but 4 are expected"):
        network.predict(as_sparse("csr_array", X[:, :3]))
    with pytest.raises(ValueError, match="empty"):
        network.predict(as_sparse("csr_array", X[:0]))
    with pytest.raises(ValueError, match="must be finite"):
        network.predict(as_sparse("csr_array", bad))


def test_a_run_on_sparse_rows_goes_on() -> None:
    ours = arraymlp.train(network=train(as_sparse("csr_array"), optimizer="momentum"), epochs=2)
    dense = arraymlp.train(network=train(SPARSE_X, optimizer="momentum"), epochs=2)
    assert_same_bits(ours.network, dense.network)
    assert all(a["step"] < b["step"] for a, b in pairwise(ours.history))
