"""The cases of ci/bench --gpu, each with its candidates, and how long a candidate takes."""

import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import numpy as np

import arraymlp
from benchmarks import gpu_peers as peers
from benchmarks.gpu_peers import Epochs, GpuTask
from benchmarks.process import answer
from benchmarks.rounds import ARRAY, BARE, MOST_ROUNDS, OURS, Goal, Plan, Result
from benchmarks.training import synthetic

US, US_EACH, SECONDS = "us a step", "us a network-step", "s"
TORCH = {
    "torch eager": peers.torch_eager,
    "torch CUDA graph": peers.torch_graph,
    "torch.compile": peers.torch_compiled,
    "torch.compile, long graph": peers.torch_compiled_graph,
}
JAX = {"JAX scan": peers.jax_scan, "JAX scan, unrolled": peers.jax_unrolled}
# How far losses may be apart, as a part of what the loss has fallen by.
PRECISIONS = {"float32": 0.01, "tf32": 0.01, "bf16": 0.03}
SHUFFLED = 0.25  # of rows in another order

Number = TypeVar("Number", int, float)
# Prepares a candidate (uploads, compiles, checks) and returns what is timed: work -> seconds.
Prepare: TypeAlias = Callable[[], Callable[[], float]]


@dataclass(frozen=True)
class GpuPlan(Plan):
    """As a `Plan`; ``peers`` False leaves out torch.compile and unrolled loops, slow to compile.

    Attributes:
        device: "cuda", or "cpu" to rehearse with small sizes, on a fake of CuPy.
    """

    device: str = "cuda"

    def size(self, real: Number, small: Number) -> Number:
        """The real size of something, or its size in a rehearsal."""
        return real if self.device == "cuda" else small


Measured: TypeAlias = Iterator[tuple[Result, Mapping[str, Prepare]]]


def case_a(plan: GpuPlan, adam: bool = False) -> Measured:
    """The lab's network, a minibatch of 100."""
    width, rate = plan.size(100, 24), 0.001 if adam else 0.05
    task = make_task(plan, (width, width), 100, 60_000, adam=adam, rate=rate)
    makers: dict[str, Callable[[GpuTask], Epochs]] = {
        OURS: peers.ours,
        "arraymlp, persistent": peers.by("persistent"),
        ARRAY: peers.array_code,
        BARE: peers.bare,
        "bare products by CuPy's calls": peers.bare_cupy,
        **JAX,
        **TORCH,
    }
    goals = {OURS: Goal(US, 8), **{name: Goal(OURS, 2) for name in (*JAX, *TORCH)}}
    goals |= {"arraymlp, persistent": Goal(US, 5), "torch eager": Goal(OURS, 30)}
    yield training("b" if adam else "a", task, makers, goals, plan)


def case_b(plan: GpuPlan) -> Measured:
    """The same with Adam."""
    yield from case_a(plan, adam=True)


def case_c(plan: GpuPlan) -> Measured:
    """A population of that network: 64 learning rates, one minibatch for all."""
    members = plan.size(64, 4)
    rates = tuple(np.geomspace(1e-3, 0.1, members).tolist())
    rows = plan.size(12_000, 60_000)
    task = make_task(plan, (100, 100), 100, rows, list(range(members)), rates=rates)
    makers: dict[str, Callable[[GpuTask], Epochs]] = {
        OURS: peers.ours,
        "arraymlp, clusters": peers.by("clusters"),
        "JAX vmap(scan)": peers.jax_scan,
        "torch.func.vmap": peers.torch_func,
        "torch.func.vmap, CUDA graph": peers.torch_func_graph,
    }
    goals = {name: Goal(OURS, 1) for name in makers}
    goals |= {OURS: Goal(US_EACH, 1.3), "arraymlp, clusters": Goal(US_EACH, 1)}
    yield training("c", task, makers, goals, plan)


def case_d(plan: GpuPlan) -> Measured:
    """Layers so wide that the products are nearly all there is, in three precisions."""
    width, batch = plan.size(4096, 48), plan.size(4096, 64)
    rows, rate = plan.size(15 * 4096, 64_000), plan.size(0.003, 0.05)
    full = make_task(plan, (width, width), batch, rows, rate=rate)
    for precision in PRECISIONS:
        task = replace(full, precision=precision)
        makers: dict[str, Callable[[GpuTask], Epochs]]
        makers = {OURS: peers.ours, BARE: peers.bare, "JAX scan": peers.jax_scan}
        makers |= {name: TORCH[name] for name in ("torch eager", "torch.compile")}
        goals = {OURS: Goal(BARE, 1.05 if precision == "float32" else 1.15)}
        goals |= {name: Goal(OURS, 1) for name in makers if name not in (OURS, BARE)}
        yield training("d", task, makers, goals, plan)


