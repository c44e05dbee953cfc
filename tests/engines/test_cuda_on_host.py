import numpy as np
import pytest

from cuda_on_host import BACKWARD, CompileError, HostModule, LaunchError, unavailable

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
    pytest.mark.xdist_group(__name__),  # compiled once a process
]

ORDERS = [None, BACKWARD, 0, 1]
ONE = (1, 1, 1)

GOOD = r"""
struct Affine { const float* x; float* y; int n; float scale, shift; double unused; };

template <class T> __device__ __forceinline__ T warp_sum(T value)
{
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) value += __shfl_down_sync(0xffffffffu, value, d);
    return value;
}

template <class T> __device__ T block_sum(T value)
{
    __shared__ T parts[32];  // in a template: one array a type
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
    return threadIdx.x < 32 ? warp_sum(value) : 0;
}

// A comment that says __global__ void phantom(int) is no kernel.
extern "C" __global__ void __launch_bounds__(1024)
sums(const float* __restrict__ x, float* total, double* exact)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const float sum = block_sum(__ldg(x + i));
    const double wide = block_sum(double(x[i]));
    if (threadIdx.x == 0) { total[blockIdx.x] = sum; exact[blockIdx.x] = wide; }
}

extern "C" __global__ void shuffles(const int* from, int* out, int width)
{
    const int i = threadIdx.x;
    out[i] = __shfl_sync(0xffffffffu, i, from[i], width);
    out[32 + i] = __shfl_up_sync(0xffffffffu, i, 3, width);
    out[64 + i] = __shfl_down_sync(0xffffffffu, i, 3, width);
    out[96 + i] = __shfl_xor_sync(0xffffffffu, i, 5, width);
}

extern "C" __global__ void halves(int* out)  // the two halves of a warp go different ways
{
    int value = threadIdx.x;
    if (threadIdx.x < 16) {
        for (int i = 0; i < 3; ++i) value += __shfl_xor_sync(0x0000ffffu, value, 1);
    } else {
        value = __shfl_sync(0xffff0000u, value, 31);
    }
    __syncwarp();
    out[threadIdx.x] = value;
}

extern "C" __global__ void transpose(const float* x, float* y, int rows, int columns)
{
    __shared__ float tile[16][17];
    int c = blockIdx.x * 16 + threadIdx.x, r = blockIdx.y * 16 + threadIdx.y;
    if (r < rows && c < columns) tile[threadIdx.y][threadIdx.x] = x[r * columns + c];
    __syncthreads();
    c = blockIdx.x * 16 + threadIdx.y;
    r = blockIdx.y * 16 + threadIdx.x;
    if (r < rows && c < columns) y[c * rows + r] = tile[threadIdx.x][threadIdx.y];
}

extern "C" __global__ void affine(Affine p)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.n) p.y[i] = fmaf(p.x[i], p.scale, p.shift);
}

extern "C" __global__ void early(float* x, int n)
{
    extern __shared__ float4 shared[];
    float* values = reinterpret_cast<float*>(shared);
    const int i = threadIdx.x;
    if (i >= n) return;
    values[i] = x[i];
    __syncthreads();
    const float other = values[n - 1 - i];
    __syncthreads();
    values[i] = other + 1;
    __syncthreads();
    x[i] = values[n - 1 - i];
}

extern "C" __global__ void unwritten(float* x, float* y, int* z)
{
    __shared__ float fixed[8];
    extern __shared__ int sized[];
    y[blockIdx.x * 8 + threadIdx.x] = fixed[threadIdx.x];
    z[blockIdx.x * 8 + threadIdx.x] = sized[threadIdx.x];
    if (x) { fixed[threadIdx.x] = x[0]; sized[threadIdx.x] = 7; }
}

extern "C" __global__ void never(float* x) { __shared__ float value; *x = value; }

extern "C" __global__ void where(int* seen, const int* nothing)
{
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    if (!nothing) atomicAdd(seen + block * blockDim.x * blockDim.y * blockDim.z + thread, 1);
}

extern "C" __global__ void votes(const int* x, int* out)
{
    const int n = __syncthreads_count(x[threadIdx.x]);
    const int any = __syncthreads_or(x[threadIdx.x]), all = __syncthreads_and(x[threadIdx.x]);
    if (threadIdx.x == 0) { out[0] = n; out[1] = any; out[2] = all; }
}

extern "C" __global__ void numbers(double* out, long long n, double real, bool flag, unsigned u)
{
    static_assert(sizeof(float4) == 16 && alignof(float4) == 16);
    static_assert(alignof(int2) == 8 && sizeof(float3) == 12);
    const int4 v = make_int4(1, 2, 3, 4);
    out[0] = n; out[1] = real; out[2] = flag; out[3] = u;
    out[4] = max(v.w, 2) + min(0.5f, NAN);
    out[5] = rsqrtf(4.f); out[6] = __int_as_float(__float_as_int(1.5f));
    out[7] = __uint_as_float(__float_as_uint(-2.5f));
}
"""

