"""An epoch of the same training in each library, in its best form; a function for each library.

Each takes a `Task` and gives an `Epoch`, which begins at the task's weights whenever it is called,
so that all losses of a first epoch can be compared. Data is in the library's own arrays before.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import arraymlp
from arraymlp.backends.array import HostArray

# (rows, shuffled) -> seconds, mean loss as the minibatches met it; of K networks (K,)
Epoch: TypeAlias = Callable[[int, bool], tuple[float, Any]]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, everyone's defaults


@dataclass(frozen=True)
class Task:
    """What every library computes, with relu, softmax cross-entropy and its mean.

    Attributes:
        X: (n, n_0), float32.
        y: (n,) classes, int64.
        network: ours, with the initial weights; a population for K networks at once.
        batch: rows a step; n is a multiple.
        rate: the learning rate.
        adam: Adam instead of plain SGD.
        dropout: probability that a hidden unit is dropped.
    """

    X: HostArray
    y: HostArray
    network: arraymlp.MultilayerPerceptron
    batch: int
    rate: float = 0.01
    adam: bool = False
    dropout: float = 0.0

    @property
    def parameters(self) -> list[HostArray]:
        """Weights (..., n_in, n_out) and bias (..., 1, n_out) of each layer in turn, copied."""
        layers = self.network.layers
        return [np.array(a) for layer in layers for a in (layer.weights, layer.bias)]

    @property
    def settings(self) -> dict[str, Any]:
        """The same for `arraymlp.train` and `arraymlp.sweep`."""
        return {
            "batch_size": self.batch,
            "optimizer": "adam" if self.adam else "sgd",
            "learning_rate": self.rate,
            "dropout": self.dropout,
            "backend": "numpy",
        }

    def without_dropout(self, rows: int) -> "Task":
        """The same on the first rows and without dropout, so that losses can be compared."""
        return replace(self, X=self.X[:rows], y=self.y[:rows], dropout=0.0)


class AbsentError(Exception):
    """A library cannot take part; the message says why."""


def imported(name: str) -> Any:
    """A module, or AbsentError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise AbsentError("not installed") from None


def ours(task: Task, engine: Literal["auto", "array"]) -> Epoch:
    """`arraymlp.train`, by its own history.

    Its first epoch gives the loss and the second the time, which leaves out the set-up of a run.
    (Nothing is evaluated in between: there are no validation rows. Freed memory stays with the
    process, by `train`'s request; all candidates gain from it.)
    """

    def epoch(rows: int, shuffled: bool) -> tuple[float, Any]:
        run = arraymlp.train(
            task.X[:rows], task.y[:rows], network=task.network, epochs=2, shuffle=shuffled,
            engine=engine, **task.settings,
        )  # fmt: skip
        return run.history["seconds"][1], run.history["loss"][0]

    return epoch