def case_e(plan: GpuPlan) -> Measured:
    """A whole run of the lab, with the evaluation of training and test rows in each epoch."""
    epochs = plan.size(70, 1)
    title = f"a run of the lab, sigmoid, learning rate 0.05, {epochs} epochs: all of it"
    result = Result("e", title, goals={OURS: Goal(SECONDS, 0.7)})
    yield (
        result,
        {
            OURS: partial(lab_run, plan, epochs, True),
            "arraymlp, without probes": partial(lab_run, plan, epochs, False),
        },
    )


def lab_run(plan: GpuPlan, epochs: int, probes: bool) -> Callable[[], float]:
    """One run of the lab by the engine, data on the device before; the first is in its band."""
    backend = arraymlp.resolve("cupy", fallback=False)
    mnist = arraymlp.datasets.load_mnist(dtype="float32")
    rows = plan.size(60_000, 300)
    X, y, X_test, y_test = (
        backend.asarray(a[:rows])
        for a in (mnist.X_train, mnist.y_train, mnist.X_test, mnist.y_test)
    )

    def run() -> tuple[float, float]:
        backend.wait()
        started = perf_counter()
        trained = arraymlp.train(
            X, y, validation=(X_test, y_test), preset="lab", activation="sigmoid",
            learning_rate=0.05, epochs=epochs, engine="auto", probes=probes, backend=backend,
        )  # fmt: skip
        backend.wait()
        return perf_counter() - started, 100 * (1 - trained.history["validation_error"][-1])

    _, accuracy = run()
    if epochs == 70 and not 97.0 <= accuracy <= 97.9:
        raise AssertionError(f"{accuracy:.2f} % of the test rows, not 97.0 to 97.9 %")
    return lambda: run()[0]


FIRST = """
import os
os.environ["CUPY_CACHE_DIR"] = os.environ["CUDA_CACHE_PATH"] = {cache!r}
from time import perf_counter as clock
started = clock()
import arraymlp
imported = clock()
run = arraymlp.train({rows}epochs=1, backend="cupy")
run.backend.wait()
assert run.backend.name == "cupy"
print([clock() - started, imported - started])
"""
REHEARSED = "*(a[:300] for a in arraymlp.datasets.load_mnist(dtype='float32')[:2]), "


def case_f(plan: GpuPlan) -> Measured:
    """From before the import to the first epoch's end, in processes of their own.

    The data is the bundled MNIST; reading it and evaluating the test rows are included.
    """
    cold, warm = "arraymlp, nothing compiled", "arraymlp, kernels in the cache"
    with tempfile.TemporaryDirectory() as folder:
        caches, rows = [folder], "" if plan.device == "cuda" else REHEARSED

        def first(new: bool) -> float:
            if new:
                caches.append(tempfile.mkdtemp(dir=folder))
            return answer(FIRST.format(cache=caches[-1], rows=rows))[0]

        title = "import and first epoch on MNIST, in a new process"
        result = Result("f", title, goals={cold: Goal(SECONDS, 5), warm: Goal(SECONDS, 1.5)})
        yield (
            result,
            {
                cold: lambda: partial(first, True),
                warm: lambda: partial(first, False),
            },
        )


# The most important first: there may be no time for the last.
CASES: dict[str, Callable[[GpuPlan], Measured]] = {
    "a": case_a,
    "c": case_c,
    "e": case_e,
    "f": case_f,
    "d": case_d,
    "b": case_b,
}


def make_task(
    plan: GpuPlan, hidden: tuple[int, ...], batch: int, rows: int, seed: Any = 0, **given: Any
) -> GpuTask:
    """A task on data of MNIST's shape, with classes that can be learned."""
    X, y = synthetic(plan.rows(rows, batch), 784, 10)
    drawn = arraymlp.train(X, y, hidden=hidden, seed=seed, epochs=0, backend="numpy")
    return GpuTask(X, y, drawn.network, batch, device=plan.device, **given)