BAD = r"""
extern "C" __global__ void race(int* x)
{
    __shared__ int values[64];
    values[threadIdx.x] = threadIdx.x;
    x[threadIdx.x] = values[63 - threadIdx.x];
}
extern "C" __global__ void fine(int* x) { x[threadIdx.x] = threadIdx.x; }
extern "C" __global__ void block_race(int* x) { *x = blockIdx.x; }
extern "C" __global__ void deadlock(int* x)
{
    if (threadIdx.x < 8) __syncwarp();
    else __syncthreads();
    x[threadIdx.x] = 1;
}
extern "C" __global__ void returned(int* x)
{
    if (threadIdx.x == 5) return;
    x[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 5);
}
extern "C" __global__ void masked(int* x) { if (threadIdx.x < 4) *x = __shfl_sync(0xfu, 1, 4); }
extern "C" __global__ void outside(int* x) { *x = __shfl_sync(0xfu, 1, 0); }
extern "C" __global__ void width(int* x) { *x = __shfl_sync(0xffffffffu, 1, 40, 33); }
extern "C" __global__ void mixed(int* x)
{
    if (threadIdx.x < 4) *x = __shfl_sync(0xffffffffu, 1, 0);
    else *x = __shfl_xor_sync(0xffffffffu, 1, 1);
}
extern "C" __global__ void divided()
{
    if (threadIdx.x < 4) __syncthreads();
    else __syncthreads();
}
extern "C" __global__ void overrun(float* x)
{
    extern __shared__ float4 shared[];
    reinterpret_cast<float*>(shared)[threadIdx.x] = *x;
}
"""


@pytest.fixture(scope="module")
def good():
    return HostModule(GOOD)


@pytest.fixture(scope="module")
def bad():
    return HostModule(BAD)


@pytest.mark.parametrize("order", ORDERS)
def test_a_reduction_by_shuffles(good, order):
    x = np.random.default_rng(0).integers(0, 100, (3, 256)).astype(np.float32)
    total, exact = np.zeros(3, np.float32), np.zeros(3)
    good.launch("sums", (3, 1, 1), (256, 1, 1), (x, total, exact), order=order)
    np.testing.assert_array_equal(total, x.sum(1))
    np.testing.assert_array_equal(exact, x.sum(1))


@pytest.mark.parametrize("width", [32, 8, 1])
def test_where_shuffles_read(good, width):
    source = np.random.default_rng(0).integers(0, 64, 32).astype(np.int32)
    out = np.zeros((4, 32), np.int32)
    good.launch("shuffles", ONE, (32, 1, 1), (source, out, np.int32(width)), order=3)
    lane = np.arange(32)
    first = lane - lane % width
    last = first + width - 1
    np.testing.assert_array_equal(out[0], first + source % width)
    np.testing.assert_array_equal(out[1], np.where(lane - 3 < first, lane, lane - 3))
    np.testing.assert_array_equal(out[2], np.where(lane + 3 > last, lane, lane + 3))
    np.testing.assert_array_equal(out[3], np.where(lane ^ 5 > last, lane, lane ^ 5))


