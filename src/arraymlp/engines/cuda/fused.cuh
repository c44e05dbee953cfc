// What all kernels of whole training steps share: the plan that they are given, and a block that takes
// R rows through the layers after the first, forward and back.

#include "warp.cuh"

constexpr int LAYERS = 8;     // at most

using Index = long long;

extern __shared__ __align__(32) float4 shared[];  // of a block, as large as its launch says

enum LossKind { SOFTMAX, BINARY, SQUARED };

struct FusedLayer {
    float *weights, *bias;                 // (K, n_in, n_out), (K, 1, n_out)
    float *weights_1, *weights_2;          // the optimiser's state, of their shapes
    float *bias_1, *bias_2;
    float *z;                              // (K, B, n_out) outputs as the next mask leaves them
    float *ds;                             // (K, B, n_out) dL/ds
    int n_in, n_out, activation;
    int tile;                              // number of its first tile
    int unit;                              // where its units stand in rows_R's shared memory
    int dropped;                           // whether its inputs are masked
};

struct Fused {
    FusedLayer layers[LAYERS];
    const float *x;          // (N, n_0)
    const int *labels;       // (N,), or null
    const float *targets;    // (N, n_L), or null
    const float *weight;     // (N,) or (N, K) of each sample, or null
    const int *order;        // (S, B) rows; 0 where a minibatch has fewer
    const int *rows;         // (S,) how many it has; 0: no step
    const float *scale;      // (S, W) what the summed gradients are multiplied by
    const float *constants;  // (S, H, CONSTANTS)
    const float *drop_scale; // (S, H, layers) 1 / (1 - p)
    const int *drops;        // (S, H, layers, 2) key and threshold
    float *parts;            // (parts, B, K, n_1) sums of the first layer, without bias
    double *loss;            // (K, blocks of rows): summed over the steps
    double *squares;         // (K, tiles): sums of squared weights, times alpha / 2, likewise
    int n_layers, members, batch;
    int parts_of, part;      // how many parts, and of how many inputs each
    int weights_of, constants_of;  // W and H: 1, or K
    int loss_kind, capped, rule;
    int tiles, units;  // sums of squares a member; of all layers, units in rows_R's shared memory
};

struct Step {  // one member's row of each table
    int rows;
    float scale;
    const int *order;  // (B,) its samples
    const float *constants, *drop_scale;
    const int *drops;

    __device__ Step(const Fused &f, int step, int member)
        : rows(f.rows[step]),
          scale(f.scale[step * f.weights_of + (f.weights_of > 1 ? member : 0)]),
          order(f.order + (Index)step * f.batch) {
        const Index row = (Index)step * f.constants_of + (f.constants_of > 1 ? member : 0);
        constants = f.constants + row * CONSTANTS;
        drop_scale = f.drop_scale + row * f.n_layers;
        drops = f.drops + row * f.n_layers * 2;
    }

    // The factor on an input of a layer: 0, or 1 / (1 - p).
    __device__ float mask(const FusedLayer &layer, int number, int row, int unit) const {
        if (!layer.dropped) return 1.0f;
        const unsigned count = unsigned(row) * unsigned(layer.n_in) + unsigned(unit);
        return kept(count, drops[2 * number], drops[2 * number + 1]) ? drop_scale[number] : 0.0f;
    }
};

// One unit's numbers in the R rows of a block.
template <int R> struct alignas(4 * R) Unit { float of[R]; };

using Four = Unit<4>;  // of any kind, loaded and stored by one instruction

// N sums over the 32 lanes of a warp at once: lane l returns that of number l / (32 / N). Of N
// numbers a lane sends half to the one whose index differs in BIT, and keeps the other half's sums.
template <int N, int BIT = 16> __device__ float sum_over_lanes(const float (&values)[N]) {
    if constexpr (N == 1) {
        float sum = values[0];
#pragma unroll
        for (int bit = BIT; bit >= 1; bit /= 2) sum += __shfl_xor_sync(ALL, sum, bit);
        return sum;
    } else {
        const bool upper = threadIdx.x & BIT;
        float sums[N / 2];
#pragma unroll
        for (int i = 0; i < N / 2; ++i) {
            const float sent = upper ? values[i] : values[i + N / 2];
            const float kept = upper ? values[i + N / 2] : values[i];
            sums[i] = kept + __shfl_xor_sync(ALL, sent, BIT);
        }
        return sum_over_lanes<N / 2, BIT / 2>(sums);
    }
}

