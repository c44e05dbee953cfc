"""The fake of CuPy: as strict as CuPy, and what a first training would have CuPy compile."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arraymlp
from cuda_on_host import unavailable
from pages import ROOT

RUNS_KERNELS = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "it works")


def told(code: str, **environment: str) -> Any:
    """What a process that has the fake prints as JSON; its own errors end the test."""
    paths = [Path(arraymlp.__file__).parents[1], ROOT / "tests" / "support" / "fake_cupy"]
    path = os.pathsep.join(map(str, paths))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import json\nimport numpy as np\n{code}"],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REFUSALS = {
    "np.asarray(x)": "TypeError",
    "x + np.ones(4)": "TypeError",
    "np.ones(4) + x": "TypeError",
    "cupy.matmul(x.reshape(2, 2), np.ones((2, 2)))": "TypeError",
    "x.__setitem__(Ellipsis, np.ones(4))": "ValueError",
    "cupy.array(['text'])": "ValueError",
    "hash(cupy.cuda.Device(0))": "TypeError",
    "bool(x)": "ValueError",
    "x.set(np.ones(4))": "TypeError",  # float64
    "cupy.cuda.Device(7).use()": "CUDARuntimeError",
    "cupy.empty(2**40)": "OutOfMemoryError",
    "captured(lambda: cupy.matmul(x, x))": "NotImplementedError",
    "captured(lambda: x.get())": "CUDARuntimeError",
    "captured(lambda: cupy.asarray(np.ones(4)))": "CUDARuntimeError",
    "captured(lambda: x + 1)": "RuntimeError",
    "cupy.cuda.Stream.null.begin_capture()": "RuntimeError",
    "gemm(4, lda=4)": "",
    "gemm(4, lda=3)": "CUBLASError",
    "gemm(4, lda=4, compute=cupy.cuda.cublas.CUBLAS_COMPUTE_64F)": "CUBLASError",
    "gemm(40, lda=40)": "CUDARuntimeError",  # beyond the array
    "np.sqrt(x)": "",
    "captured(lambda: cupy.add(x, 1, out=x))": "",
}
REFUSED = """
import cupy

x = cupy.ones(4, np.float32)
square = cupy.ones((4, 4), np.float32)

def captured(work):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            work()
        finally:
            try:
                stream.end_capture()
            except cupy.cuda.runtime.CUDARuntimeError:
                pass

def gemm(n, lda, compute=cupy.cuda.cublas.CUBLAS_COMPUTE_32F):
    one, at = np.ones(1, np.float32), square.data.ptr
    handle, blas = cupy.cuda.device.get_cublas_handle(), cupy.cuda.cublas
    blas.gemmEx(handle, 0, 0, n, n, n, one.ctypes.data, at, 0, lda, at, 0, n, one.ctypes.data,
                at, 0, n, compute, blas.CUBLAS_GEMM_DEFAULT)

def error_of(text):
    try:
        eval(text)
    except Exception as error:
        return type(error).__name__
    return ""

print(json.dumps({text: error_of(text) for text in TEXTS}))
"""


def test_it_refuses_what_cupy_refuses() -> None:
    assert told(f"TEXTS = {[*REFUSALS]}\n{REFUSED}") == REFUSALS


ROOM = """
import cupy
from arraymlp.engines.cuda.device import Kernels
from arraymlp.engines.cuda.source import RefusedError

device = Kernels("dense_float32.cu", 0)
kernel = device._compiled("slopes")
sizes = [kernel.shared_size_bytes, kernel.max_dynamic_shared_size_bytes]
error = 0
try:
    kernel.max_dynamic_shared_size_bytes = sizes[1] + 1
except cupy.cuda.driver.CUDADriverError as refusal:
    error = refusal.status

def launch(status):
    def refuse(*args, **named):
        raise cupy.cuda.driver.CUDADriverError(status)
    type(kernel.kernel).__call__ = refuse
    try:
        device.launch("slopes", (1, 1, 1), 256, ())
    except (RefusedError, cupy.cuda.driver.CUDADriverError) as error:
        return type(error).__name__

print(json.dumps([*sizes, error, *map(launch, (701, 912, 700))]))
"""


@RUNS_KERNELS
def test_static_shared_memory_counts_and_a_lack_of_room_is_a_refusal() -> None:
    static, dynamic, error, *launched = told(ROOM)
    assert (static + dynamic, error) == (227 * 1024, 1)
    assert static >= 16 * 256  # of a block of `slopes`, four floats a thread
    assert launched == ["RefusedError", "RefusedError", "CUDADriverError"]


LATE = """
import cupy
aside, device, host = cupy.cuda.Stream(non_blocking=True), cupy.empty(3), np.arange(3.0)
device.set(host, stream=aside)
before = bool(np.isnan(device.get()).all())
aside.synchronize()
print(json.dumps([before, device.get().tolist()]))
"""


def test_a_copy_on_a_stream_of_its_own_comes_when_that_is_waited_for() -> None:
    assert told(LATE) == [True, [0, 1, 2]]


GRAPH = """
import cupy
code = 'extern "C" __global__ void one_more(float* x) { x[0] += 1; }'
kernel = cupy.RawModule(code=code, options=("--std=c++17",)).get_function("one_more")
x = cupy.zeros(1, np.float32)
stream = cupy.cuda.Stream(non_blocking=True)
with stream:
    stream.begin_capture()
    kernel((1,), (1,), (x,))
    kernel((1,), (1,), (np.uintp(x.data.ptr),))
    graph = stream.end_capture()
