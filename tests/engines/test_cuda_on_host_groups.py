"""Blocks that run at once in the emulation of CUDA: cooperative launches and clusters."""

import numpy as np
import pytest

from cuda_on_host import BACKWARD, HostModule, LaunchError, unavailable

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
    pytest.mark.xdist_group(__name__),  # compiled once a process
]

ORDERS = [None, BACKWARD, 0, 1, 2]

SOURCE = r"""
__device__ void barrier(unsigned* counter, unsigned count)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        count_release(counter);
        wait_for_count(counter, count);
    }
    __syncthreads();
}

// Block b adds 1 to what its neighbour has, so often: y holds as many numbers as there are threads.
extern "C" __global__ void
around(unsigned* counter, unsigned count, const float* x, float* y, int times, int without)
{
    extern __shared__ float own[];
    const int n = gridDim.x * blockDim.x, from = (blockIdx.x + 1) % gridDim.x * blockDim.x;
    own[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int i = 0; i < times; ++i) {
        y[i % 2 * n + blockIdx.x * blockDim.x + threadIdx.x] = own[threadIdx.x];
        if (i != without) barrier(counter, count += gridDim.x);
        own[threadIdx.x] = y[i % 2 * n + from + threadIdx.x] + 1;
    }
    y[2 * n + blockIdx.x * blockDim.x + threadIdx.x] = own[threadIdx.x];
}

extern "C" __global__ void one_leaves(unsigned* counter)
{
    if (blockIdx.x != 2) barrier(counter, gridDim.x);
}

extern "C" __global__ void __cluster_dims__(4, 1, 1) __launch_bounds__(64)
shifted(const float* x, float* y, int wait)
{
    extern __shared__ float own[];
    __shared__ float fixed;
    const unsigned rank = cluster_rank();
    if (threadIdx.x == 0) fixed = rank;
    own[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    cluster_arrive();
    if (wait & 1) cluster_wait();
    const float* other = in_block(own, (rank + 1) % 4);
    float* back = in_block(&fixed, (rank + 3) % 4);
    y[blockIdx.x * blockDim.x + threadIdx.x] = other[threadIdx.x] + 1000 * *back;
    if (!(wait & 2)) return;
    cluster_arrive();
    cluster_wait();
}

// Between arriving at the cluster and waiting for it a block does something of its own.
extern "C" __global__ void __cluster_dims__(2, 1, 1) between(float* y)
{
    extern __shared__ float own[];
    cluster_arrive();
    for (int i = 0; i < 3; ++i) {
        own[threadIdx.x] = threadIdx.x + i;
        __syncthreads();
        y[blockIdx.x * blockDim.x + threadIdx.x] = own[(threadIdx.x + 1) % blockDim.x];
        __syncthreads();
    }
    cluster_wait();
}

extern "C" __global__ void copies(const float* x, float* y, int wait)
{
    extern __shared__ float4 four[];
    float* to = (float*)four;
    copy_async<16>(four + threadIdx.x, x + 4 * threadIdx.x);
    commit_copies();
    copy_async<4>(to + 4 * blockDim.x + threadIdx.x, x + 4 * blockDim.x + threadIdx.x);
    commit_copies();
    if (wait == 1) wait_for_copies<1>();
    if (wait == 2) wait_for_copies();
    for (int i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = to[4 * threadIdx.x + i];
    y[4 * blockDim.x + threadIdx.x] = to[4 * blockDim.x + threadIdx.x];
    if (wait != 3) wait_for_copies();
}
"""


@pytest.fixture(scope="module")
def module():
    return HostModule(SOURCE)


def around(module, order, times=5, without=-1, blocks=7):
    x = np.arange(blocks * 64, dtype=np.float32)
    y, counter = np.zeros((3, blocks * 64), np.float32), np.full(1, 2**32 - 20, np.uint32)
    args = (counter, counter[0], x, y, np.int32(times), np.int32(without))
    grid, block = (blocks, 1, 1), (64, 1, 1)
    module.launch("around", grid, block, args, 64 * 4, order, cooperative=True)
    return np.array_equal(y[2], np.roll(x, -64 * times) + times), counter[0]


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_wait_for_each_other_and_keep_their_shared_memory(module, order):
    right, counter = around(module, order)
    assert right
    assert counter == 5 * 7 - 20  # round 2**32


