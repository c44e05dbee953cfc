"""Whole training runs against a plain NumPy transcription, a PyTorch loop, and scikit-learn.

There are three traps: scikit-learn divides its alpha by the batch size, Adam's epsilon has two
places, and momentum has two conventions, which differ where the learning rate changes.
"""

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from functools import cache
from math import ceil, cos, inf, pi
from typing import Any

import numpy as np
import pytest

import arraymlp
import problems
from arraymlp import Backend, MultilayerPerceptron, Run
from arraymlp.data.minibatches import epoch_order
from arraymlp.initializers import normal
from arraymlp.nn.dropout import Dropout
from arraymlp.nn.losses import Huber, Quantile
from arraymlp.optimizers import SGD
from arraymlp.steps.optimizers import Adam, AdamW, RMSProp
from arraymlp.steps.schedules import (
    Adaptive,
    Cosine,
    ExponentialDecay,
    InverseScaling,
    Schedule,
    StepDecay,
)
from conftest import on_host

HostArray = np.ndarray[Any, Any]
Given = dict[str, Any]
K = 3
EPOCHS = 34  # of three minibatches: 102 steps
RTOL, ATOL = 1e-12, 1e-13  # sums in another order differ by roundings, of which few are passed on
SEEDS = (5, 6, 7)
EACH_WEIGHT = np.random.default_rng(60).uniform(0, 2, (K, problems.N))
EACH_WEIGHT[1, :3] = 0


# --- the transcription ---------------------------------------------------------------------------


def transcription(
    parameters: list[HostArray],
    X: HostArray,
    y: HostArray,
    *,
    loss: Any = "softmax_cross_entropy",
    optimizer: Any,
    learning_rate: float = 0.05,
    schedule: Schedule | None = None,
    weight_decay: float | None = None,
    l2: float = 0.0,
    gradient_clip: float = inf,
    weight_average: float = 0.0,
    dropout: Any = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
    class_weight: Any = None,
    batch_size: int = problems.BATCH,
    reduction: str = "mean",
    seed: int = 0,
) -> tuple[list[HostArray], list[float]]:
    """A training run in plain NumPy: the parameters W, b, W, b, ... after it; each epoch's loss.

    Of arraymlp it takes the orders of the rows, and the values of the constants.
    """
    P = [p.copy() for p in parameters]
    average = [p.copy() for p in parameters]
    state = [[np.zeros(p.shape), np.zeros(p.shape)] for p in parameters]
    n, layers = len(X), len(P) // 2
    sample_weight = weights_of(y, sample_weight, class_weight)
    if weight_decay is None:
        weight_decay = getattr(optimizer, "weight_decay", 0.0)
    if not isinstance(dropout, Dropout):
        dropout = Dropout(hidden=dropout)
    probability = [dropout.input] + [dropout.hidden] * (layers - 1)
    steps_an_epoch = ceil(n / batch_size)
    losses: list[float] = []
    t = 0
    for epoch in range(EPOCHS):
        order = epoch_order(n, 0, epoch)
        loss_sum = weight_sum = 0.0
        for position in range(steps_an_epoch):
            rows = order[position * batch_size : (position + 1) * batch_size]
            w = sample_weight[rows]
            eta = learning_rate * factor(schedule, t, EPOCHS * steps_an_epoch, losses)
            t += 1

            z, M, G = [X[rows]], [], []
            for i in range(layers):
                M.append(mask(seed, i, epoch, position, z[i].shape, probability[i]))
                s = (z[i] * M[i]) @ P[2 * i] + P[2 * i + 1]
                z.append(np.tanh(s))
            value, delta = value_and_delta(loss, s, y[rows], label_smoothing)
            loss_sum += (w * value).sum()
            weight_sum += w.sum()
            ds = delta * w[:, None] / (w.sum() if reduction == "mean" else 1)
            for i in reversed(range(layers)):
                G = [(z[i] * M[i]).T @ ds, ds.sum(axis=0, keepdims=True), *G]
                ds = ds @ P[2 * i].T * M[i] * (1 - z[i] ** 2)

            norm = np.sqrt(sum((g**2).sum() for g in G))
            for i in range(2 * layers):
                is_weight = i % 2 == 0
                g = G[i] * min(1, gradient_clip / norm) + (l2 * P[i] if is_weight else 0)
                if is_weight:
                    P[i] = P[i] - eta * weight_decay * P[i]
                P[i] = P[i] + change(optimizer, g, state[i], eta, t)
                d = min(weight_average, (t - 1) / (t + 8))
                average[i] = d * average[i] + (1 - d) * P[i]
        losses.append(loss_sum / weight_sum)
    return (average if weight_average else P), losses


