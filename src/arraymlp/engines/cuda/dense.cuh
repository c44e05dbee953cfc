// The kernels of a training step of perceptrons of any size, between its matrix products, which are
// cuBLAS's. Arrays are contiguous, with the members of a population as their leading axis;
// blockIdx.y is the member. `Real` is float or double, of the file that includes this one.
//
// A null array stands for values that are not needed, or for one number that all share.

#include "warp.cuh"

// A float's upper half, rounded to nearest, ties to even: a bfloat16's bits. NaN stays NaN.
__device__ inline unsigned short to_bfloat16(float a) {
    const unsigned bits = __float_as_uint(a);
    if (a != a) return (bits >> 16) | 0x40u;
    return (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}

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

// out = bfloat16(a), n numbers.
extern "C" __global__ void rounded(const float *a, unsigned short *out, long long n) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        out[i] = to_bfloat16(a[i]);
}

// out = a * mask, each (rows, units) of `size` numbers; `sharing` members in a row have one a.
extern "C" __global__ void masked(const Real *a, Real *out, unsigned short *rounded, unsigned size,
                                  unsigned sharing, int drops, int key, int threshold, Real scale,
                                  const int *keys, const int *thresholds, const Real *scales) {
    const Mask mask(drops, key, threshold, scale, keys, thresholds, scales);
    const long long from = (long long)(blockIdx.y / sharing) * size;
    const long long to = (long long)blockIdx.y * size;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
        const Real value = a[from + i] * mask.factor(i);
        if (out) out[to + i] = value;
        if (rounded) rounded[to + i] = to_bfloat16(float(value));
    }
}

// From products s to outputs z = f(s + bias) * mask; then s becomes f'(s + bias) * mask, unless the
// layer is the last. z may be s itself where it does not. (rows, n), `size` numbers a member.
extern "C" __global__ void activate(Real *s, const Real *bias, Real *z, unsigned short *rounded,
                                    unsigned size, unsigned n, int kind, int slopes, int drops,
                                    int key, int threshold, Real scale, const int *keys,
                                    const int *thresholds, const Real *scales) {
    const Mask mask(drops, key, threshold, scale, keys, thresholds, scales);
    const long long first = (long long)blockIdx.y * size;
    bias += (long long)blockIdx.y * n;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
        const Real sum = s[first + i] + bias[i % n];
        const Real output = activated(kind, sum), factor = mask.factor(i);
        const Real value = output * factor;
        if (slopes) s[first + i] = slope(kind, sum, output) * factor;
        z[first + i] = value;
        if (rounded) rounded[first + i] = to_bfloat16(float(value));
    }
}

// dL/ds from dL/dz, in place: ds *= slope, n numbers.
extern "C" __global__ void slopes(Real *ds, const Real *slope, unsigned short *rounded,
                                  long long n) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const Real value = ds[i] * slope[i];
        ds[i] = value;
        if (rounded) rounded[i] = to_bfloat16(float(value));
    }
}

// Softmax and cross-entropy for labels: from products s (rows, n), without bias, each row's loss, and
// ds = factor (softmax(s + bias) - y). A warp a row; `sharing` members in a row have the same labels.
extern "C" __global__ void softmax(const Real *s, const Real *bias, const int *labels, Real *ds,
                                   Real *loss, unsigned rows, unsigned n, unsigned sharing,
                                   Real factor) {
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
    for (unsigned j = lane; j < n; j += 32)
        ds[j] = (ds[j] / total - Real(j == label)) * factor;
    if (lane == 0) loss[place] = log(total) - picked;
}

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

// One parameter's step; the state may be null.
__device__ inline void step_one(Real *w, const Real *g, Real *v1, Real *v2, long long i, int rule,
                                const Real *constants, Real pull, Real shrink) {
    Real value = w[i], gradient = g[i], state1 = v1 ? v1[i] : Real(0), state2 = v2 ? v2[i] : Real(0);
    if (pull != Real(0)) gradient += pull * value;
    w[i] = stepped(rule, value * shrink, gradient, state1, state2, constants);
    if (v1) v1[i] = state1;
    if (v2) v2[i] = state2;
}

// The optimiser's step of a layer's weights and biases, so many of a member. `own` has a row of
// constants for each member, in which L2 is the whole factor of w in the penalties' gradient.
extern "C" __global__ void update(Real *w, const Real *g, Real *v1, Real *v2, Real *bias,
                                  const Real *bias_g, Real *bias_1, Real *bias_2, long long weights,
                                  long long biases, int rule, const Real *own, Real rate,
                                  Real decay_1, Real gain_1, Real decay_2, Real gain_2, Real epsilon,
                                  Real shrink, Real l2) {
    Real constants[CONSTANTS] = {rate, decay_1, gain_1, decay_2, gain_2, epsilon, shrink, l2, 0, 0};
    const long long member = blockIdx.y, stride = (long long)gridDim.x * blockDim.x;
    if (own) {
        for (int c = 0; c < CONSTANTS; ++c) constants[c] = own[member * CONSTANTS + c];
    }
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long i = first; i < weights + biases; i += stride) {
        if (i < weights)
            step_one(w, g, v1, v2, member * weights + i, rule, constants, constants[L2],
                     constants[SHRINK]);
        else
            step_one(bias, bias_g, bias_1, bias_2, member * biases + i - weights, rule, constants, 0,
                     1);
    }
}

// w = shrink w + v, and bias += bias_v: SGD's step where the velocities are computed already.
extern "C" __global__ void moved(Real *w, const Real *v, Real *bias, const Real *bias_v,
                                 long long weights, long long biases, Real shrink) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long i = first; i < weights + biases; i += stride) {
        if (i < weights)
            w[i] = shrink * w[i] + v[i];
        else
            bias[i - weights] += bias_v[i - weights];
    }
}
