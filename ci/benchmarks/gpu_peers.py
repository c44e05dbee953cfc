"""The same training on a CUDA GPU in each library, in its best forms; a function for each form.

Each takes a `GpuTask` and gives `Epochs`, which begin at the task's weights whenever they are
called. All take their minibatches by row numbers from data that lies on the device, draw an
epoch's order there, but for ours, which draws it on the host, and read the mean loss of each epoch.

With the device "cpu", in a rehearsal, the others run there, the steps of their CUDA graphs called
one by one, and ours on a fake of CuPy.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np

import arraymlp
from arraymlp.backends.array import HostArray
from arraymlp.backends.backend import Backend
from arraymlp.engines.cuda.ways import wanted
from arraymlp.steps.optimizers import get_optimizer
from benchmarks.peers import Task, imported, jax_step, torch_loss, torch_state, torch_step

# (epochs, shuffled) -> seconds an epoch, mean loss of the first one; of K networks (K,); or None
Epochs: TypeAlias = Callable[[int, bool], tuple[float, Any]]
TORCH_PRECISION = {"float32": "highest", "tf32": "high", "bf16": "highest"}
# "bfloat16" would be TF32 on a GPU: there bf16 is a cast, as in torch.autocast.
JAX_PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "highest"}
CHUNK = 30  # steps of a long CUDA graph, at most
_uploads: dict[tuple[int, str], tuple[Any, Any]] = {}


@dataclass(frozen=True)
class GpuTask(Task):
    """What every library computes.

    Attributes:
        device: of PyTorch and JAX: "cuda", or "cpu" to rehearse.
        library: that ours runs on.
        precision: of the products: "float32", "tf32" or "bf16".
        rates: of K networks, instead of ``rate``.
    """

    device: str = "cuda"
    library: str = "cupy"
    precision: str = "float32"
    rates: tuple[float, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The same for `arraymlp.train`."""
        precision = {} if self.precision == "float32" else {"precision": self.precision}
        rate = self.rates or self.rate
        return {**super().settings, **precision, "learning_rate": rate, "backend": self.backend}

    @property
    def backend(self) -> Backend:
        """The backend of ours; a BackendUnavailableError if it cannot run here."""
        return arraymlp.resolve(self.library, fallback=False)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.X) // self.batch

    @property
    def chunk(self) -> int:
        """The most steps up to CHUNK that divide an epoch."""
        return next(n for n in range(CHUNK, 0, -1) if self.steps % n == 0)


def ours(task: GpuTask, engine: Literal["auto", "array"] = "auto") -> Epochs:
    """`arraymlp.train`, timed from its first epoch's end: the set-up of a call is left out.

    An epoch ends when a callback gets its loss, which was read from the device.
    """
    backend = task.backend
    X, y = backend.asarray(task.X), backend.asarray(task.y)

    def epochs(n: int, shuffled: bool) -> tuple[float, Any]:
        ends: list[float] = []
        run = arraymlp.train(
            X, y, network=task.network, epochs=n + 1, shuffle=shuffled, engine=engine,
            callbacks=[lambda _: ends.append(perf_counter())], **task.settings,
        )  # fmt: skip
        backend.wait()
        return (ends[-1] - ends[0]) / n, run.history["loss"][0]

    return epochs


def by(way: str) -> Callable[[GpuTask], Epochs]:
    """The same with whole epochs by another of the engine's ways, which must cover the task."""

    def made(task: GpuTask) -> Epochs:
        from arraymlp.engines.cuda.engine import ways

        rule = get_optimizer(task.settings["optimizer"])
        if way not in ways(task.backend).covering(task.network, rule, task.batch):
            raise ValueError(f"{way} does not train this here")
        epochs = ours(task)

        def those(n: int, shuffled: bool) -> tuple[float, Any]:
            with wanted(way):
                return epochs(n, shuffled)

        return those

    return made


def array_code(task: GpuTask) -> Epochs:
    """`arraymlp.train` by the array code, which is the definition."""
    return ours(task, engine="array")