@pytest.mark.parametrize("order", ORDERS)
def test_shuffles_of_half_a_warp(good, order):
    out = np.zeros(32, np.int32)
    good.launch("halves", ONE, (32, 1, 1), (out,), order=order)
    pairs = 4 * (np.arange(16) // 2 * 2 * 2 + 1)
    np.testing.assert_array_equal(out, np.r_[pairs, np.full(16, 31)])


@pytest.mark.parametrize("order", ORDERS)
def test_a_transpose_in_shared_memory(good, order):
    x = np.random.default_rng(0).random((40, 70), dtype=np.float32)
    y = np.zeros((70, 40), np.float32)
    args = (x, y, np.int32(40), np.int32(70))
    good.launch("transpose", (5, 3, 1), (16, 16, 1), args, order=order)
    np.testing.assert_array_equal(y, x.T)


AFFINE = {"x": "u8", "y": "u8", "n": "i4", "scale": "f4", "shift": "f4", "unused": "f8"}


def test_a_struct_by_value(good):
    x, y = np.arange(100, dtype=np.float32), np.zeros(100, np.float32)
    p = np.zeros(3, np.dtype(list(AFFINE.items()), align=True))
    p[1] = (x.ctypes.data, y.ctypes.data, 90, 2, 1, 0)
    good.launch("affine", (2, 1, 1), (64, 1, 1), (p[1],))
    np.testing.assert_array_equal(y, np.where(x < 90, 2 * x + 1, 0))


def test_a_struct_of_another_size_is_refused(good):
    packed = np.zeros(1, np.dtype(list(AFFINE.items())))
    with pytest.raises(TypeError, match="argument 0 of affine has 36 bytes, its parameter 40"):
        good.launch("affine", ONE, ONE, (packed[0],))


@pytest.mark.parametrize("order", ORDERS)
def test_threads_that_returned_count_as_arrived(good, order):
    x = np.arange(100, dtype=np.float32)
    good.launch("early", ONE, (100, 1, 1), (x, np.int32(41)), 41 * 4, order)
    np.testing.assert_array_equal(x, np.r_[np.arange(41) + 1, 41:100])


def test_shared_memory_starts_as_nan(good):
    x, y, z = np.ones(2, np.float32), np.zeros(24, np.float32), np.zeros(24, np.int32)
    good.launch("unwritten", (3, 1, 1), (8, 1, 1), (x, y, z), 32)
    assert np.isnan(y).all()
    np.testing.assert_array_equal(z, -1)
    good.launch("never", ONE, ONE, (x,))
    assert np.isnan(x[0])


@pytest.mark.parametrize("order", ORDERS)
def test_three_dimensions(good, order):
    seen = np.zeros((2 * 3 * 4, 3 * 5 * 2), np.int32)
    good.launch("where", (2, 3, 4), (3, 5, 2), (seen, None), order=order)
    np.testing.assert_array_equal(seen, 1)


def test_votes_of_a_block(good):
    out = np.zeros(3, np.int32)
    for x in (np.arange(40) % 4, np.zeros(40), np.full(40, 8)):
        good.launch("votes", ONE, (40, 1, 1), (x.astype(np.int32), out))
        np.testing.assert_array_equal(out, [np.count_nonzero(x), x.any(), x.all()])


def test_numbers_and_small_functions(good):
    out = np.zeros(8)
    good.launch("numbers", ONE, ONE, (out, -(2**40), 0.1, True, np.uint32(2**32 - 1)))
    np.testing.assert_array_equal(out, [-(2**40), 0.1, 1, 2**32 - 1, 4.5, 0.5, 1.5, -2.5])


def test_a_missing_barrier_is_seen(bad):
    x = [np.zeros(64, np.int32) for _ in ORDERS]
    for result, order in zip(x, ORDERS, strict=True):
        bad.launch("race", ONE, (64, 1, 1), (result,), order=order)
    assert all((result == -1).any() for result in x)  # reads of what nobody had written
    assert len({result.tobytes() for result in x}) == len(ORDERS)


def test_a_race_of_blocks_is_seen(bad):
    x = np.zeros(8, np.int32)
    last = []
    for order in (None, BACKWARD, 1):
        bad.launch("block_race", (50, 1, 1), ONE, (x,), order=order)
        last.append(x[0])
    assert last[:2] == [49, 0]
    assert last[2] not in (0, 49)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "deadlock",
            r"deadlock, block \(0, 0, 0\): deadlock: "
            r"8 thread\(s\) from thread 0 on wait at __syncwarp, line 12; "
            r"56 thread\(s\) from thread 8 on wait at __syncthreads, line 13; 0 have returned",
        ),
        (
            "returned",
            r"__shfl_sync at line 19: lane \d+ of warp 0 reads lane 5, which has returned",
        ),
        ("masked", r"lane \d+ of warp 0 reads lane 4, which the mask leaves out"),
        ("outside", r"thread \d+ is not in its own mask 0xf"),
        ("width", "width 33 is not a power of 2"),
        ("mixed", "warp 0 is divided over __shfl_sync and __shfl_xor_sync"),
        ("divided", "warp 0 is divided over __syncthreads at lines 31 and 32"),
        ("overrun", "byte 128 of dynamic shared memory is written, and the launch gives 128"),
    ],
)
@pytest.mark.parametrize("order", [None, 0])
def test_a_bug_is_reported(bad, name, words, order):
    args = () if name == "divided" else (np.zeros(64, np.int32),)
    for _ in range(2):  # a failed launch leaves the module fit for the next
        with pytest.raises(LaunchError, match=words):
            bad.launch(name, ONE, (64, 1, 1), args, 128, order)
        x = np.full(64, -1, np.int32)
        bad.launch("fine", ONE, (64, 1, 1), (x,), order=order)
        np.testing.assert_array_equal(x, np.arange(64))