def scikit_learn(task: Task) -> Epoch:
    """MLPClassifier: two epochs of a fit, on which its checks and set-up are spread.

    It draws its weights itself, so its losses cannot be compared.
    """
    if task.dropout:
        raise AbsentError("has no dropout")

    def epoch(rows: int, shuffled: bool) -> tuple[float, Any]:
        model = MLPClassifier(
            task.network.sizes[1:-1], solver="adam" if task.adam else "sgd", momentum=0,
            nesterovs_momentum=False, alpha=0, batch_size=task.batch, shuffle=shuffled,
            learning_rate_init=task.rate, max_iter=2, tol=0, n_iter_no_change=9, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after two epochs, of course
            started = perf_counter()
            model.fit(task.X[:rows], task.y[:rows])
            seconds = perf_counter() - started
        assert model.n_iter_ == 2
        return seconds / 2, None

    return epoch


def torch_eager(task: Task) -> Epoch:
    """PyTorch, operation by operation."""
    torch = imported("torch")

    def begin() -> Callable[[Any, Any], Any]:
        parameters = [torch.from_numpy(a).requires_grad_() for a in task.parameters]
        adam = torch.optim.Adam(parameters, task.rate, fused=True) if task.adam else None

        def step(x: Any, y: Any) -> Any:
            loss = torch_loss(parameters, x, y, task.dropout)
            gradients = torch.autograd.grad(loss, parameters)
            if adam is not None:
                for p, g in zip(parameters, gradients, strict=True):
                    p.grad = g
                adam.step()
                return loss.detach()
            with torch.no_grad():  # faster than optim.SGD, fused or not
                for p, g in zip(parameters, gradients, strict=True):
                    p.sub_(g, alpha=task.rate)
            return loss.detach()

        return step

    return _torch_epochs(task, begin)


def torch_compiled(task: Task) -> Epoch:
    """PyTorch with torch.compile: loss, gradients and update as one compiled function.

    Raises:
        AbsentError: it does not compile; it needs a C++ compiler.
    """
    torch = imported("torch")

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return torch_loss(parameters, x, y, task.dropout)

    compiled = torch.compile(torch_step(task, loss), dynamic=False, fullgraph=True)

    def begin() -> Callable[[Any, Any], Any]:
        state = torch_state(task)
        return lambda x, y: compiled(*state, x, y)

    try:
        _torch_epochs(task, begin)(task.batch, False)
    except Exception as error:  # it raises many classes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise AbsentError(f"does not compile: {lines[0][:80]}") from None
    return _torch_epochs(task, begin)


def torch_step(task: Task, loss: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """Loss, gradients and update as one function to compile: ``step(*state, x, y)`` is the loss.

    The state, of `torch_state`, changes in place.
    """
    import torch

    both = torch.func.grad_and_value(loss)

    def sgd(parameters: Any, x: Any, y: Any) -> Any:
        gradients, value = both(parameters, x, y)
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(g, alpha=task.rate)
        return value

    def adam(parameters: Any, first: Any, second: Any, t: Any, x: Any, y: Any) -> Any:
        gradients, value = both(parameters, x, y)
        t.add_(1)
        scale, root = task.rate / (1 - BETA1**t), torch.sqrt(1 - BETA2**t)
        for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
            m.lerp_(g, 1 - BETA1)
            v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            p.sub_(scale * m / (v.sqrt() / root + EPSILON))
        return value

    return adam if task.adam else sgd


def torch_state(task: Task, device: str = "cpu") -> list[Any]:
    """What a `torch_step` changes: [parameters], or [parameters, first, second moments, t]."""
    import torch

    parameters = [torch.from_numpy(a).to(device) for a in task.parameters]
    if not task.adam:
        return [parameters]
    moments = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    return [parameters, *moments, torch.zeros((), device=device)]


def torch_func(task: Task) -> Epoch:
    """K networks in PyTorch: torch.func's vmap of grad_and_value, step by step."""
    torch = imported("torch")

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return torch_loss(parameters, x, y, 0.0)

    both = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))

    def begin() -> Callable[[Any, Any], Any]:
        parameters = tuple(torch.from_numpy(a) for a in task.parameters)

        def step(x: Any, y: Any) -> Any:
            gradients, values = both(parameters, x, y)
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(g, alpha=task.rate)
            return values

        return step

    return _torch_epochs(task, begin)


def torch_loss(parameters: Any, x: Any, y: Any, dropout: float) -> Any:
    """Mean loss of a minibatch in PyTorch."""
    import torch
    from torch.nn import functional

    for i in range(0, len(parameters), 2):
        x = torch.addmm(parameters[i + 1], x, parameters[i])
        if i < len(parameters) - 2:
            x = functional.relu(x)
            if dropout:
                x = functional.dropout(x, dropout)
    return functional.cross_entropy(x, y)