def bare(task: GpuTask) -> Epochs:
    """The products alone: PyTorch's calls of cuBLAS in a CUDA graph, so that Python takes no part.

    Three forward, three weight gradients and two input gradients for two hidden layers. With bf16
    their results are bf16 too.
    """
    torch = imported("torch")
    kind = torch.bfloat16 if task.precision == "bf16" else torch.float32
    X = _on(task, "torch")[0].to(kind)
    work = _products(task, X, torch.mm, lambda a: torch.from_numpy(a).to(task.device, kind))

    def steps() -> None:
        for i in range(task.chunk):
            work(i)

    with _torch_precision(task):
        replay = _captured(steps, task.device)

    def epochs(n: int, shuffled: bool) -> tuple[float, Any]:
        with _torch_precision(task):
            _wait(task)
            started = perf_counter()
            for _ in range(n * task.steps // task.chunk):
                replay()
            _wait(task)
        return (perf_counter() - started) / n, None

    return epochs


def bare_cupy(task: GpuTask) -> Epochs:
    """The products alone, by calls of CuPy, whose time on the host is in it.

    CuPy cannot capture cuBLAS in a CUDA graph.
    """
    xp = imported(task.library)
    backend = task.backend
    work = _products(task, backend.asarray(task.X), xp.matmul, backend.asarray)

    def epochs(n: int, shuffled: bool) -> tuple[float, Any]:
        backend.wait()
        started = perf_counter()
        for _ in range(n):
            for i in range(task.steps):
                work(i)
        backend.wait()
        return (perf_counter() - started) / n, None

    return epochs


def _products(
    task: GpuTask, X: Any, matmul: Any, array: Callable[[HostArray], Any]
) -> Callable[[int], None]:
    """A function that makes all products of a step, given its number, into preallocated outputs."""
    weights = [array(w) for w in task.parameters[::2]]
    gradients = [array(np.zeros_like(w)) for w in task.parameters[::2]]
    sums = [array(np.zeros((task.batch, n), np.float32)) for n in task.network.sizes[1:]]

    def step(i: int) -> None:
        passes = [X[i * task.batch : (i + 1) * task.batch], *sums]
        for x, w, s in zip(passes, weights, sums, strict=False):
            matmul(x, w, out=s)
        for j in reversed(range(len(weights))):
            matmul(passes[j].T, sums[j], out=gradients[j])
            if j > 0:
                matmul(sums[j], weights[j].T, out=sums[j - 1])

    return step


def torch_eager(task: GpuTask) -> Epochs:
    """PyTorch, operation by operation, with a fused update."""
    return _torch_epochs(task, *_eager(task))


def torch_graph(task: GpuTask) -> Epochs:
    """PyTorch, its whole step in a CUDA graph: gather, gradients, update, sum of losses."""
    return _torch_epochs(task, *_eager(task), chunk=1)


def torch_compiled(task: GpuTask) -> Epochs:
    """The whole step by torch.compile, which makes CUDA graphs itself ("reduce-overhead").

    A warning says so where it made none.
    """
    from torch._dynamo.utils import counters

    torch = imported("torch")
    step, reset, total, tensors = _functional(task, mode="reduce-overhead")
    for tensor in tensors:  # else each call copies them, and changing them forbids a graph
        torch._dynamo.mark_static_address(tensor)
    before = counters["inductor"]["cudagraph_skips"]
    batch = torch.arange(task.batch, device=task.device)
    with _torch_precision(task):
        for _ in range(3):
            step(batch)
    if task.device == "cuda" and counters["inductor"]["cudagraph_skips"] > before:
        warnings.warn("torch.compile made no CUDA graph", stacklevel=1)
    return _torch_epochs(task, step, reset, total)


def torch_compiled_graph(task: GpuTask) -> Epochs:
    """Many steps by torch.compile, captured together in one CUDA graph: PyTorch's best."""
    step, reset, total, _ = _functional(task)
    return _torch_epochs(task, step, reset, total, chunk=task.chunk)


def torch_func(task: GpuTask, chunk: int = 0) -> Epochs:
    """K networks: torch.func's vmap of grad_and_value."""
    torch = imported("torch")
    loss = _torch_loss(task)
    both = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))
    X, y = _on(task, "torch")
    (parameters,) = torch_state(task, task.device)
    parameters = tuple(parameters)
    initial = [p.clone() for p in parameters]
    total = torch.zeros(len(task.rates), device=task.device)
    downhill = torch.tensor(task.rates, device=task.device)[:, None, None] * -1

    def step(batch: Any) -> None:
        gradients, values = both(parameters, X.index_select(0, batch), y.index_select(0, batch))
        for p, g in zip(parameters, gradients, strict=True):
            p.addcmul_(g, downhill)
        total.add_(values)

    return _torch_epochs(
        task, step, lambda: torch._foreach_copy_(parameters, initial), total, chunk=chunk
    )