// A layer's sum s for one unit and row becomes its output, for this block and for `gradients`,
// and its slope, both times the next layer's mask; a logit stays as it is.
template <int R>
__device__ void keep(const Fused &f, const Step &now, int number, int member, Unit<R> *units,
                     int first, int j, int r, float s) {
    const FusedLayer &layer = f.layers[number];
    Unit<R> *z = units + layer.unit, *ds = z + layer.n_out;
    if (number + 1 == f.n_layers) {
        z[j].of[r] = s;
        return;
    }
    const int row = first + r;
    const float mask = now.mask(f.layers[number + 1], number + 1, row, j);
    const float output = activated(layer.activation, s);
    z[j].of[r] = output * mask;
    ds[j].of[r] = slope(layer.activation, s, output) * mask;
    if (row < now.rows) layer.z[((Index)member * f.batch + row) * layer.n_out + j] = output * mask;
}

// A label's -log p as it is with p kept within [eps, 1 - eps].
__device__ inline float capped_value(float value) {
    return at_most(at_least(value, 1.1920930e-07f), 15.942385f);
}

// The loss of a row of logits s[j].of[r], by a whole warp; they become dL/ds.
template <int R>
__device__ float loss_of_row(const Fused &f, const Step &now, int member, int sample, Unit<R> *s,
                             int r) {
    const int n = f.layers[f.n_layers - 1].n_out, lane = threadIdx.x % 32;
    const int label = f.labels != nullptr ? f.labels[sample] : -1;
    const float *y = f.targets != nullptr ? f.targets + (Index)sample * n : nullptr;
    const float smoothing = now.constants[SMOOTHING];
    const float uniform = smoothing / (f.loss_kind == SOFTMAX ? float(n) : 2.0f);
    const auto target = [&](int j) {
        const float plain = y != nullptr ? y[j] : j == label ? 1.0f : 0.0f;
        return f.loss_kind == SQUARED ? plain : (1.0f - smoothing) * plain + uniform;
    };
    float weight = 1.0f;
    if (f.weight != nullptr)
        weight = f.weight[(Index)sample * f.weights_of + (f.weights_of > 1 ? member : 0)];
    const float factor = weight * now.scale;
    float value = 0.0f;
    if (f.loss_kind == SOFTMAX) {  // log sum_j e^{t_j} - sum_j y_j t_j, with t = s - max s
        const float bound = Limits<float>::largest / 4;
        float top = -bound, total = 0.0f;
        for (int j = lane; j < n; j += 32) {
            top = at_least(within(s[j].of[r], bound), top);
        }
        top = greatest_of_warp(top);
        for (int j = lane; j < n; j += 32) {
            const float t = within(s[j].of[r], bound) - top;
            total += exp(t);
            value -= target(j) * t;
        }
        total = sum_of_warp(total);
        value = log(total) + sum_of_warp(value);
        if (f.capped) value = capped_value(value);
        for (int j = lane; j < n; j += 32) {
            const float t = within(s[j].of[r], bound) - top;
            s[j].of[r] = (exp(t) / total - target(j)) * factor;
        }
        return value * weight;
    }
    const float bound = Limits<float>::largest / (4.0f * n);
    for (int j = lane; j < n; j += 32) {
        const float logit = s[j].of[r], t = target(j);
        if (f.loss_kind == BINARY) {  // max(s, 0) - y s + log(1 + e^-|s|)
            const float b = within(logit, bound);
            const float own = at_least(b, 0.0f) - t * b + log1p(exp(-fabs(b)));
            value += f.capped ? capped_value(own) : own;
            s[j].of[r] = (sigmoid(logit) - t) * factor;
        } else {  // (s - y)^2 / 2
            const float e = logit - t;
            value += e * e / 2;
            s[j].of[r] = e * factor;
        }
    }
    return sum_of_warp(value) * weight;
}