def test_what_the_compiler_refuses():
    with pytest.raises(CompileError, match=r"kernels\.cu:2:8: error: 'y' was not declared"):
        HostModule('extern "C" __global__ void f(int* x)\n{ *x = y; }')


def test_options_and_macros_that_write_kernels():
    source = """
    #define BOUNDS __launch_bounds__((1 + 1) * 64)
    #define WRITE_F(N) extern "C" __global__ void BOUNDS f##N(int* x) { *x = N; }
    #define WRITE(N) WRITE_F(N)
    WRITE(VALUE)
    """
    modules = [HostModule(source, [f"-DVALUE={value}"]) for value in (3, 4)]
    x = np.zeros(2, np.int32)
    for module, value in zip(modules, (3, 4), strict=True):
        module.launch(f"f{value}", ONE, ONE, (x,))
        assert x[0] == value


def test_arguments_that_are_not_the_kernels(good):
    x = np.zeros(4, np.float32)
    n = np.int32(4)
    for args, words in [
        ((x,), "takes 2 arguments, got 1"),
        ((x, 4), "argument 1 of early has 8 bytes, its parameter 4"),
        ((x, np.float32(4)), "is of kind 'f', its parameter of kind 'i'"),
        ((n, n), "is of kind 'i', its parameter of kind 'p'"),
        ((x[::2], n), "not C-contiguous"),
        ((np.broadcast_to(np.float32(1), 1), n), "read-only"),
        (("x", n), "is a str"),
    ]:
        with pytest.raises(TypeError, match=words):
            good.launch("early", ONE, ONE, args)
    for name, grid, block, shared, order, words in [
        ("phantom", ONE, ONE, 0, None, "no kernel 'phantom'"),
        ("early", (0, 1, 1), ONE, 0, None, "grid"),
        ("early", ONE, (32, 33, 1), 0, None, "more than 1024 threads"),
        ("early", ONE, ONE, 2**18, None, "shared_mem"),
        ("early", ONE, ONE, 0, -2, "order"),
    ]:
        with pytest.raises(ValueError, match=words):
            good.launch(name, grid, block, (x, n), shared, order)