def torch_func_graph(task: GpuTask) -> Epochs:
    """The same, its whole step captured in a CUDA graph."""
    return torch_func(task, chunk=1)


def _torch_loss(task: GpuTask) -> Callable[[Any, Any, Any], Any]:
    import torch

    if task.precision != "bf16":
        return lambda parameters, x, y: torch_loss(parameters, x, y, 0.0)

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        with torch.autocast(task.device, torch.bfloat16):
            return torch_loss(parameters, x, y, 0.0)

    return loss


def _eager(task: GpuTask) -> tuple[Callable[[Any], None], Callable[[], None], Any]:
    """A step by autograd on given rows, a reset of its weights, and the sum of its losses."""
    torch = imported("torch")
    X, y = _on(task, "torch")
    loss = _torch_loss(task)
    parameters = [p.requires_grad_() for p in torch_state(task, task.device)[0]]
    initial = [p.detach().clone() for p in parameters]
    total = torch.zeros((), device=task.device)
    adam = None
    if task.adam:
        graphs = task.device == "cuda"
        adam = torch.optim.Adam(parameters, task.rate, fused=True, capturable=graphs)

    def step(batch: Any) -> None:
        value = loss(parameters, X.index_select(0, batch), y.index_select(0, batch))
        gradients = torch.autograd.grad(value, parameters)
        with torch.no_grad():
            if adam is None:
                torch._foreach_add_(parameters, gradients, alpha=-task.rate)
            else:
                for p, g in zip(parameters, gradients, strict=True):
                    p.grad = g
                adam.step()
            total.add_(value)

    def reset() -> None:
        with torch.no_grad():
            torch._foreach_copy_(parameters, initial)
            for state in adam.state.values() if adam else ():
                for tensor in state.values():
                    tensor.zero_()

    return step, reset, total


def _functional(
    task: GpuTask, **how: Any
) -> tuple[Callable[[Any], None], Callable[[], None], Any, list[Any]]:
    """As `_eager`, by torch.compile, and all tensors of the step but the row numbers."""
    torch = imported("torch")
    X, y = _on(task, "torch")
    state = torch_state(task, task.device)
    changed = [*(t for part in state if isinstance(part, list) for t in part)]
    changed += [t for t in state if not isinstance(t, list)]
    initial = [t.clone() for t in changed]
    total = torch.zeros((), device=task.device)
    on_rows = torch_step(task, _torch_loss(task))

    def with_rows(state: Any, total: Any, X: Any, y: Any, batch: Any) -> None:
        total.add_(on_rows(*state, X.index_select(0, batch), y.index_select(0, batch)))

    compiled = torch.compile(with_rows, dynamic=False, fullgraph=True, **how)

    def step(batch: Any) -> None:
        compiled(state, total, X, y, batch)

    def reset() -> None:
        for tensor, value in zip(changed, initial, strict=True):
            tensor.copy_(value)

    return step, reset, total, [*changed, total, X, y]


def _torch_epochs(
    task: GpuTask,
    step: Callable[[Any], None],
    reset: Callable[[], Any],
    total: Any,
    chunk: int = 0,
) -> Epochs:
    """Epochs of a step; unless ``chunk`` is 0, by a CUDA graph of so many steps."""
    import torch

    n, size = len(task.X), max(1, chunk)
    do = step
    if chunk:
        rows = torch.zeros(chunk, task.batch, dtype=torch.int64, device=task.device)

        def steps() -> None:
            for batch in rows.unbind():
                step(batch)

        with _torch_precision(task):
            replay = _captured(steps, task.device)

        def do(batches: Any) -> None:
            rows.copy_(batches)
            replay()

    def epoch(shuffled: bool) -> Any:
        order = (torch.randperm if shuffled else torch.arange)(n, device=task.device)
        total.zero_()
        shape = (-1, size, task.batch) if chunk else (-1, task.batch)
        for batches in order.view(*shape).unbind():
            do(batches)
        return (total / task.steps).cpu().numpy()  # reading it waits for it

    def epochs(n: int, shuffled: bool) -> tuple[float, Any]:
        reset()
        with _torch_precision(task):
            _wait(task)
            started = perf_counter()
            losses = [epoch(shuffled) for _ in range(n)]
            _wait(task)
        return (perf_counter() - started) / n, losses[0]

    return epochs