// A block takes its R rows, from row `first` on, through the layers after the first, whose outputs and
// slopes stand in `units`; compares them with the targets; and sends the deltas back. weights_of(l)
// are the member's weights of layer l, (n_in, n_out), in whichever memory they are. `scratch` has a
// unit for each thread; the rows' loss is added to *loss.
template <int R, typename Weights>
__device__ void onward(const Fused &f, const Step &now, int member, int first, Unit<R> *units,
                       Unit<R> *scratch, const Weights &weights_of, double *loss) {
    const int last = f.n_layers - 1;
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32;
    for (int number = 1; number <= last; ++number) {
        // Groups of threads share the inputs out among themselves; a thread has one column.
        const FusedLayer &layer = f.layers[number];
        const int n_in = layer.n_in, n = layer.n_out;
        const float *weights = weights_of(number);
        const Unit<R> *inputs = units + f.layers[number - 1].unit;
        const int width = min((n + 31) / 32 * 32, int(blockDim.x)), groups = blockDim.x / width;
        const int group = threadIdx.x / width, each = (n_in + groups - 1) / groups;
        const int start = group * each, stop = group < groups ? min(n_in, start + each) : 0;
        for (int left = 0; left < n; left += width) {
            const int j = left + threadIdx.x % width;
            const bool first_group = group == 0 && j < n;
            const float bias = first_group ? layer.bias[(Index)member * n + j] : 0.0f;
            Unit<R> sums = {};
            if (j < n) {
                for (int eight = start; eight < stop; eight += 8) {
                    float w[8];
#pragma unroll
                    for (int u = 0; u < 8; ++u)
                        w[u] = eight + u < stop ? weights[(Index)(eight + u) * n + j] : 0.0f;
#pragma unroll
                    for (int u = 0; u < 8; ++u) {
                        if (eight + u >= stop) break;
                        const Unit<R> x = inputs[eight + u];
#pragma unroll
                        for (int r = 0; r < R; ++r) sums.of[r] += x.of[r] * w[u];
                    }
                }
            }
#pragma unroll
            for (int r = 0; r < R; ++r) sums.of[r] += bias;  // which has come meanwhile
            scratch[threadIdx.x] = sums;
            __syncthreads();
            for (int t = threadIdx.x; t < width * R; t += blockDim.x) {
                const int own = t % width, r = t / width, column = left + own;
                if (column >= n) continue;
                float s = 0.0f;
                for (int g = 0; g < groups; ++g) s += scratch[g * width + own].of[r];
                keep<R>(f, now, number, member, units, first, column, r, s);
            }
            __syncthreads();
        }
    }

    const FusedLayer &output = f.layers[last];
    Unit<R> *logits = units + output.unit;
    float *losses = (float *)scratch;
    for (int r = warp; r < R; r += warps) {
        float value = 0.0f;
        if (first + r < now.rows) {
            value = loss_of_row<R>(f, now, member, now.order[first + r], logits, r);
        } else {
            for (int j = lane; j < output.n_out; j += 32) logits[j].of[r] = 0.0f;
        }
        if (lane == 0) losses[r] = value;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int r = 0; r < R; ++r) sum += losses[r];
        *loss += sum;
    }
    for (int t = threadIdx.x; t < output.n_out * R; t += blockDim.x) {
        const int j = t % output.n_out, row = first + t / output.n_out;
        if (row < now.rows)
            output.ds[((Index)member * f.batch + row) * output.n_out + j] = logits[j].of[row - first];
    }

    for (int number = last; number >= 1; --number) {
        // A warp has U units below at a time, its lanes the columns of their rows of the weights.
        constexpr int U = 16 / R;
        const FusedLayer &layer = f.layers[number], &below = f.layers[number - 1];
        const int n_in = layer.n_in, n = layer.n_out;
        const float *weights = weights_of(number);
        const Unit<R> *delta = units + layer.unit + (number == last ? 0 : n);
        Unit<R> *ds = units + below.unit + n_in;  // holds the slopes
        for (int i0 = warp * U; i0 < n_in; i0 += warps * U) {
            float sums[U * R] = {};
            const float *some = weights + (Index)i0 * n;
            const int left = n_in - i0;
            for (int j = lane; j < n; j += 32) {
                const Unit<R> d = delta[j];
#pragma unroll
                for (int u = 0; u < U; ++u) {
                    const float w = u < left ? some[u * n + j] : 0.0f;
#pragma unroll
                    for (int r = 0; r < R; ++r) sums[u * R + r] += d.of[r] * w;
                }
            }
            const float sum = sum_over_lanes(sums);
            const int i = i0 + lane / 2 / R, r = lane / 2 % R, row = first + r;
            if (lane % 2 == 0 && i < n_in) {
                const float own = sum * ds[i].of[r];
                ds[i].of[r] = own;
                if (row < now.rows) below.ds[((Index)member * f.batch + row) * n_in + i] = own;
            }
        }
        __syncthreads();
    }
}