def change(rule: Any, g: HostArray, state: list[HostArray], eta: float, t: int) -> HostArray:
    """What step t adds to a parameter."""
    if isinstance(rule, SGD):
        mu, v = rule.momentum, state[0]
        v[:] = mu * v - eta * g
        return mu * v - eta * g if rule.nesterov else v
    if isinstance(rule, RMSProp):
        v = state[0]
        v[:] = rule.rho * v + (1 - rule.rho) * g**2
        return -eta * g / (np.sqrt(v) + rule.epsilon)
    m, v = state
    m[:] = rule.beta1 * m + (1 - rule.beta1) * g
    v[:] = rule.beta2 * v + (1 - rule.beta2) * g**2
    if rule.epsilon_hat:
        eta = eta * np.sqrt(1 - rule.beta2**t) / (1 - rule.beta1**t)
        return -eta * m / (np.sqrt(v) + rule.epsilon)
    m_hat, v_hat = m / (1 - rule.beta1**t), v / (1 - rule.beta2**t)
    return -eta * m_hat / (np.sqrt(v_hat) + rule.epsilon)


def factor(rule: Any, t: int, n: int, losses: list[float]) -> float:
    """A schedule's factor at step t, from 0, of n; `losses` are those of the epochs so far."""
    if isinstance(rule, StepDecay):
        return rule.factor ** (t // ceil(rule.every * n))
    if isinstance(rule, ExponentialDecay):
        return rule.factor ** (t / rule.every)
    if isinstance(rule, InverseScaling):
        return (1 + t / rule.every) ** -rule.power
    if isinstance(rule, Cosine):
        if t < rule.warm_up:
            return (t + 1) / rule.warm_up
        wave = cos(pi * (t - rule.warm_up) / (n - rule.warm_up))
        return rule.final + (1 - rule.final) * (1 + wave) / 2
    if isinstance(rule, Adaptive):
        found, best, waited = 1.0, inf, 0
        for f in losses:
            waited = 0 if f < best and f <= best - rule.min_change else waited + 1
            best = min(best, f)
            if waited == rule.patience:
                found, waited = max(found * rule.factor, rule.lowest), 0
        return found
    return 1.0


def value_and_delta(
    loss: Any, s: HostArray, y: HostArray, smoothing: float
) -> tuple[HostArray, HostArray]:
    """Each row's loss, and its derivative with respect to the logits s."""
    n = s.shape[1]
    if loss == "softmax_cross_entropy":
        target = (1 - smoothing) * np.eye(n)[y] + smoothing / n
        p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
        return -(target * np.log(p)).sum(axis=1), p - target
    if loss == "binary_cross_entropy":
        target = (1 - smoothing) * y + smoothing / 2
        p = 1 / (1 + np.exp(-s))
        L = -target * np.log(p) - (1 - target) * np.log(1 - p)
        return L.sum(axis=1), p - target
    if loss == "poisson":
        log_y = np.log(np.where(y > 0, y, 1))
        return (y * (log_y - s) - y + np.exp(s)).sum(axis=1), np.exp(s) - y
    if isinstance(loss, Quantile):  # y is one column, with an output for each level
        e, level = s - y[:, None], np.array(loss.levels)
        slope = np.where(e > 0, 1 - level, -level)
        return (slope * e).sum(axis=1), slope
    e = s - y
    if loss == "absolute_error":
        return abs(e).sum(axis=1), np.sign(e)
    if isinstance(loss, Huber):
        d = loss.threshold
        L = np.where(abs(e) <= d, e**2 / 2, d * (abs(e) - d / 2))
        return L.sum(axis=1), np.clip(e, -d, d)
    assert loss == "squared_error"
    return (e**2 / 2).sum(axis=1), e


def weights_of(y: HostArray, of_samples: Any, of_classes: Any) -> HostArray:
    """Each row's weight: its own times its class's."""
    if of_classes == "balanced":
        names, rows = np.unique(y, return_counts=True)
        of_classes = {c: len(y) / (len(names) * r) for c, r in zip(names, rows, strict=True)}
    of_class = [(of_classes or {}).get(c, 1.0) for c in y.tolist()] if y.ndim == 1 else 1.0
    return np.ones(len(y)) * of_class * (1.0 if of_samples is None else of_samples)


def mask(
    seed: int, layer: int, epoch: int, step: int, shape: tuple[int, ...], p: float
) -> HostArray:
    """Factors on a layer's input: 0 with probability p, else 1 / (1 - p)."""
    if not p:
        return np.ones(shape)
    stream = np.random.SeedSequence(seed, spawn_key=(3, layer, epoch))
    keys = np.random.default_rng(stream).integers(-(2**31), 2**31, step + 1, dtype=np.int32)
    counter = np.arange(shape[0] * shape[1], dtype=np.uint64).reshape(shape)
    hashed = lowbias32(lowbias32(counter) ^ np.uint64(int(keys[step]) % 2**32))
    signed = np.where(hashed < 2**31, hashed.astype(float), hashed.astype(float) - 2.0**32)
    return (signed >= round(2**32 * p) - 2**31) / (1 - p)


def lowbias32(x: HostArray) -> HostArray:
    """Wellons's hash of uint32, here in uint64 cut to 32 bits."""
    x = x ^ x >> 16
    x = x * 0x7FEB352D % 2**32
    x = x ^ x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


# --- what is trained -----------------------------------------------------------------------------

# Settings of train() for K members: a tuple has one value for each.
EVERYTHING: Given = {
    "optimizer": AdamW((0.8, 0.9, 0.95), (0.99, 0.999, 0.9), (1e-8, 1e-4, 1e-2)),
    "learning_rate": (0.01, 0.02, 0.03),
    "schedule": Cosine((0, 11, 40), (0.0, 0.1, 1.0)),
    "weight_decay": (0.0, 0.1, 0.2),
    "l2": (0.02, 0.01, 0.0),
    "gradient_clip": (inf, 0.5, 0.2),
    "weight_average": (0.0, 0.9, 0.99),
    "dropout": Dropout(hidden=(0.0, 0.2, 0.3), input=(0.1, 0.1, 0.0)),
    "label_smoothing": (0.0, 0.1, 0.2),
    "sample_weight": EACH_WEIGHT,
    "class_weight": ("balanced", {0: 3.0, 2: 0.5}, None),
}
CASES: dict[str, Given] = {
    "sgd": {"optimizer": SGD(), "learning_rate": (0.1, 0.2, 0.4)},
    "momentum": {"optimizer": SGD((0.0, 0.5, 0.9)), "learning_rate": (0.1, 0.05, 0.02)},
    "nesterov": {"optimizer": SGD((0.3, 0.9, 0.5), nesterov=True), "learning_rate": 0.03},
    "adam": {
        "optimizer": Adam((0.0, 0.9, 0.8), (0.99, 0.999, 0.9), (1e-8, 1e-3, 1e-2)),
        "learning_rate": (0.01, 0.02, 0.03),
    },
    "adam, epsilon hat": {
        "optimizer": Adam(epsilon=(1e-8, 1e-3, 1e-2), epsilon_hat=True),
        "learning_rate": 0.02,
    },
    "adamw": {"optimizer": AdamW(weight_decay=(0.0, 0.3, 0.01)), "learning_rate": 0.02},
    "adamw with another decay": {
        "optimizer": AdamW(weight_decay=0.5),
        "weight_decay": (0.0, 0.2, 0.1),
        "learning_rate": (0.01, 0.02, 0.03),
    },
    "rmsprop": {
        "optimizer": RMSProp((0.9, 0.99, 0.0), (1e-8, 1e-4, 1e-1)),
        "learning_rate": (0.005, 0.01, 0.02),
    },
    "weight decay": {"weight_decay": (0.0, 0.1, 1.0)},
    "l2": {"l2": (0.0, 0.01, 0.1)},
    "l2 in adam": {"optimizer": Adam(), "learning_rate": 0.02, "l2": (0.0, 0.01, 0.1)},
    "clipping": {"gradient_clip": (inf, 0.3, 0.05)},
    "clipping and l2": {"optimizer": SGD(), "gradient_clip": (0.3, 0.1, inf), "l2": 0.1},
    "average": {"weight_average": (0.0, 0.9, 0.99)},
    "step": {
        "optimizer": Adam(),
        "learning_rate": 0.05,
        "schedule": StepDecay((0.1, 0.25, 0.5), (0.1, 0.5, 1.0)),
    },
    "exponential": {"schedule": ExponentialDecay((0.1, 0.5, 1.0), 30)},
    "cosine": {
        "optimizer": SGD(0.9, nesterov=True),
        "schedule": Cosine((0, 11, 40), (0.0, 0.1, 1.0)),
    },
    "inverse scaling": {
        "optimizer": RMSProp(),
        "learning_rate": 0.02,
        "schedule": InverseScaling((0.5, 0.8, 1.0), (1, 10, 7)),
    },
    "adaptive": {
        "optimizer": SGD(0.5),
        "schedule": Adaptive(factor=(0.5, 0.3, 0.2), patience=(2, 1, 3), min_change=0.02),
    },
    "dropout": {"dropout": (0.0, 0.2, 0.5)},
    "dropout of features": {
        "optimizer": Adam(),
        "learning_rate": 0.01,
        "dropout": Dropout(hidden=0.3, input=(0.0, 0.1, 0.4)),
    },
    "label smoothing": {"label_smoothing": (0.0, 0.1, 0.5)},
    "smoothed columns": {
        "loss": "binary_cross_entropy",
        "label_smoothing": (0.3, 0.1, 0.0),
    },
    "sample weights": {"sample_weight": EACH_WEIGHT},
    "sample weights for all": {
        "optimizer": Adam(),
        "learning_rate": 0.05,
        "sample_weight": EACH_WEIGHT[1],
    },
    "class weights": {
        "class_weight": ("balanced", {0: 3.0, 2: 0.5}, None),
    },
    "sum of weights": {
        "optimizer": SGD(),
        "learning_rate": 0.01,
        "reduction": "sum",
        "sample_weight": EACH_WEIGHT,
        "class_weight": {1: 2.0},
        "batch_size": 7,
    },
    "sum": {"learning_rate": (0.002, 0.004, 0.008), "reduction": "sum"},
    "ragged": {"optimizer": Adam(), "learning_rate": 0.02, "batch_size": 7, "dropout": 0.2},
    "squared error": {"loss": "squared_error", "learning_rate": (0.01, 0.02, 0.04)},
    "binary cross-entropy": {"loss": "binary_cross_entropy"},
    "poisson": {"loss": "poisson", "learning_rate": 0.01},
    "absolute error": {"loss": "absolute_error", "learning_rate": 0.002},
    "huber": {"loss": Huber((0.3, 1.0, 2.0)), "learning_rate": 0.01},
    "quantile": {
        "loss": Quantile(((0.1, 0.5, 0.9), (0.25, 0.5, 0.75), (0.2, 0.4, 0.6))),
        "learning_rate": 0.002,
    },
    "everything": EVERYTHING,
    "everything, summed": EVERYTHING | {"reduction": "sum", "batch_size": 7},
}
EVERY_CASE = pytest.mark.parametrize("case", list(CASES))


def of_member(given: Given, k: int) -> Given:
    """Member k's own settings."""

    def own(value: Any) -> Any:
        if is_dataclass(value):
            return replace(value, **{name: own(part) for name, part in vars(value).items()})
        return value[k] if isinstance(value, tuple) else value

    alone = {name: own(value) for name, value in given.items()} | {"seed": SEEDS[k]}
    if np.ndim(given.get("sample_weight")) == 2:
        alone["sample_weight"] = given["sample_weight"][k]
    return alone


def problem(given: Given) -> tuple[HostArray, HostArray]:
    loss = given.get("loss", "softmax_cross_entropy")
    X, y = problems.PROBLEMS[getattr(loss, "name", loss)]()
    return X, y[:, 0] if isinstance(loss, Quantile) else y


def train(given: Given, backend: Backend | str = "numpy", device: Any = None, **more: Any) -> Run:
    """train() in float64, from weights that are large enough to matter."""
    X, y = problem(given)
    if isinstance(backend, Backend):
        backend, device = backend.name, backend.device
    defaults = {
        "hidden": problems.HIDDEN,
        "activation": "tanh",
        "initializer": normal(0.5),
        "optimizer": SGD(0.9),
        "standardize": False,
        "batch_size": problems.BATCH,
        "epochs": EPOCHS,
        "dtype": "float64",
        "backend": backend,
        "device": device,
    }
    return arraymlp.train(X, y, **{**defaults, **given, **more})


def parameters(network: MultilayerPerceptron) -> list[HostArray]:
    return [np.array(on_host(a)) for layer in network.layers for a in (layer.weights, layer.bias)]


def start(given: Given) -> list[HostArray]:
    """The initial parameters of one network, float64."""
    return parameters(train(given, epochs=0).network)


@cache
def expected(case: str, k: int) -> tuple[list[HostArray], list[float]]:
    """What the transcription makes of member k."""
    given = {"optimizer": SGD(0.9), **of_member(CASES[case], k)}
    return transcription(start(given), *problem(given), **given)


def assert_close(ours: list[HostArray], theirs: list[HostArray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=RTOL, atol=ATOL)


# --- against the transcription -------------------------------------------------------------------


def assert_members_are_the_transcription(case: str, backend: Backend) -> None:
    run = train(CASES[case], backend, seed=SEEDS)
    for k in range(K):
        theirs, losses = expected(case, k)
        assert_close(parameters(run.network.member(k)), theirs)
        np.testing.assert_allclose([e[k] for e in run.history["loss"]], losses, rtol=RTOL)


@EVERY_CASE
def test_one_network_is_the_transcription(quick_backend: Backend, case: str) -> None:
    run = train(of_member(CASES[case], 1), quick_backend)
    theirs, losses = expected(case, 1)
    assert_close(parameters(run.network), theirs)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=RTOL)


@EVERY_CASE
def test_each_member_is_the_transcription(quick_backend: Backend, case: str) -> None:
    assert_members_are_the_transcription(case, quick_backend)


def test_everything_at_once_is_the_transcription(backend: Backend, float64: str) -> None:
    assert_members_are_the_transcription("everything", backend)


@EVERY_CASE
def test_each_member_is_its_run_alone(case: str) -> None:
    together = train(CASES[case], seed=SEEDS).network
    for k in (0, 2):  # alone, member 1 is the transcription
        alone = train(of_member(CASES[case], k)).network
        assert_close(parameters(together.member(k)), parameters(alone))


# --- against PyTorch -----------------------------------------------------------------------------


def torch_loop(
    given: Given,
    optimizer: str = "SGD",
    decay: float = 0.0,
    clip: float = inf,
    average: float = 0.0,
    dropout: float = 0.0,
    smoothing: float = 0.0,
    class_weight: Any = None,
    sample_weight: Any = None,
    schedule: Callable[[Any, Any], Any] | None = None,
    **constants: Any,
) -> list[HostArray]:
    """The parameters after a loop written for PyTorch, of its own parts as far as it has them.

    Args:
        given: settings of `train` that say where it starts.
        optimizer: its class in torch.optim.
        decay: the optimiser's weight_decay, of weights and not of biases.
        clip: bound on the gradient's norm.
        average: d of a moving average.
        dropout: probability; its masks are those of the transcription.
        smoothing: of labels.
        class_weight: one number a class.
        sample_weight: one number a row.
        schedule: makes a scheduler of torch.optim.lr_scheduler and the optimiser.
        **constants: of the optimiser; momentum 0.9 for none.
    """
    torch = pytest.importorskip("torch")
    P = torch.nn.ParameterList([torch.tensor(p) for p in start(given)])
    X, y = (torch.tensor(a) for a in problem(given))
    w = torch.tensor(np.ones(len(X)) if sample_weight is None else sample_weight)
    weights, biases = list(P)[::2], list(P)[1::2]
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    rule = getattr(torch.optim, optimizer)(groups, **constants or {"lr": 0.05, "momentum": 0.9})
    scheduler = schedule(torch.optim.lr_scheduler, rule) if schedule else None
    criterion = torch.nn.CrossEntropyLoss(
        weight=None if class_weight is None else torch.tensor(class_weight, dtype=X.dtype),
        label_smoothing=smoothing,
        reduction="mean" if sample_weight is None else "none",
    )

    def follow(a: Any, now: Any, n: Any) -> Any:  # n + 1 steps are done; the first one is copied
        d = min(average, int(n) / (int(n) + 9))
        return d * a + (1 - d) * now

    averaged = torch.optim.swa_utils.AveragedModel(P, avg_fn=follow)
    for epoch in range(EPOCHS):
        order = epoch_order(problems.N, 0, epoch).astype(np.int64)
        for step, rows in enumerate(torch.tensor(order).split(problems.BATCH)):
            s = X[rows] @ P[0] + P[1]
            for i in range(1, len(P) // 2):
                kept = torch.tensor(mask(0, i, epoch, step, tuple(s.shape), dropout))
                s = torch.tanh(s) * kept @ P[2 * i] + P[2 * i + 1]
            loss = criterion(s, y[rows])
            if sample_weight is not None:
                loss = (w[rows] * loss).sum() / w[rows].sum()
            rule.zero_grad()
            loss.backward()
            if clip < inf:
                norm = torch.nn.utils.get_total_norm([p.grad for p in P])
                torch.nn.utils.clip_grads_with_norm_(P, clip, norm - 1e-6)  # to which it adds 1e-6
            rule.step()
            if scheduler:
                scheduler.step()
            averaged.update_parameters(P)
    return [p.detach().numpy() for p in (averaged.module if average else P)]


ADAM = {"optimizer": Adam(), "learning_rate": 0.02}
RMSPROP = {"optimizer": RMSProp(0.9, 1e-3), "learning_rate": 0.01}
# Settings of train(), and what says the same to `torch_loop`.
TORCHS: dict[str, tuple[Given, Given]] = {
    "sgd": ({"optimizer": SGD(), "learning_rate": 0.2}, {"lr": 0.2}),
    "momentum": ({}, {}),
    "nesterov": (
        {"optimizer": SGD(0.9, nesterov=True)},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    ),
    "adam": (
        {"optimizer": Adam(0.8, 0.99, 1e-3), "learning_rate": 0.02},
        {"optimizer": "Adam", "lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-3},
    ),
    "adamw": (
        {"optimizer": AdamW(weight_decay=0.3), "learning_rate": 0.02},
        {"optimizer": "AdamW", "lr": 0.02, "decay": 0.3},
    ),
    "decay in adam": (
        ADAM | {"weight_decay": 0.3},
        {"optimizer": "AdamW", "lr": 0.02, "decay": 0.3},
    ),
    "rmsprop": (RMSPROP, {"optimizer": "RMSprop", "lr": 0.01, "alpha": 0.9, "eps": 1e-3}),
    "l2": ({"l2": 0.02}, {"decay": 0.02}),
    "l2 in adam": (ADAM | {"l2": 0.02}, {"optimizer": "Adam", "lr": 0.02, "decay": 0.02}),
    "l2 in rmsprop": (
        RMSPROP | {"l2": 0.02},
        {"optimizer": "RMSprop", "lr": 0.01, "alpha": 0.9, "eps": 1e-3, "decay": 0.02},
    ),
    "clipping": ({"gradient_clip": 0.3}, {"clip": 0.3}),
    "clipping and l2": ({"gradient_clip": 0.1, "l2": 0.02}, {"clip": 0.1, "decay": 0.02}),
    "average": ({"weight_average": 0.98}, {"average": 0.98}),
    "dropout": ({"dropout": 0.2}, {"dropout": 0.2}),
    "label smoothing": ({"label_smoothing": 0.2}, {"smoothing": 0.2}),
    "class weights": ({"class_weight": {0: 3.0, 2: 0.5}}, {"class_weight": [3.0, 1.0, 0.5]}),
    "sample weights": ({"sample_weight": EACH_WEIGHT[1]}, {"sample_weight": EACH_WEIGHT[1]}),
    "step": (
        ADAM | {"schedule": StepDecay(30, 0.5)},
        {"optimizer": "Adam", "lr": 0.02, "schedule": lambda s, o: s.StepLR(o, 30, 0.5)},
    ),
    "exponential": (
        ADAM | {"schedule": ExponentialDecay(0.97, 1)},
        {"optimizer": "Adam", "lr": 0.02, "schedule": lambda s, o: s.ExponentialLR(o, 0.97)},
    ),
    "cosine": (
        {"optimizer": SGD(), "learning_rate": 0.2, "schedule": Cosine(0, 0.1)},
        {"lr": 0.2, "schedule": lambda s, o: s.CosineAnnealingLR(o, 3 * EPOCHS, 0.1 * 0.2)},
    ),
}


@pytest.mark.parametrize(("given", "theirs"), TORCHS.values(), ids=list(TORCHS))
def test_training_is_that_of_a_torch_loop(given: Given, theirs: Given) -> None:
    expected = torch_loop(given, **theirs)
    for engine in ("array", "auto"):
        assert_close(parameters(train(given, engine=engine).network), expected)


class InOurUnits:
    """A PyTorch scheduler that also scales what momentum has gathered, as our velocity is scaled.

    PyTorch's v is ours over -eta, so that each change of eta changes what it stands for.
    """

    def __init__(self, scheduler: Any, optimizer: Any) -> None:
        self.scheduler, self.optimizer = scheduler, optimizer

    def step(self) -> None:
        (before, _) = self.scheduler.get_last_lr()
        self.scheduler.step()
        (now, _) = self.scheduler.get_last_lr()
        for state in self.optimizer.state.values():
            state["momentum_buffer"] *= before / now


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_torchs_but_for_what_a_change_of_the_rate_does(nesterov: bool) -> None:
    given = {"optimizer": SGD(0.9, nesterov), "schedule": StepDecay(30, 0.3)}
    theirs = {"lr": 0.05, "momentum": 0.9, "nesterov": nesterov}
    ours = parameters(train(given).network)
    as_it_is = torch_loop(given, schedule=lambda s, o: s.StepLR(o, 30, 0.3), **theirs)
    in_our_units = torch_loop(
        given, schedule=lambda s, o: InOurUnits(s.StepLR(o, 30, 0.3), o), **theirs
    )
    assert_close(ours, in_our_units)
    assert abs(ours[0] - as_it_is[0]).max() > 1e-3


# --- against scikit-learn ------------------------------------------------------------------------


def scikit_learns(given: Given, **constants: Any) -> Any:
    """scikit-learn's network, trained from the same weights on the rows in the same order."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    X, y = problem(given)
    classifies = given.get("loss", "softmax_cross_entropy") == "softmax_cross_entropy"
    of = neural_network.MLPClassifier if classifies else neural_network.MLPRegressor
    defaults = {
        "hidden_layer_sizes": problems.HIDDEN,
        "activation": "tanh",
        "solver": "sgd",
        "learning_rate_init": 0.05,
        "nesterovs_momentum": False,
        "alpha": 0.0,
        "batch_size": problems.BATCH,
        "shuffle": False,
        "n_iter_no_change": EPOCHS,
    }
    model = of(**defaults | constants, warm_start=True)
    weights = {} if "sample_weight" not in given else {"sample_weight": given["sample_weight"]}
    model.set_params(max_iter=1).fit(X, y, **weights)  # makes all that is set here anew
    first = start(given)
    model.coefs_, model.intercepts_ = first[::2], [b[0] for b in first[1::2]]
    model.t_, model.best_loss_, model.loss_curve_ = 0, inf, []
    return model.set_params(max_iter=EPOCHS).fit(X, y, **weights)


class InvScaling(Schedule):
    """scikit-learn's "invscaling": by samples, at the end of an epoch."""

    def factors(self, steps: HostArray, n_steps: int) -> HostArray:
        samples = problems.N * (steps // (problems.N // problems.BATCH))
        return (1.0 + samples) ** -0.3


# Settings of train(), and what says the same to scikit-learn.
SCIKIT_LEARNS: dict[str, tuple[Given, Given]] = {
    "sgd": ({"optimizer": SGD()}, {"momentum": 0.0}),
    "momentum": ({}, {}),
    "nesterov": ({"optimizer": SGD(0.8, True)}, {"momentum": 0.8, "nesterovs_momentum": True}),
    "momentum, the rate falling": (
        {"schedule": InvScaling()},
        {"learning_rate": "invscaling", "power_t": 0.3},
    ),
    "adaptive": (
        {"optimizer": SGD(0.5), "schedule": Adaptive(factor=0.2, patience=3, min_change=0.02)},
        {"momentum": 0.5, "learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 2},
    ),
    "adam": (
        {"optimizer": Adam(0.8, 0.99, 1e-3, epsilon_hat=True), "learning_rate": 0.02},
        {
            "solver": "adam",
            "learning_rate_init": 0.02,
            "beta_1": 0.8,
            "beta_2": 0.99,
            "epsilon": 1e-3,
        },
    ),
    "l2": ({"l2": 0.05}, {"alpha": 0.05 * problems.BATCH}),
    "squared error": (
        {"loss": "squared_error", "learning_rate": 0.02},
        {"learning_rate_init": 0.02},
    ),
    "poisson": (
        {"loss": "poisson", "learning_rate": 0.01},
        {"loss": "poisson", "learning_rate_init": 0.01},
    ),
    "sample weights": ({"sample_weight": EACH_WEIGHT[1]}, {}),
}
AT_THE_LAST_EPOCH = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:UserWarning")


@AT_THE_LAST_EPOCH
@pytest.mark.parametrize(("given", "theirs"), SCIKIT_LEARNS.values(), ids=list(SCIKIT_LEARNS))
def test_training_is_that_of_scikit_learn(given: Given, theirs: Given) -> None:
    if {"sample_weight", "loss"} & {*given}:
        pytest.importorskip("sklearn", minversion="1.7")
    model = scikit_learns(given, **theirs)
    assert model.n_iter_ == EPOCHS
    for engine in ("array", "auto"):
        ours = parameters(train(given, shuffle=False, engine=engine).network)
        assert_close(ours[::2], model.coefs_)
        assert_close([b[0] for b in ours[1::2]], model.intercepts_)


# What looks the same, and is not.
TRAPS: dict[str, tuple[Given, Given]] = {
    "alpha is divided by the batch size": ({"l2": 0.4}, {"alpha": 0.4}),
    "epsilon is added to sqrt(v), uncorrected": (
        {"optimizer": Adam(epsilon=1e-3), "learning_rate": 0.02},
        {"solver": "adam", "learning_rate_init": 0.02, "epsilon": 1e-3},
    ),
}


@AT_THE_LAST_EPOCH
@pytest.mark.parametrize(("given", "theirs"), TRAPS.values(), ids=list(TRAPS))
def test_training_is_not_that_of_scikit_learn(given: Given, theirs: Given) -> None:
    ours = train(given, shuffle=False).network.layers[0].weights
    assert abs(ours - scikit_learns(given, **theirs).coefs_[0]).max() > 1e-2


@AT_THE_LAST_EPOCH
def test_the_loss_is_reported_without_the_penalty() -> None:
    ours, theirs = train({}, shuffle=False), scikit_learns({})
    np.testing.assert_allclose(ours.history["loss"], theirs.loss_curve_, rtol=RTOL)
    ours, theirs = (
        train({"l2": 0.05}, shuffle=False),
        scikit_learns({}, alpha=0.05 * problems.BATCH),
    )
    assert min(np.subtract(theirs.loss_curve_, ours.history["loss"])) > 0.1


def test_clipping_bounds_a_gradient_whose_square_overflows(backend: Backend) -> None:
    X = np.linspace(1e14, 1e15, 24)[:, None]
    run = arraymlp.train(
        X, X[:, 0], hidden=(), optimizer="sgd", learning_rate=0.5, gradient_clip=1.0, epochs=1,
        batch_size=24, loss="squared_error", standardize=False, backend=backend,
    )  # fmt: skip
    before = arraymlp.train(X, X[:, 0], hidden=(), epochs=0, batch_size=24, backend=backend)
    moved = [
        backend.to_numpy(a) - backend.to_numpy(b)
        for new, old in zip(run.network.layers, before.network.layers, strict=True)
        for a, b in ((new.weights, old.weights), (new.bias, old.bias))
    ]
    norm = np.sqrt(sum((m.astype(float) ** 2).sum() for m in moved))
    np.testing.assert_allclose(norm, 0.5, rtol=1e-6)