recorded = float(x[0])
graph.launch()
replayed = float(x[0])
errors = []
for use in (lambda: kernel((1,), (1,), (x,), shared_mem=49_153), graph.launch):
    try:
        use()
        errors.append("")
    except Exception as error:
        errors.append(type(error).__name__)
    del x
    x = None
print(json.dumps([recorded, replayed, errors]))
"""


@RUNS_KERNELS
def test_a_graph_records_launches_and_needs_its_arrays() -> None:
    assert told(GRAPH) == [0, 2, ["CUDADriverError", "LaunchError"]]


COUNTED = """
import cupy
from cupy import fake

def kinds(work):
    fake.forget()
    work()
    return [c.kind for c in fake.compilations()]

x = cupy.ones((300, 200), np.float32)
print(json.dumps([kinds(lambda: cupy.sum(x)), kinds(lambda: cupy.all(cupy.isfinite(x))),
    kinds(lambda: cupy.max(x, axis=1)), kinds(lambda: cupy.max(x.T, axis=0)),
    kinds(lambda: cupy.sum(x[:, ::2], axis=1)), kinds(lambda: cupy.argmax(x, axis=1)),
    kinds(lambda: [x + 1, x + 2.0, x.T + 1, x + x, x[0] + 1])]))
"""


def test_it_counts_by_cupys_rules() -> None:
    elementwise, reduction, cub = "elementwise", "reduction", "CUB reduction"
    assert told(COUNTED) == [
        [],  # compiled with CuPy
        [elementwise, cub, cub],
        [],
        [],  # by columns
        [reduction],
        [cub],
        [elementwise] * 3,  # with a number, of a transposed view, of two arrays
    ]


FIRST = """
import arraymlp
from cupy import fake
draw = np.random.default_rng(0)
X, y = draw.normal(size=(400, 30)).astype(np.float32), draw.integers(0, 5, 400)
fake.forget()
run = arraymlp.train(X, y, validation=0.2, epochs=1, backend=arraymlp.resolve("cupy"))
assert run.engine == "cuda"
named = {}
for compilation in fake.compilations():
    named.setdefault(compilation.kind, []).append(compilation.name)
print(json.dumps(named))
"""


@RUNS_KERNELS
def test_a_first_training_compiles_few_kernels() -> None:
    """A quarter of a second each, by NVRTC: 1.5 s, beside five of ours, side by side.

    They are a copy, which is the test of a device, too; the rows that the engine's first step is
    checked on, and their labels; the sum of losses in float32, added to others, and its mean.
    """
    named = told(FIRST)
    assert named.keys() == {"elementwise", "raw module"}  # and none with CUB's headers, for seconds
    taken, copied, mean = ["cupy_take"] * 2, ["cupy_copy"] * 2, ["cupy_add", "cupy_divide"]
    assert sorted(named["elementwise"]) == sorted([*taken, *copied, *mean])
    assert len(named["raw module"]) == 5  # three of a step, two that evaluate


SECOND = """
import arraymlp, cupy
draw = np.random.default_rng(0)
X, y = draw.normal(size=(200, 10)), draw.integers(0, 3, 200)
runs = [arraymlp.train(X, y, validation=0.2, epochs=2, backend="cupy", device=d) for d in (1, 0)]
assert [run.backend.device_name for run in runs] == ["cuda:1", "cuda:0"]
arrays = [layer.weights for run in runs for layer in run.network.layers]
print(json.dumps([[a.device.id for a in arrays], runs[0].engine, cupy.cuda.runtime.getDevice(),
    [run.history["loss"] for run in runs]]))
"""


@RUNS_KERNELS
def test_a_second_device_is_trained_on_and_its_kernels_are_compiled_for_it() -> None:
    devices, engine, current, losses = told(SECOND, FAKE_CUPY_DEVICES="2")
    assert devices == [1] * 3 + [0] * 3
    assert (engine, current) == ("cuda", 0)
    assert losses[0] == losses[1]


ALIKE = """
import arraymlp
draw = np.random.default_rng(0)
X, y = draw.normal(size=(60, 6)), draw.integers(0, 3, 60)
losses = []
for backend, dtype in (("numpy", "float64"), ("cupy", "float64"), ("cupy", "float32")):
    run = arraymlp.train(
        X, y, hidden=(8,), batch_size=20, epochs=3, validation=0.2, backend=backend, dtype=dtype
    )
    losses.append(run.history["loss"] + run.history["validation_loss"])
print(json.dumps(losses))
"""


@RUNS_KERNELS
def test_several_steps_an_epoch_are_numpys() -> None:
    """In float64 by single steps, which write their figures again; in float32 by fused kernels."""
    expected, double, single = told(ALIKE)
    assert double == pytest.approx(expected, rel=1e-9)
    assert single == pytest.approx(expected, rel=1e-4)


OLD = """
import cupy
cupy.__version__ = "14.0.1"
import arraymlp
(status,) = [s for s in arraymlp.available_backends() if s.name == "cupy"]
print(json.dumps(status.reason))
"""


def test_a_cupy_that_is_too_old_is_not_used() -> None:
    assert "CuPy 14.0.1 is too old: 14.1 or newer is needed" in told(OLD)
