// The kernels of a training step of perceptrons of any size, between its matrix products, which are
// cuBLAS's. Arrays are contiguous, with the members of a population as their leading axis;
// blockIdx.y is the member. `Real` is float or double, of the file that includes this one.
//
// Nearly all the time of these kernels is memory's. So a thread reads and writes WIDTH numbers at
// once, 16 bytes, wherever rows and addresses allow that, and nothing is written that is as quickly
// computed anew: slopes, masks.
//
// A null array stands for values that are not needed, or for one number that all share.
//
// With ONLY defined there is one kernel, ONLY_name: no program needs all of them compiled.

#include "warp.cuh"

constexpr int WIDTH = 16 / sizeof(Real);
constexpr unsigned THREADS = 256;  // of a block, as dense_kernels.py has it

// What a hidden layer's forward pass leaves for the slopes f'(s + bias) of its backward pass: the
// products s; the outputs, in their place; the outputs in bfloat16; the slopes times the mask.
enum Left { SUMS, OUTPUTS, ROUNDED, SLOPES };

// W numbers that stand one after the other.
template <typename T, int W> struct alignas(W * sizeof(T)) Pack { T at[W]; };

template <int W, typename T> __device__ inline Pack<T, W> load(const T *from) {
    return *reinterpret_cast<const Pack<T, W> *>(from);
}

template <int W, typename T> __device__ inline void store(T *to, const Pack<T, W> &pack) {
    *reinterpret_cast<Pack<T, W> *>(to) = pack;
}