def _captured(work: Callable[[], object], device: str) -> Callable[[], object]:
    """The work as a CUDA graph's replay; on the CPU the work itself."""
    import torch

    if device == "cpu":
        work()
        return work
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # everything is compiled and set up before the capture
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Callable[[], object] = graph.replay
    return replay


@contextmanager
def _torch_precision(task: GpuTask) -> Iterator[None]:
    """Context in which PyTorch's float32 products are of the task's precision."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(TORCH_PRECISION[task.precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _wait(task: GpuTask) -> None:
    """Wait until PyTorch's work on the device is done."""
    if task.device == "cuda":
        import torch

        torch.cuda.synchronize()


def jax_scan(task: GpuTask, unroll: int = 1) -> Epochs:
    """JAX: an epoch is one compiled scan, which takes its rows inside; of K networks, its vmap.

    The parameters are donated.
    """
    jax = imported("jax")
    import jax.numpy as jnp

    half = task.precision == "bf16"
    update = jax_step(task, (lambda a: a.astype(jnp.bfloat16)) if half else lambda a: a)
    n, members = len(task.X), task.network.members

    def scan(carried: Any, X: Any, y: Any, order: Any, rate: Any) -> Any:
        def step(carried: Any, batch: Any) -> Any:
            parameters, moments, t = carried
            x, labels = (a.at[batch].get(mode="promise_in_bounds") for a in (X, y))
            parameters, moments, value = update(parameters, moments, t + 1, x, labels, None, rate)
            return (parameters, moments, t + 1), value

        rows = order.reshape(-1, task.batch)
        carried, values = jax.lax.scan(step, carried, rows, unroll=unroll)
        return carried, values.mean()

    of_all = jax.vmap(scan, (0, None, None, None, 0)) if members else scan
    epoch = jax.jit(of_all, donate_argnums=0)
    drawn = jax.jit(lambda key: jax.random.permutation(key, n))
    X, y = _on(task, "jax")
    rate = jnp.asarray(task.rates or task.rate, jnp.float32)
    in_order = jnp.arange(n)

    def begin() -> Any:
        parameters = [jnp.array(a) for a in task.parameters]
        moments = [(jnp.zeros_like(p), jnp.zeros_like(p)) for p in parameters if task.adam]
        return parameters, moments, jnp.zeros((members,) if members else ())

    def epochs(count: int, shuffled: bool) -> tuple[float, Any]:
        with jax.default_matmul_precision(JAX_PRECISION[task.precision]):
            carried = jax.block_until_ready(begin())
            losses = []
            key = jax.random.key(0)
            started = perf_counter()
            for _ in range(count):
                key, epoch_key = jax.random.split(key)
                order = drawn(epoch_key) if shuffled else in_order
                carried, loss = epoch(carried, X, y, order, rate)
                losses.append(np.asarray(loss))  # reading it waits for it
            jax.block_until_ready(carried)
            return (perf_counter() - started) / count, losses[0]

    return epochs


def jax_unrolled(task: GpuTask) -> Epochs:
    """The same, with ten steps in the body of the loop."""
    return jax_scan(task, unroll=10)


def _on(task: GpuTask, library: str) -> tuple[Any, Any]:
    """X and y as arrays of PyTorch or JAX on the device, once for all forms."""
    key = id(task.X), library
    if key not in _uploads:
        if library == "torch":
            torch = imported("torch")
            X, y = (torch.from_numpy(a).to(task.device) for a in (task.X, task.y))
        else:
            jnp = imported("jax.numpy")
            X, y = jnp.asarray(task.X), jnp.asarray(task.y.astype(np.int32))
        _uploads[key] = X, y
    return _uploads[key]
