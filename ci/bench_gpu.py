"""Time arraymlp on a CUDA GPU beside the best that its peers can do: ci/bench --gpu calls this.

Each case has a process of its own, whose figures so far are kept when it breaks off or takes too
long: a candidate that fails is recorded with its error, and costs at most its own case.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import bench_gpu_peers as peers
import numpy as np
from bench_gpu_peers import BACKENDS, Epochs, GpuTask
from bench_process import answer
from bench_rounds import BARE, GENERIC, MOST_ROUNDS, OURS, Goal, Plan, Result
from bench_tables import as_json, markdown, text
from bench_train import synthetic
from gpu import commit, versions
from gpu import device as gpu

import arraymlp

METHOD = """\
float32 unless said, relu, softmax cross-entropy, mean reduction, rows shuffled each epoch, data on
the device before. Candidates take turns in every round, after a first run that compiles; figures
are medians. The clock is read when the device has done its work. Of ours the epochs after the first
of a call of `train` are timed, from end to end. Every candidate's mean loss of an epoch in file
order, from equal weights, was held against that of `train` by the generic step (with NumPy; in case
d on the device). "/ bare" is the time over that of the bare products by cuBLAS, "/ ours" over
arraymlp's: medians of the rounds' ratios."""
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
LIMIT, QUICK_LIMIT, DRY_LIMIT = 470.0, 90.0, 3600.0  # seconds for everything
CASE_LIMIT = 150.0  # for one case, but in a dry run
LEAST = 15.0  # kept for each case still to come
NOT_TRIED = """\
Tried on the CPU with small sizes: the figures say nothing. Not tried: CuPy (NumPy stood in), any
CUDA kernel, the capture of CUDA graphs (steps were called one by one), TF32, and what torch.compile
and JAX make for a GPU."""

Number = TypeVar("Number", int, float)
# Gets ready (uploads, compiles, checks) -> what is then timed, which gives seconds.
Prepare: TypeAlias = Callable[[], Callable[[], float]]


@dataclass(frozen=True)
class GpuPlan(Plan):
    """As a `Plan`; peers says whether torch.compile and unrolled loops, slow to compile, take part.

    Attributes:
        device: "cuda", or "cpu" to rehearse with small sizes.
    """

    device: str = "cuda"

    def size(self, real: Number, small: Number) -> Number:
        """Of something: the real one, or that of a rehearsal."""
        return real if self.device == "cuda" else small


Measured: TypeAlias = Iterator[tuple[Result, Mapping[str, Prepare]]]


def case_a(plan: GpuPlan, adam: bool = False) -> Measured:
    """The lab's network, a minibatch of 100."""
    of = task(plan, (100, 100), 100, 60_000, adam=adam, rate=0.001 if adam else 0.05)
    makers: dict[str, Callable[[GpuTask], Epochs]] = {
        OURS: peers.ours,
        GENERIC: peers.generic,
        BARE: peers.bare,
        "bare products by CuPy's calls": peers.bare_cupy,
        **JAX,
        **TORCH,
    }
    goals = {OURS: Goal(US, 12), **{name: Goal(OURS, 2) for name in (*JAX, *TORCH)}}
    goals["torch eager"] = Goal(OURS, 20)
    yield training("b" if adam else "a", of, makers, goals, plan)


def case_b(plan: GpuPlan) -> Measured:
    """The same with Adam."""
    yield from case_a(plan, adam=True)


def case_c(plan: GpuPlan) -> Measured:
    """A population of that network: 64 learning rates, one minibatch for all."""
    members = plan.size(64, 4)
    rates = tuple(np.geomspace(1e-3, 0.1, members).tolist())
    rows = plan.size(12_000, 60_000)
    of = task(plan, (100, 100), 100, rows, list(range(members)), rates=rates)
    makers = {
        OURS: peers.ours,
        "JAX vmap(scan)": peers.jax_scan,
        "torch.func.vmap": peers.torch_func,
        "torch.func.vmap, CUDA graph": peers.torch_func_graph,
    }
    goals = {OURS: Goal(US_EACH, 2), **{name: Goal(OURS, 1) for name in makers if name != OURS}}
    yield training("c", of, makers, goals, plan)