// A float's upper half, rounded to nearest, ties to even: a bfloat16's bits. NaN stays NaN.
__device__ inline unsigned short to_bfloat16(float a) {
    const unsigned bits = __float_as_uint(a);
    if (a != a) return (bits >> 16) | 0x40u;
    return (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}

template <typename T, int W>
__device__ inline Pack<unsigned short, W> to_bfloat16(const Pack<T, W> &pack) {
    Pack<unsigned short, W> out;
#pragma unroll
    for (int k = 0; k < W; ++k) out.at[k] = to_bfloat16(float(pack.at[k]));
    return out;
}

template <int W>
__device__ inline Pack<Real, W> from_bfloat16(const Pack<unsigned short, W> &pack) {
    Pack<Real, W> out;
#pragma unroll
    for (int k = 0; k < W; ++k) out.at[k] = __uint_as_float(unsigned(pack.at[k]) << 16);
    return out;
}

template <int W> struct Width { static constexpr int value = W; };

// work(Width<WIDTH>()) where rows of n numbers and the arrays' addresses allow it, else
// work(Width<1>()).
template <typename Work, typename... T>
__device__ inline void by_width(long long n, Work work, const T *...arrays) {
    constexpr long long whole = WIDTH;
    if (n % whole == 0 && (... && ((unsigned long long)arrays % (WIDTH * sizeof(T)) == 0)))
        work(Width<WIDTH>());
    else
        work(Width<1>());
}

// work(i) for every W-th i below n, shared out among the blocks along x.
template <int W, typename Work> __device__ inline void shared_out(long long n, Work work) {
    const long long first = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * W;
    for (long long i = first; i < n; i += (long long)gridDim.x * blockDim.x * W) work(i);
}

// Of a member's (rows, n) the block (part, member, strip) of the grid has a part of the rows, and
// strips of columns; a thread of it W columns, side by side, of every `down`-th row.
template <int W> struct Tile {
    unsigned across, down, x, y, first, end;  // threads; the thread's place; the part's rows

    __device__ Tile(unsigned rows, unsigned n) : across(32) {
        while (across / 2 * W >= n) across /= 2;  // a warp reads several of narrow rows
        down = THREADS / across;
        x = threadIdx.x % across;
        y = threadIdx.x / across;
        first = (unsigned long long)rows * blockIdx.x / gridDim.x;
        end = (unsigned long long)rows * (blockIdx.x + 1) / gridDim.x;
    }

    // work(column) for each strip of n columns; where the strip ends before the thread's columns,
    // column is n or more.
    template <typename Work> __device__ void strips(unsigned n, Work work) const {
        for (unsigned strip = blockIdx.z; strip * across * W < n; strip += gridDim.z)
            work((strip * across + x) * W);
    }
};

// The mask of one member's layer input, in one step.
struct Mask {
    bool drops;
    int key, threshold;
    Real scale;

    __device__ Mask(bool drops, int key, int threshold, Real scale, const int *keys,
                    const int *thresholds, const Real *scales)
        : drops(drops), key(keys ? keys[blockIdx.y] : key),
          threshold(thresholds ? thresholds[blockIdx.y] : threshold),
          scale(scales ? scales[blockIdx.y] : scale) {}

    // The factor on number `count` of the (rows, units): 0, or 1 / (1 - p).
    __device__ Real factor(unsigned count) const {
        return !drops ? Real(1) : kept(count, key, threshold) ? scale : Real(0);
    }
};

#if !defined(ONLY) || defined(ONLY_rounded)
// out = bfloat16(a), n numbers.
extern "C" __global__ void rounded(const float *a, unsigned short *out, long long n) {
    by_width(n, [=](auto width) {
        constexpr int W = decltype(width)::value;
        shared_out<W>(n, [=](long long i) { store(out + i, to_bfloat16(load<W>(a + i))); });
    }, a, out);
}
#endif

#if !defined(ONLY) || defined(ONLY_masked)
// out = a * mask, or its bfloat16, each (rows, units) of `size` numbers; `sharing` members in a row
// have one a.
extern "C" __global__ void masked(const Real *a, Real *out, unsigned short *rounded, unsigned size,
                                  unsigned sharing, int drops, int key, int threshold, Real scale,
                                  const int *keys, const int *thresholds, const Real *scales) {
    const Mask mask(drops, key, threshold, scale, keys, thresholds, scales);
    const long long from = (long long)(blockIdx.y / sharing) * size;
    const long long to = (long long)blockIdx.y * size;
    by_width(size, [=](auto width) {
        constexpr int W = decltype(width)::value;
        shared_out<W>(size, [=](unsigned i) {
            Pack<Real, W> values = load<W>(a + from + i);
#pragma unroll
            for (int k = 0; k < W; ++k) values.at[k] *= mask.factor(i + k);
            if (rounded)
                store(rounded + to + i, to_bfloat16(values));
            else
                store(out + to + i, values);
        });
    }, a, out, rounded);
}
#endif

#if !defined(ONLY) || defined(ONLY_activate)
// From products s to outputs z = f(s + bias) * mask, or their bfloat16; (rows, n) a member. z may
// be s itself. The grid is a Tile's.
extern "C" __global__ void activate(const Real *s, const Real *bias, Real *z,
                                    unsigned short *rounded, unsigned rows, unsigned n, int kind,
                                    int drops, int key, int threshold, Real scale, const int *keys,
                                    const int *thresholds, const Real *scales) {
    const Mask mask(drops, key, threshold, scale, keys, thresholds, scales);
    const long long member = (long long)blockIdx.y * rows * n;
    const Real *const its_bias = bias + (long long)blockIdx.y * n;
    by_width(n, [=](auto width) {
        constexpr int W = decltype(width)::value;
        const Tile<W> tile(rows, n);
        tile.strips(n, [=](unsigned column) {
            if (column >= n) return;
            const Pack<Real, W> biases = load<W>(its_bias + column);
            for (unsigned row = tile.first + tile.y; row < tile.end; row += tile.down) {
                const unsigned i = row * n + column;
                Pack<Real, W> values = load<W>(s + member + i);
#pragma unroll
                for (int k = 0; k < W; ++k) {
                    const Real sum = values.at[k] + biases.at[k];
                    values.at[k] = activated(kind, sum) * mask.factor(i + k);
                }
                if (rounded)
                    store(rounded + member + i, to_bfloat16(values));
                else
                    store(z + member + i, values);
            }
        });
    }, s, bias, z, rounded);
}
#endif

#if !defined(ONLY) || defined(ONLY_slopes)
// From dL/dz to dL/ds, in place, or its bfloat16: ds *= f'(s + bias) * mask; (rows, n) a member.
// What `left` says stands in s, or, ROUNDED, in `outputs`. The columns' sums over a block's rows go
// into sums (parts, n): nobody need read ds again for the biases. The grid is a Tile's.
extern "C" __global__ void slopes(Real *ds, const Real *s, const unsigned short *outputs,
                                  const Real *bias, unsigned short *rounded, Real *sums,
                                  unsigned rows, unsigned n, int left, int kind, int drops, int key,
                                  int threshold, Real scale, const int *keys, const int *thresholds,
                                  const Real *scales) {
    const Mask mask(drops, key, threshold, scale, keys, thresholds, scales);
    const long long member = (long long)blockIdx.y * rows * n;
    const long long of_part = ((long long)blockIdx.y * gridDim.x + blockIdx.x) * n;
    const Real *const its_bias = bias + (long long)blockIdx.y * n;
    by_width(n, [=](auto width) {
        constexpr int W = decltype(width)::value;
        __shared__ Pack<Real, W> totals[THREADS];
        const Tile<W> tile(rows, n);
        tile.strips(n, [=](unsigned column) {
            Pack<Real, W> total = {}, biases = {};
            if (column < n && left == SUMS) biases = load<W>(its_bias + column);
            const unsigned end = column < n ? tile.end : 0;
            for (unsigned row = tile.first + tile.y; row < end; row += tile.down) {
                const unsigned i = row * n + column;
                Pack<Real, W> values = load<W>(ds + member + i), its;
                if (left == ROUNDED)
                    its = from_bfloat16(load<W>(outputs + member + i));
                else
                    its = load<W>(s + member + i);
#pragma unroll
                for (int k = 0; k < W; ++k) {
                    Real by = its.at[k] + biases.at[k];
                    if (left != SLOPES) {
                        const Real output = left == SUMS ? activated(kind, by) : by;
                        by = slope(kind, by, output) * mask.factor(i + k);
                    }
                    total.at[k] += values.at[k] *= by;
                }
                if (rounded)
                    store(rounded + member + i, to_bfloat16(values));
                else
                    store(ds + member + i, values);
            }
            totals[threadIdx.x] = total;
            for (unsigned half = tile.down / 2; half > 0; half /= 2) {
                __syncthreads();
                if (tile.y >= half) continue;
#pragma unroll
                for (int k = 0; k < W; ++k)
                    totals[threadIdx.x].at[k] += totals[threadIdx.x + half * tile.across].at[k];
            }
            if (tile.y == 0 && column < n) store(sums + of_part + column, totals[threadIdx.x]);
            __syncthreads();  // before the next strip's totals
        });
    }, ds, s, outputs, bias, rounded, sums);
}
#endif

#if !defined(ONLY) || defined(ONLY_softmax)
// Softmax and cross-entropy for labels: from products s (rows, n), without bias, each row's loss,
// and ds = factor (softmax(s + bias) - y), and its bfloat16. A warp a row; `sharing` members in a
// row have the same labels.
extern "C" __global__ void softmax(const Real *s, const Real *bias, const int *labels, Real *ds,
                                   unsigned short *rounded, Real *loss, unsigned rows, unsigned n,
                                   unsigned sharing, Real factor) {
    const unsigned row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const long long place = (long long)blockIdx.y * rows + row;
    const unsigned label = labels[(long long)(blockIdx.y / sharing) * rows + row];
    s += place * n;
    ds += place * n;
    bias += (long long)blockIdx.y * n;
    // Bounded, the difference of two logits is finite.
    const Real bound = Limits<Real>::largest / 4;
    Real most = -bound, total = 0, picked = 0;
    for (unsigned j = lane; j < n; j += 32) most = at_least(within(s[j] + bias[j], bound), most);
    most = greatest_of_warp(most);
    for (unsigned j = lane; j < n; j += 32) {
        const Real t = within(s[j] + bias[j], bound) - most;
        total += ds[j] = exp(t);
        if (j == label) picked = t;
    }
    total = sum_of_warp(total);
    picked = sum_of_warp(picked);
    for (unsigned j = lane; j < n; j += 32) {
        const Real delta = (ds[j] / total - Real(j == label)) * factor;
        ds[j] = delta;
        if (rounded) rounded[place * n + j] = to_bfloat16(float(delta));
    }
    if (lane == 0) loss[place] = log(total) - picked;
}
#endif

#if !defined(ONLY) || defined(ONLY_evaluate)
// The evaluation of logits by labels: from products s (rows, n), without bias, each row's loss, whether
// its greatest logit (of equals the first; NaN is greatest) is not the label's, and in counts (n)
// the number of rows where each is the greatest. A warp a row; `sharing` members in a row have the same labels.
extern "C" __global__ void evaluate(const Real *s, const Real *bias, const int *labels, Real *loss,
                                 Real *wrong, Real *counts, unsigned rows, unsigned n,
                                 unsigned sharing, int capped, Real least, Real most) {
    const unsigned row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const long long place = (long long)blockIdx.y * rows + row;
    const unsigned label = labels[(long long)(blockIdx.y / sharing) * rows + row];
    s += place * n;
    bias += (long long)blockIdx.y * n;
    const Real bound = Limits<Real>::largest / 4;
    Real top = -bound, total = 0, picked = 0, best = 0;
    unsigned chosen = n;  // none yet
    for (unsigned j = lane; j < n; j += 32) {
        const Real logit = s[j] + bias[j];
        top = at_least(within(logit, bound), top);
        if (chosen == n || logit > best || (logit != logit && best == best)) {
            best = logit;
            chosen = j;
        }
    }
    top = greatest_of_warp(top);
    for (int bit = 16; bit >= 1; bit /= 2) {
        const Real other = __shfl_xor_sync(ALL, best, bit);
        const unsigned its = __shfl_xor_sync(ALL, chosen, bit);
        const bool alike = other == best || (other != other && best != best);
        const bool better = other > best || (other != other && best == best);
        if (its < n && (chosen == n || better || (alike && its < chosen))) {
            best = other;
            chosen = its;
        }
    }
    for (unsigned j = lane; j < n; j += 32) {
        const Real t = within(s[j] + bias[j], bound) - top;
        total += exp(t);
        if (j == label) picked = t;
    }
    total = sum_of_warp(total);
    picked = sum_of_warp(picked);
    if (lane > 0) return;
    const Real value = log(total) - picked;
    loss[place] = capped ? at_most(at_least(value, least), most) : value;
    wrong[place] = chosen == label ? Real(0) : Real(1);
    atomicAdd(&counts[(long long)blockIdx.y * n + chosen], Real(1));  // whole numbers: any order
}
#endif

// W parameters' step, from the i-th on; the state may be null.
template <int W>
__device__ inline void step(Real *w, const Real *g, Real *v1, Real *v2, long long i, int rule,
                            const Real *constants, Real pull, Real shrink) {
    Pack<Real, W> values = load<W>(w + i), state1 = {}, state2 = {};
    const Pack<Real, W> gradient = load<W>(g + i);
    if (v1) state1 = load<W>(v1 + i);
    if (v2) state2 = load<W>(v2 + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
        Real slope = gradient.at[k];
        if (pull != Real(0)) slope += pull * values.at[k];
        const Real value = values.at[k] * shrink;
        values.at[k] = stepped(rule, value, slope, state1.at[k], state2.at[k], constants);
    }
    store(w + i, values);
    if (v1) store(v1 + i, state1);
    if (v2) store(v2 + i, state2);
}

#if !defined(ONLY) || defined(ONLY_update)
// The optimiser's step of a layer's weights and biases, so many of a member. `own` has a row of
// constants for each member, in which L2 is the whole factor of w in the penalties' gradient.
extern "C" __global__ void update(Real *w, const Real *g, Real *v1, Real *v2, Real *bias,
                                  const Real *bias_g, Real *bias_1, Real *bias_2, long long weights,
                                  long long biases, int rule, const Real *own, Real rate,
                                  Real decay_1, Real gain_1, Real decay_2, Real gain_2, Real epsilon,
                                  Real shrink, Real l2) {
    Real constants[CONSTANTS] = {rate, decay_1, gain_1, decay_2, gain_2, epsilon, shrink, l2, 0, 0};
    const long long member = blockIdx.y;
    if (own) {
        for (int c = 0; c < CONSTANTS; ++c) constants[c] = own[member * CONSTANTS + c];
    }
    by_width(weights, [=, &constants](auto width) {
        constexpr int W = decltype(width)::value;
        shared_out<W>(weights, [=, &constants](long long i) {
            step<W>(w, g, v1, v2, member * weights + i, rule, constants, constants[L2],
                    constants[SHRINK]);
        });
    }, w, g, v1, v2);
    shared_out<1>(biases, [=, &constants](long long i) {
        step<1>(bias, bias_g, bias_1, bias_2, member * biases + i, rule, constants, 0, 1);
    });
}
#endif

#if !defined(ONLY) || defined(ONLY_moved)
// w = shrink w + v, and bias += bias_v: SGD's step where the velocities are computed already.
extern "C" __global__ void moved(Real *w, const Real *v, Real *bias, const Real *bias_v,
                                 long long weights, long long biases, Real shrink) {
    by_width(weights, [=](auto width) {
        constexpr int W = decltype(width)::value;
        shared_out<W>(weights, [=](long long i) {
            Pack<Real, W> values = load<W>(w + i);
            const Pack<Real, W> velocity = load<W>(v + i);
#pragma unroll
            for (int k = 0; k < W; ++k) values.at[k] = shrink * values.at[k] + velocity.at[k];
            store(w + i, values);
        });
    }, w, v);
    shared_out<1>(biases, [=](long long i) { bias[i] += bias_v[i]; });
}
#endif
