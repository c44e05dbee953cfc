// The mathematics of a layer, for a GPU's threads, and sums over a warp: what the kernels share.

#define FUNCTION __device__ inline
#include "../functions.h"

[[maybe_unused]] constexpr unsigned ALL = 0xFFFFFFFFu;  // lanes of a warp

template <typename T> __device__ T sum_of_warp(T value) {
#pragma unroll
    for (int bit = 16; bit >= 1; bit /= 2) value += __shfl_xor_sync(ALL, value, bit);
    return value;
}

template <typename T> __device__ T greatest_of_warp(T value) {
#pragma unroll
    for (int bit = 16; bit >= 1; bit /= 2)
        value = at_least(__shfl_xor_sync(ALL, value, bit), value);
    return value;
}