def _torch_epochs(task: Task, begin: Callable[[], Callable[[Any, Any], Any]]) -> Epoch:
    """Epochs of a step that changes its parameters in place; ``begin`` gives one anew."""
    import torch

    X, y = torch.from_numpy(task.X), torch.from_numpy(task.y)

    def epoch(rows: int, shuffled: bool) -> tuple[float, Any]:
        step = begin()
        started = perf_counter()
        order = torch.randperm(rows) if shuffled else None
        total = torch.zeros(task.network.members or ())
        for start in range(0, rows, task.batch):
            if order is None:
                total += step(X[start : start + task.batch], y[start : start + task.batch])
            else:
                batch = order[start : start + task.batch]
                total += step(X.index_select(0, batch), y.index_select(0, batch))
        loss = (total / (rows // task.batch)).numpy()
        return perf_counter() - started, loss

    return epoch


def jax_step(task: Task, cast: Callable[[Any], Any] = lambda a: a) -> Callable[..., Any]:
    """The step in JAX: parameters, moments, t, x, y, key, rate -> parameters, moments, loss.

    Args:
        task: what to do, the rate aside.
        cast: of parameters and x, to the type to compute in; the loss is one of float32.
    """
    import jax
    import jax.numpy as jnp

    def loss(parameters: Any, x: Any, y: Any, key: Any) -> Any:
        parameters, x = [cast(p) for p in parameters], cast(x)
        for i in range(0, len(parameters), 2):
            x = x @ parameters[i] + parameters[i + 1]
            if i < len(parameters) - 2:
                x = jnp.maximum(x, 0)
                if task.dropout:
                    key, layer_key = jax.random.split(key)
                    kept = jax.random.bernoulli(layer_key, 1 - task.dropout, x.shape)
                    x = jnp.where(kept, x / (1 - task.dropout), 0)
        logs = jax.nn.log_softmax(x.astype(jnp.float32))
        return -jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=1))

    def updated(parameters: Any, gradients: Any, moments: Any, t: Any, rate: Any) -> Any:
        if not task.adam:
            pairs = zip(parameters, gradients, strict=True)
            return [p - rate * g for p, g in pairs], moments
        scale, root = rate / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        changed, kept = [], []
        for p, g, (m, v) in zip(parameters, gradients, moments, strict=True):
            first, second = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
            changed.append(p - scale * first / (jnp.sqrt(second) / root + EPSILON))
            kept.append((first, second))
        return changed, kept

    def step(
        parameters: Any, moments: Any, t: Any, x: Any, y: Any, key: Any, rate: Any
    ) -> tuple[Any, Any, Any]:
        value, gradients = jax.value_and_grad(loss)(parameters, x, y, key)
        return *updated(parameters, gradients, moments, t, rate), value

    return step


def jax_scan(task: Task) -> Epoch:
    """JAX: an epoch is one compiled scan over minibatches; of K networks, its vmap.

    Dropout's masks are drawn with JAX's default generator: unsafe_rbg took longer on the CPU (0.65
    against 0.58 ms a step of 784-100-100-10). An order of rows is drawn by NumPy, which is quicker
    at it, and the rows are taken inside the scan, which is quicker than all of them at once.
    """
    jax = imported("jax")
    import jax.numpy as jnp

    update = jax_step(task)

    def step(carried: Any, batch: Any) -> Any:
        parameters, moments, t, key = carried
        key, step_key = jax.random.split(key) if task.dropout else (key, key)
        parameters, moments, value = update(parameters, moments, t + 1, *batch, step_key, task.rate)
        return (parameters, moments, t + 1, key), value

    def scan(parameters: Any, batches: Any, take: Callable[[Any], Any]) -> Any:
        moments = [(jnp.zeros_like(p), jnp.zeros_like(p)) for p in parameters if task.adam]
        start = parameters, moments, 0.0, jax.random.key(0)
        carried, values = jax.lax.scan(lambda c, b: step(c, take(b)), start, batches)
        return carried[0], values.mean()

    def of_file(parameters: Any, X: Any, y: Any) -> Any:
        batches = X.reshape(-1, task.batch, X.shape[1]), y.reshape(-1, task.batch)
        return scan(parameters, batches, lambda batch: batch)

    def given(parameters: Any, X: Any, y: Any, order: Any) -> Any:
        return scan(parameters, order.reshape(-1, task.batch), lambda rows: (X[rows], y[rows]))

    in_order = jax.jit(jax.vmap(of_file, (0, None, None)) if task.network.members else of_file)
    in_given_order = jax.jit(given)
    X, y = jnp.asarray(task.X), jnp.asarray(task.y.astype(np.int32))
    parameters = [jnp.asarray(a) for a in task.parameters]
    orders = np.random.default_rng(0)

    def epoch(rows: int, shuffled: bool) -> tuple[float, Any]:
        data = (X, y) if rows == len(X) else (X[:rows], y[:rows])
        started = perf_counter()
        if shuffled:
            order = orders.permutation(rows).astype(np.int32)
            result = in_given_order(parameters, *data, order)
        else:
            result = in_order(parameters, *data)
        _, value = jax.block_until_ready(result)
        return perf_counter() - started, np.asarray(value)

    return epoch