def case_d(plan: GpuPlan) -> Measured:
    """Layers so wide that the products are nearly all there is, in three precisions."""
    width, batch = plan.size(4096, 48), plan.size(4096, 64)
    rows, rate = plan.size(15 * 4096, 64_000), plan.size(0.003, 0.05)
    whole = task(plan, (width, width), batch, rows, rate=rate)
    for precision in PRECISIONS:
        of = replace(whole, precision=precision)
        makers = {OURS: peers.ours, BARE: peers.bare, "JAX scan": peers.jax_scan}
        makers |= {name: TORCH[name] for name in ("torch eager", "torch.compile")}
        goals = {OURS: Goal(BARE, 1.1)}
        goals |= {name: Goal(OURS, 1) for name in makers if name not in (OURS, BARE)}
        yield training("d", of, makers, goals, plan)


def case_e(plan: GpuPlan) -> Measured:
    """A whole run of the lab, with the evaluation of training and test rows in each epoch."""
    epochs = plan.size(70, 1)
    title = f"a run of the lab, sigmoid, learning rate 0.05, {epochs} epochs: all of it"
    result = Result("e", title, goals={OURS: Goal(SECONDS, 1)})
    yield (
        result,
        {
            OURS: partial(lab_run, plan, epochs, True),
            "arraymlp, without probes": partial(lab_run, plan, epochs, False),
        },
    )


def lab_run(plan: GpuPlan, epochs: int, probes: bool) -> Callable[[], float]:
    """One run of the lab by the fast step, data on the device before; the first is in its band."""
    backend = arraymlp.resolve(BACKENDS[plan.device], fallback=False)
    mnist = arraymlp.datasets.load_mnist(dtype="float32")
    X, y, X_test, y_test = (
        backend.asarray(a) for a in (mnist.X_train, mnist.y_train, mnist.X_test, mnist.y_test)
    )

    def run() -> tuple[float, float]:
        backend.wait()
        started = perf_counter()
        found = arraymlp.train(
            X, y, validation=(X_test, y_test), preset="lab", activation="sigmoid",
            learning_rate=0.05, epochs=epochs, engine="auto", probes=probes, backend=backend,
        )  # fmt: skip
        backend.wait()
        return perf_counter() - started, 100 * (1 - found.history["validation_error"][-1])

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
run = arraymlp.train(epochs=1, backend={backend!r})
run.backend.wait()
assert run.backend.name == {backend!r}
print([clock() - started, imported - started])
"""


def case_f(plan: GpuPlan) -> Measured:
    """From before the import to the first epoch's end, in processes of their own.

    The data is the bundled MNIST: to read it, and to evaluate the test rows, is in it.
    """
    cold, warm = "arraymlp, nothing compiled", "arraymlp, kernels in the cache"
    with tempfile.TemporaryDirectory() as folder:
        caches = [folder]

        def first(new: bool) -> float:
            if new:
                caches.append(tempfile.mkdtemp(dir=folder))
            return answer(FIRST.format(cache=caches[-1], backend=BACKENDS[plan.device]))[0]

        title = "import and first epoch on MNIST, in a new process"
        result = Result("f", title, goals={cold: Goal(SECONDS, 5), warm: Goal(SECONDS, 1.5)})
        yield (
            result,
            {
                cold: lambda: partial(first, True),
                warm: lambda: partial(first, False),
            },
        )


# What is most at stake comes first: there may be no time for the last.
CASES: dict[str, Callable[[GpuPlan], Measured]] = {
    "a": case_a,
    "c": case_c,
    "e": case_e,
    "f": case_f,
    "d": case_d,
    "b": case_b,
}


def task(
    plan: GpuPlan, hidden: tuple[int, ...], batch: int, rows: int, seed: Any = 0, **given: Any
) -> GpuTask:
    """A task on data of MNIST's shape, whose classes are to be learned."""
    X, y = synthetic(plan.rows(rows, batch), 784, 10)
    drawn = arraymlp.train(X, y, hidden=hidden, seed=seed, epochs=0, backend="numpy")
    return GpuTask(X, y, drawn.network, batch, device=plan.device, **given)