def test_a_missing_barrier_of_the_grid_is_seen(module):
    assert not all(around(module, order, without=3)[0] for order in ORDERS)


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_that_leaves_before_a_barrier_is_seen(module, order):
    words = r"wait_for_count, line \d+; 63 thread.* wait at __syncthreads.*of 5 blocks 1 are over"
    for _ in range(2):
        counter = np.zeros(1, np.uint32)
        with pytest.raises(LaunchError, match=words):
            module.launch("one_leaves", (5, 1, 1), (64, 1, 1), (counter,), 0, order, True)
        assert around(module, order)[0]


def test_blocks_of_a_launch_that_is_not_cooperative_wait_for_ever(module):
    args = (np.zeros(1, np.uint32),)
    with pytest.raises(LaunchError, match="deadlock"):
        module.launch("one_leaves", (5, 1, 1), (64, 1, 1), args)


def shifted(module, order, wait):
    x, y = np.arange(12 * 64, dtype=np.float32), np.zeros(12 * 64, np.float32)
    args = (x, y, np.int32(wait))
    module.launch("shifted", (12, 1, 1), (64, 1, 1), args, 64 * 4, order)
    clusters = x.reshape(3, 4, 64)
    expected = np.roll(clusters, -1, axis=1) + 1000 * ((np.arange(4) + 3) % 4)[:, None]
    return np.array_equal(y.reshape(3, 4, 64), expected)


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_of_a_cluster_read_each_others_memory(module, order):
    assert shifted(module, order, wait=3)


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_that_leaves_its_cluster_early_is_seen(module, order):
    with pytest.raises(LaunchError, match=r"in_block at line \d+: block \d of the group is over"):
        shifted(module, order, wait=1)
    assert shifted(module, order, wait=3)


@pytest.mark.parametrize("order", ORDERS)
def test_a_barrier_of_a_block_is_not_the_cluster_s(module, order):
    y = np.zeros((2, 64), np.float32)
    module.launch("between", (2, 1, 1), (64, 1, 1), (y,), 64 * 4, order)
    np.testing.assert_array_equal(y, [np.roll(np.arange(64), -1) + 2] * 2)


@pytest.mark.parametrize("wait", [0, 2])
def test_a_cluster_barrier_that_is_not_waited_for_is_seen(module, wait):
    with pytest.raises(LaunchError, match=r"arrives twice|between arriving at a cluster"):
        shifted(module, None, wait)


def test_a_grid_of_broken_clusters_is_refused(module):
    with pytest.raises(ValueError, match="not a whole number of clusters of 4"):
        module.launch("shifted", (6, 1, 1), (64, 1, 1), (), 64 * 4)


def copies(module, order, wait, offset=0):
    x, y = np.arange(164, dtype=np.float32), np.zeros(160, np.float32)
    start = -x.ctypes.data % 16 // 4
    args = (x[start + offset :], y, np.int32(wait))
    module.launch("copies", (1, 1, 1), (32, 1, 1), args, 160 * 4, order)
    return y - start


def test_copies_arrive_when_they_are_waited_for(module):
    np.testing.assert_array_equal(copies(module, None, 2), np.arange(160))
    first = copies(module, None, 1)
    np.testing.assert_array_equal(first[:128], np.arange(128))
    assert np.isnan(first[128:]).all()
    assert np.isnan(copies(module, None, 0)).all()
    shuffled = np.isnan(copies(module, 1, 0))
    assert shuffled.any()
    assert not shuffled.all()


def test_copies_that_are_left_behind_or_misaligned_are_seen(module):
    with pytest.raises(LaunchError, match="returns before its asynchronous copies"):
        copies(module, None, 3)
    with pytest.raises(
        LaunchError, match=r"copy_async at line \d+: an address is no multiple of 16"
    ):
        copies(module, None, 2, offset=1)
