"""The functions of `vector_math.h` and `functions.h`, compiled as the CPU engine compiles them."""

import ctypes
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from arraymlp.engines.numbers import ACTIVATION_NUMBERS, kernel_constants, rule_number
from arraymlp.nn.activations import ACTIVATIONS
from arraymlp.nn.dropout import DropoutKey, mask_maker
from arraymlp.steps.hyper import Hyper
from arraymlp.steps.optimizers import OPTIMIZERS

SOURCE = Path(__file__).with_name("vector_math.cpp")
HEADERS = Path(__file__).parents[2] / "src" / "arraymlp" / "engines"  # no wheel has them
FLAGS = [
    *["-O3", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden"],
    *["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"],
    *["-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Werror"],
]
SETS = {  # flags, what /proc/cpuinfo calls them, bytes of a vector
    "baseline": ([], set(), 16),
    "avx2": (["-mavx2", "-mfma"], {"avx2", "fma"}, 32),
    "avx512": (
        ["-mfma", *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl"))],
        {f"avx512{part}" for part in ("f", "bw", "dq", "vl")},
        64,
    ),
}
DTYPES = {"float": np.float32, "double": np.float64}
C_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
ULPS = {"exp": 2, "expm1": 2, "log": 2, "log1p": 2, "tanh": 3, "sigmoid": 3, "sqrt": 0.5, "fabs": 0}
LOOPS = 2 * (len(ULPS) + len(ACTIVATIONS) + 5) + 1

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on the path"),
    pytest.mark.skipif(platform.system() == "Windows", reason="the test's flags are GCC's"),
    pytest.mark.xdist_group("vector_math"),  # compiled once a process
]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@cache
def cpu_flags():
    path = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not path.exists():
        return set()
    return set(re.search(r"^flags\s*:(.*)$", path.read_text(), re.MULTILINE)[1].split())


@pytest.fixture(scope="module", params=SETS)
def library(request, tmp_path_factory):
    flags, needed, _ = SETS[request.param]
    if not needed <= cpu_flags():
        pytest.skip(f"this processor has no {request.param}")
    path = tmp_path_factory.mktemp("vector_math") / "library.so"
    command = [COMPILER, *FLAGS, *flags, f"-I{HEADERS}", str(SOURCE), "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(path))


def call(library, name, *arrays):
    """Call one of the loops with arrays of one dtype and of one length but for the last."""
    assert all(a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    library[f"{name}_{C_NAMES[arrays[0].dtype]}"](*pointers, ctypes.c_int(arrays[0].size))


def values(library, name, x):
    out = np.empty_like(x)
    call(library, name, x, out)
    return out


def special(dtype):
    """Where functions change their ways, and the numbers beside."""
    info = np.finfo(dtype)
    points = [0, 1, 2**0.5 - 1, 0.5**0.5, info.max, info.tiny, info.eps, info.smallest_subnormal]
    points += [np.log(info.max), -np.log(info.tiny), 10, 20, 22, 40, np.log(2) / 2, np.inf]
    points = np.array(points, dtype)
    beside = [np.nextafter(points, -np.inf), np.nextafter(points, np.inf)]
    points = np.concatenate([points, *beside])
    return np.concatenate([points, -points, np.array([np.nan], dtype)])


@cache
def samples(dtype):
    """Numbers of every magnitude and sign, more of them where functions do anything."""
    rng, n = np.random.default_rng(0), 40_000
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    bits = rng.integers(0, np.iinfo(unsigned).max, n, dtype=unsigned, endpoint=True)
    log_most = 120 if dtype == np.float32 else 760
    spread = [rng.uniform(-bound, bound, n) for bound in (0.5, 2, 20, log_most)]
    spread += [sign * np.exp(rng.uniform(-40, 3, n)) for sign in (-1, 1)]
    return np.concatenate([special(dtype), bits.view(dtype), *(x.astype(dtype) for x in spread)])


@cache
def exact(name, dtype):
    """The function of the samples, in a wider type."""
    wide = np.float64 if dtype == np.float32 else np.longdouble
    if np.finfo(wide).nmant <= np.finfo(dtype).nmant + 8:
        pytest.skip("NumPy has no type wider than float64 here")
    x = samples(dtype).astype(wide)
    return 1 / (1 + np.exp(-x)) if name == "sigmoid" else getattr(np, name)(x)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", ULPS)
def test_units_in_the_last_place(library, name, dtype):
    x, expected = samples(dtype), exact(name, dtype)
    got = values(library, name, x)
    nearest = expected.astype(dtype)
    ulp = np.maximum(np.spacing(np.abs(nearest)), np.finfo(dtype).smallest_subnormal)
    ulps = (np.abs(got - expected) / ulp).astype(np.float64)
    ulps[(got == nearest) & np.isinf(got)] = 0
    ulps[np.isnan(got) & np.isnan(nearest)] = 0
    if name == "exp":
        ulps[(np.abs(expected) < np.finfo(dtype).tiny) & (got == 0)] = 0
    if name == "sigmoid":  # whose s is bounded, see nn/activations.py
        ulps[(x < np.log(np.finfo(dtype).tiny)) & (got < 3 / np.finfo(dtype).max)] = 0
    worst = np.argmax(np.where(np.isnan(ulps), np.inf, ulps))
    assert ulps[worst] <= ULPS[name], f"{name}({x[worst]!r}) is {got[worst]!r}"
    signed = ~np.isnan(expected) & (got != 0) | (x == 0)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(expected[signed]))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_slopes_are_the_definition(library, name, dtype):
    rng, eps = np.random.default_rng(1), np.finfo(dtype).eps
    s = np.concatenate([special(dtype), rng.normal(0, 5, 10_000).astype(dtype)])
    z, slopes = np.empty_like(s), np.empty_like(s)
    call(library, name.upper(), s, z, slopes)
    activation = ACTIVATIONS[name]
    expected = activation.function(s, np)
    derivative = np.broadcast_to(activation.derivative(s, expected, np), s.shape)
    np.testing.assert_allclose(z, expected, rtol=8 * eps, atol=8 * eps)
    np.testing.assert_allclose(slopes, derivative, rtol=8 * eps, atol=32 * eps)


def test_activations_have_numbers_in_the_order_of_the_header():
    header = (HEADERS / "functions.h").read_text()
    names = re.search(r"enum ActivationKind \{(.*)\}", header)[1].lower().split(",")
    assert [ACTIVATION_NUMBERS[ACTIVATIONS[name.strip()]] for name in names] == list(range(9))


RULES = ["SGD", "MOMENTUM", "NESTEROV", "ADAM", "RMSPROP"]  # by their numbers


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_the_definition(library, name, dtype):
    optimizer, rng = OPTIMIZERS[name], np.random.default_rng(2)
    expected = rng.normal(size=1003).astype(dtype)
    state = optimizer.initial_state(expected, np)
    w, v1, v2 = expected.copy(), np.zeros_like(expected), np.zeros_like(expected)
    for t in range(1, 4):
        g = rng.normal(size=w.size).astype(dtype)
        hyper = Hyper(optimizer.constants(0.01, float(t)))
        constants = np.array(kernel_constants(hyper), dtype)
        call(library, RULES[rule_number(optimizer)], w, g, v1, v2, constants)
        told = type(hyper.optimizer)(*(dtype(value) for value in hyper.optimizer))
        expected, state = optimizer.update(expected, g, state, told, np)
    states = () if state is None else state if isinstance(state, tuple) else (state,)
    for ours, definition in zip((w, v1, v2), (expected, *states), strict=False):
        np.testing.assert_allclose(ours, definition, rtol=16 * np.finfo(dtype).eps, atol=1e-7)


@pytest.mark.parametrize("key", [0, 1, -1, 2**31 - 1, -(2**31), 123456789])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.999])
def test_dropout_has_the_same_bits(library, key, p):
    rows, units = 37, 103
    threshold = int(2**32 * p - 2**31)
    mask = mask_maker(np.float32, np, "cpu")
    expected = mask(DropoutKey(np.int32(key), np.int32(threshold), np.float32(1)), rows, units)
    kept = np.empty((rows, units), np.int32)
    n = ctypes.c_int(kept.size)
    library.kept_units(ctypes.c_void_p(kept.ctypes.data), key, threshold, n)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("name", SETS)
def test_gcc_vectorises_every_loop(name, tmp_path):
    version = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True)
    if "Free Software Foundation" not in version.stdout:
        pytest.skip("the compiler is not GCC, which has this report")
    flags, needed, width = SETS[name]
    if needed and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"not a processor with {name}")
    command = [COMPILER, *FLAGS, *flags, f"-I{HEADERS}", str(SOURCE), "-fopt-info-vec"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "library.so")], capture_output=True, text=True, check=True
    )
    assert done.stderr.count(f"loop vectorized using {width} byte vectors") == LOOPS, done.stderr