def training(
    case: str,
    of: GpuTask,
    makers: Mapping[str, Callable[[GpuTask], Epochs]],
    goals: dict[str, Goal],
    plan: GpuPlan,
) -> tuple[Result, dict[str, Prepare]]:
    """A result for the task's steps, and its candidates, each checked when it gets ready."""
    members = of.network.members
    how = f"{'Adam' if of.adam else 'SGD'}, {of.precision}"
    several = f"{members} x " if members else ""
    title = f"{several}{'-'.join(map(str, of.network.sizes))}, batch {of.batch}, {how}"
    result = Result(case, title, len(of.X) * (members or 1), goals=goals)
    result.per, result.steps = ("network-step" if members else "step"), of.steps * (members or 1)

    @cache
    def expected() -> tuple[Any, Any]:
        """The mean loss of an epoch in file order, and what it is without learning."""
        near = replace(of, precision="float32", device=plan.device if case == "d" else "cpu")
        still = replace(near, rate=1e-12, rates=(1e-12,) * len(of.rates))
        found = [np.asarray(peers.generic(t)(1, False)[1]) for t in (near, still)]
        falls = f"{float(found[1].max()):.3f} to {float(found[0].min()):.3f}"
        result.notes.append(f"the first epoch's mean loss falls from {falls}")
        return found[0], found[1]

    def prepare(make: Callable[[GpuTask], Epochs]) -> Callable[[], float]:
        epochs = make(of)
        agree(epochs(1, False)[1], *expected(), PRECISIONS[of.precision])
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
    """An AssertionError where losses are apart by more than that part of what they fell by."""
    if loss is None:
        return
    apart = float(np.max(np.abs(np.asarray(loss) - expected) / np.abs(still - expected)))
    if not apart <= tolerance:
        raise AssertionError(
            f"its loss is {apart:.1e} of the fall from ours: it does something else"
        )


def measure(
    result: Result, candidates: Mapping[str, Prepare], plan: Plan, tell: Callable[[], None]
) -> None:
    """Get every candidate ready, time it once, then in rounds until the plan's time is over.

    Args:
        result: all is written into it.
        candidates: what is timed.
        plan: how long, with what it takes to get ready.
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
        own = [w.message for w in caught if not issubclass(w.category, DeprecationWarning)]
        told = dict.fromkeys(str(message).partition("\n")[0][:160] for message in own)
        result.notes += [f"{name}: {message}" for message in [*told][:2]]
        outcome = result.absent.get(name, "ready")
        print(f"{result.case} {name}: {outcome}, {perf_counter() - began:.1f} s", flush=True)
        tell()
    ready = {name: run for name, run in ready.items() if name not in result.absent}
    begun = perf_counter()
    times: dict[str, list[float]] = {name: [] for name in ready}
    for done in range(MOST_ROUNDS):
        now, each = perf_counter(), (perf_counter() - begun) / max(1, done)
        over = now + each > started + plan.seconds
        if done and ((done >= plan.rounds and over) or now + each > begun + plan.seconds):
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
    """Record a candidate's error: its first line, and in full where it came from."""
    lines = str(error).strip().splitlines() or [""]
    result.absent[name] = f"{type(error).__name__}: {lines[0][:120]}"
    result.errors[name] = "".join(traceback.format_exception(error))[-4000:]