def training(
    case: str,
    task: GpuTask,
    makers: Mapping[str, Callable[[GpuTask], Epochs]],
    goals: dict[str, Goal],
    plan: GpuPlan,
) -> tuple[Result, dict[str, Prepare]]:
    """A result for the task's steps, and its candidates; each is checked when it is prepared."""
    members = task.network.members
    how = f"{'Adam' if task.adam else 'SGD'}, {task.precision}"
    times = f"{members} x " if members else ""
    title = f"{times}{'-'.join(map(str, task.network.sizes))}, batch {task.batch}, {how}"
    result = Result(case, title, len(task.X) * (members or 1), goals=goals)
    result.per, result.steps = ("network-step" if members else "step"), task.steps * (members or 1)

    @cache
    def expected() -> tuple[Any, Any]:
        """The mean loss of an epoch in file order, and what it is without learning."""
        near = replace(task, precision="float32", library="cupy" if case == "d" else "numpy")
        still = replace(near, rate=1e-12, rates=(1e-12,) * len(task.rates))
        learned, start = (np.asarray(peers.array_code(t)(1, False)[1]) for t in (near, still))
        fall = f"{float(start.max()):.3f} to {float(learned.min()):.3f}"
        result.notes.append(f"the first epoch's mean loss falls from {fall}")
        return learned, start

    def prepare(make: Callable[[GpuTask], Epochs]) -> Callable[[], float]:
        epochs = make(task)
        agree(epochs(1, False)[1], *expected(), PRECISIONS[task.precision])
        seconds, _ = epochs(1, True)
        n = min(20, max(2, round(0.2 / max(seconds, 1e-4)))) if plan.device == "cuda" else 1

        def run() -> float:
            seconds, loss = epochs(n, True)
            agree(loss, *expected(), SHUFFLED)
            return seconds

        return run

    slow = [name for name in makers if "compile" in name or "unrolled" in name]
    chosen = {name: make for name, make in makers.items() if plan.peers or name not in slow}
    return result, {name: partial(prepare, make) for name, make in chosen.items()}


def agree(loss: Any, expected: Any, still: Any, tolerance: float) -> None:
    """Raise an AssertionError if losses differ by more than this fraction of their fall."""
    if loss is None:
        return
    apart = float(np.max(np.abs(np.asarray(loss) - expected) / np.abs(still - expected)))
    if not apart <= tolerance:
        raise AssertionError(
            f"its loss differs from ours by {apart:.1e} of the fall: it computes something else"
        )


def measure(
    result: Result, candidates: Mapping[str, Prepare], plan: Plan, tell: Callable[[], None]
) -> None:
    """Prepare every candidate, time it once, then in rounds until the plan's time is over.

    Args:
        result: everything is written into it.
        candidates: by name.
        plan: how long, preparation included.
        tell: called when there is more in the result.
    """
    started = perf_counter()
    result.names = tuple(candidates)
    ready: dict[str, Callable[[], float]] = {}
    result.absent = dict.fromkeys(candidates, "not reached")
    for name, prepare in candidates.items():
        began = perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                ready[name] = prepare()
                result.trials[name] = {None: ready[name]()}
                del result.absent[name]
            except Exception as error:
                _failed(result, name, error)
        warned = [w.message for w in caught if not issubclass(w.category, DeprecationWarning)]
        first_lines = dict.fromkeys(str(text).partition("\n")[0][:160] for text in warned)
        result.notes += [f"{name}: {line}" for line in [*first_lines][:2]]
        outcome = result.absent.get(name, "ready")
        print(f"{result.case} {name}: {outcome}, {perf_counter() - began:.1f} s", flush=True)
        tell()
    ready = {name: run for name, run in ready.items() if name not in result.absent}
    begun = perf_counter()
    times: dict[str, list[float]] = {name: [] for name in ready}
    for done in range(MOST_ROUNDS):
        now, a_round = perf_counter(), (perf_counter() - begun) / max(1, done)
        over = now + a_round > started + plan.seconds
        if done and ((done >= plan.rounds and over) or now + a_round > begun + plan.seconds):
            break
        for name in [*times]:
            try:
                times[name].append(ready[name]())
            except Exception as error:
                _failed(result, name, error)
                del times[name]
        result.times = {name: {None: [*seconds]} for name, seconds in times.items()}
        result.threads = dict.fromkeys(times)
        tell()


def _failed(result: Result, name: str, error: Exception) -> None:
    """Record a candidate's error: its first line, and the whole traceback."""
    lines = str(error).strip().splitlines() or [""]
    result.absent[name] = f"{type(error).__name__}: {lines[0][:120]}"
    result.errors[name] = "".join(traceback.format_exception(error))[-4000:]