def in_a_process(name: str, plan: GpuPlan, limit: float) -> list[Result]:
    """A case's results; what there was of them after so many seconds, or when its process broke."""
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_case, args=(name, plan, there))
    end = perf_counter() + limit
    process.start()
    there.close()
    found: list[Result] = []
    why = ""
    try:
        while here.poll(max(0.0, end - perf_counter())):
            found = here.recv()
        why = f"stopped after {limit:.0f} s"
    except EOFError:
        process.join()
        if process.exitcode:
            why = f"its process ended with status {process.exitcode}"
    finally:
        if process.pid and process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            except ProcessLookupError:  # it leads no group yet
                process.kill()
            process.join()
    if why and not found:
        found = [Result(name, "nothing measured")]
    for result in found:
        if not result.times:
            result.notes.append("each was timed once only")
            result.times = {name: {None: [*t.values()]} for name, t in result.trials.items()}
            result.threads = dict.fromkeys(result.times)
    if why:
        found[-1].notes.append(f"the case was broken off: {why}")
    return found


def _case(name: str, plan: GpuPlan, there: Connection) -> None:
    """What a case's process does."""
    os.setsid()  # so that what it starts ends with it
    results: list[Result] = []
    share = plan.share(len(PRECISIONS)) if name == "d" else plan
    for result, candidates in CASES[name](plan):
        results.append(result)
        measure(result, candidates, share, lambda: there.send(results))
    there.send(results)


def machine(device: str) -> dict[str, Any]:
    """What was measured on, and with what."""
    found: dict[str, Any] = {"commit": commit(), "versions": versions(), "device": device}
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(query, capture_output=True, text=True).stdout.split()
        except OSError:
            said = []
        found |= {"device": gpu(), "driver": said[0] if said else None}
    return found | {"XLA_FLAGS": os.environ.get("XLA_FLAGS")}


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/bench --gpu", description=__doc__)
    parser.add_argument("--only", help=f"cases, as in a,b; of {', '.join(sorted(CASES))}")
    parser.add_argument("--seconds", type=float, default=60, help="that a case may take (60)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, to see that it works")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    chosen = [*CASES] if options.only is None else options.only.split(",")
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(sorted(CASES))}")
    plan = GpuPlan(options.seconds, 5)
    if options.quick:
        plan = GpuPlan(0, 1, 0.1, peers=False)
    if options.dry_run:
        plan = GpuPlan(0, 1, 0.02, not options.quick, "cpu")
    try:
        arraymlp.resolve(BACKENDS[plan.device], fallback=False)
    except arraymlp.BackendUnavailableError as error:
        print(f"ci/bench: {error}", file=sys.stderr)
        return 2
    started = perf_counter()
    limit = DRY_LIMIT if options.dry_run else QUICK_LIMIT if options.quick else LIMIT
    where = machine(plan.device)
    print(json.dumps(where, indent=1), METHOD, sep="\n\n", flush=True)
    results: list[Result] = []
    for i, name in enumerate(chosen):
        left = started + limit - perf_counter() - LEAST * (len(chosen) - 1 - i)
        if left < LEAST:
            results.append(Result(name, "left out: no time was left"))
        else:
            most = left if options.dry_run else min(left, CASE_LIMIT)
            results += in_a_process(name, plan, most)
        if options.json:
            everything = {"machine": where, "results": [as_json(result) for result in results]}
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(everything, indent=1) + "\n")
        print("", *(text(r) for r in results if r.case == name), sep="\n\n", flush=True)
    print("\n\nIn Markdown: in brackets how many times ours that is\n")
    print(markdown(results))
    print(f"\nmeasured in {perf_counter() - started:.0f} s")
    if options.dry_run:
        absent = [f"- {r.case}, {name}: {why}" for r in results for name, why in r.absent.items()]
        print("", NOT_TRIED, "Could not run here:", *(absent or ["- nothing"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
