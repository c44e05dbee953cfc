// A training step of small and medium perceptrons in three kernels, in order:
//
//   first_layer_T  gathers the minibatch's rows and multiplies them by the first layer's weights,
//                  in T x T tiles of the sums and parts of the inputs, so that there are blocks
//                  for all multiprocessors;
//   rows_R         takes R rows at a time through everything else: adds the parts, runs the other
//                  layers forward, compares with the targets, and sends the deltas back;
//   gradients_T    multiplies each layer's inputs by its deltas, in T x T tiles of the weights, and
//                  updates the tile's weights in place.
//
// Between two kernels a step needs all of the former's results, so that three launches are as few
// as a network with hidden layers can do without a barrier over the whole device. blockIdx.y or .z
// is the member of a population. Nothing is added up in an order that depends on timing: equal
// inputs give equal bits.

#include "warp.cuh"

constexpr int LAYERS = 8;     // at most
constexpr int DEPTH = 32;     // of a tile's sums that is in shared memory at a time
constexpr int THREADS = 128;  // of a block that makes a tile
constexpr int THREADS_OF_ROWS = 512;  // of a block of rows_R, at most

using Index = long long;

extern __shared__ float4 shared[];  // of a block, as large as its launch says

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
    float *parts;            // (parts, K, B, n_1) sums of the first layer, without bias
    double *loss;            // (K, blocks of rows): summed over the steps
    double *squares;         // (K, tiles): sums of squared weights, times alpha / 2, likewise
    int n_layers, members, batch;
    int parts_of, part;      // how many parts, and of how many inputs each
    int weights_of, constants_of;  // W and H: 1, or K
    int loss_kind, capped, rule;
    int tiles, units;  // of all layers: tiles of weights, units in rows_R's shared memory
};

struct Step {  // one member's row of each table
    int rows;
    float scale;
    const float *constants, *drop_scale;
    const int *drops;

    __device__ Step(const Fused &f, int step, int member)
        : rows(f.rows[step]),
          scale(f.scale[step * f.weights_of + (f.weights_of > 1 ? member : 0)]) {
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

// T x T of a product A^T B, by a block. Its threads are 16 rows of 8, each with T/16 x T/8 of the
// tile: small tiles make many blocks, large ones load less from shared memory for each product.
template <int T> struct Tile {
    static constexpr int ROWS = T / 16, COLUMNS = T / 8, LOADS = T * DEPTH / THREADS;

    // A chunk of the factors; strides that keep a thread's row of them aligned for vector loads.
    struct Chunk { float a[DEPTH][T + ROWS], b[DEPTH][T + 4]; };

    float sums[ROWS][COLUMNS] = {};

    // Where the thread's numbers stand in the tile; its columns four by four, 32 apart.
    __device__ static int row(int i) { return threadIdx.x / 8 * ROWS + i; }
    __device__ static int column(int j) { return threadIdx.x % 8 * 4 + j / 4 * 32 + j % 4; }

    // Which numbers of a chunk a thread brings: T next to each other, of DEPTH; or the other way.
    __device__ static int along(int q) { return threadIdx.x % 32 + q % (T / 32) * 32; }
    __device__ static int deep(int q) { return threadIdx.x / 32 + q / (T / 32) * 4; }

    // The product of a chunk with so many terms; further ones, up to the next eighth, are 0.
    __device__ void add(const Chunk &chunk, int terms) {
        struct alignas(4 * ROWS) Rows { float of[ROWS]; };
        struct alignas(16) Four { float of[4]; };
        for (int eight = 0; eight < terms; eight += 8) {
#pragma unroll
            for (int k = eight; k < eight + 8; ++k) {
                const Rows u = *(const Rows *)&chunk.a[k][row(0)];
#pragma unroll
                for (int part = 0; part < COLUMNS; part += 4) {
                    const Four v = *(const Four *)&chunk.b[k][column(part)];
#pragma unroll
                    for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                        for (int j = 0; j < 4; ++j) sums[i][part + j] += u.of[i] * v.of[j];
                    }
                }
            }
        }
    }
};

// parts[p] = X W over the p-th part of the inputs. blockIdx: tile, part, member.
template <int T> __device__ void multiply_rows(const Fused &f, int step) {
    using Own = Tile<T>;
    typename Own::Chunk &chunk = *(typename Own::Chunk *)shared;
    const FusedLayer &layer = f.layers[0];
    const int member = blockIdx.z, n_in = layer.n_in, n_out = layer.n_out;
    const Step now(f, step, member);
    const int across = (n_out + T - 1) / T;
    const int top = blockIdx.x / across * T, left = blockIdx.x % across * T;
    if (top >= now.rows) return;
    const int start = blockIdx.y * f.part, stop = min(n_in, start + f.part);
    const float *weights = layer.weights + (Index)member * n_in * n_out;

    // Of A a thread brings input `lane` of some rows of the minibatch.
    const int lane = threadIdx.x % 32, line = threadIdx.x / 32;
    const float *x[Own::LOADS];
#pragma unroll
    for (int q = 0; q < Own::LOADS; ++q) {
        const int row = top + line + 4 * q;
        x[q] = row < now.rows ? f.x + (Index)f.order[(Index)step * f.batch + row] * n_in : nullptr;
    }
    Own tile;
    float a[Own::LOADS], b[Own::LOADS];
    const auto load = [&](int k0) {
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q) {
            const int k = k0 + lane, i = k0 + Own::deep(q), j = left + Own::along(q);
            a[q] = x[q] != nullptr && k < stop ? x[q][k] : 0.0f;
            b[q] = i < stop && j < n_out ? weights[(Index)i * n_out + j] : 0.0f;
        }
        if (!layer.dropped) return;
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q)
            a[q] *= now.mask(layer, 0, top + line + 4 * q, k0 + lane);
    };
    load(start);
    for (int k0 = start; k0 < stop; k0 += DEPTH) {
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q) {
            chunk.a[lane][line + 4 * q] = a[q];
            chunk.b[Own::deep(q)][Own::along(q)] = b[q];
        }
        __syncthreads();
        if (k0 + DEPTH < stop) load(k0 + DEPTH);  // on its way while this chunk is multiplied
        tile.add(chunk, min(DEPTH, stop - k0));
        __syncthreads();
    }
    float *part = f.parts + ((Index)blockIdx.y * f.members + member) * f.batch * n_out;
#pragma unroll
    for (int i = 0; i < Own::ROWS; ++i) {
#pragma unroll
        for (int j = 0; j < Own::COLUMNS; ++j) {
            const int row = top + Own::row(i), column = left + Own::column(j);
            if (row < now.rows && column < n_out)
                part[(Index)row * n_out + column] = tile.sums[i][j];
        }
    }
}

// One unit's numbers in the R rows of a block.
template <int R> struct alignas(4 * R) Unit { float of[R]; };

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
__device__ void keep(const Fused &f, const Step &now, int number, int member, Unit<R> *units, int j,
                     int r, float s) {
    const FusedLayer &layer = f.layers[number];
    Unit<R> *z = units + layer.unit, *ds = z + layer.n_out;
    if (number + 1 == f.n_layers) {
        z[j].of[r] = s;
        return;
    }
    const int row = blockIdx.x * R + r;
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

// Everything between the first layer's products and the gradients. blockIdx: R rows, member.
// Shared memory: each layer's outputs and deltas, then one unit a thread.
template <int R> __device__ void through(const Fused &f, int step) {
    Unit<R> *units = (Unit<R> *)shared, *scratch = units + f.units;
    const int member = blockIdx.y, first = blockIdx.x * R, last = f.n_layers - 1;
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32;
    const Step now(f, step, member);
    if (first >= now.rows) return;

    {
        const FusedLayer &layer = f.layers[0];
        const int n = layer.n_out;
        const Index apart = (Index)f.members * f.batch * n;
        for (int t = threadIdx.x; t < n * R; t += blockDim.x) {
            const int j = t % n, r = t / n;
            float s = layer.bias[(Index)member * n + j];
            if (first + r < now.rows) {
                const float *part = f.parts + ((Index)member * f.batch + first + r) * n + j;
                for (int eight = 0; eight < f.parts_of; eight += 8) {
                    float own[8];  // all on their way before the first is added
#pragma unroll
                    for (int p = 0; p < 8; ++p)
                        own[p] = eight + p < f.parts_of ? part[(eight + p) * apart] : 0.0f;
#pragma unroll
                    for (int p = 0; p < 8; ++p) s += own[p];
                }
            }
            keep<R>(f, now, 0, member, units, j, r, s);
        }
    }
    __syncthreads();

    for (int number = 1; number <= last; ++number) {
        // Groups of threads share the inputs out among themselves; a thread has one column.
        const FusedLayer &layer = f.layers[number];
        const int n_in = layer.n_in, n = layer.n_out;
        const float *weights = layer.weights + (Index)member * n_in * n;
        const Unit<R> *inputs = units + f.layers[number - 1].unit;
        const int width = min((n + 31) / 32 * 32, int(blockDim.x)), groups = blockDim.x / width;
        const int group = threadIdx.x / width, each = (n_in + groups - 1) / groups;
        const int start = group * each, stop = group < groups ? min(n_in, start + each) : 0;
        for (int left = 0; left < n; left += width) {
            const int j = left + threadIdx.x % width;
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
            scratch[threadIdx.x] = sums;
            __syncthreads();
            for (int t = threadIdx.x; t < width * R; t += blockDim.x) {
                const int own = t % width, r = t / width, column = left + own;
                if (column >= n) continue;
                float s = layer.bias[(Index)member * n + column];
                for (int g = 0; g < groups; ++g) s += scratch[g * width + own].of[r];
                keep<R>(f, now, number, member, units, column, r, s);
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
            const int sample = f.order[(Index)step * f.batch + first + r];
            value = loss_of_row<R>(f, now, member, sample, logits, r);
        } else {
            for (int j = lane; j < output.n_out; j += 32) logits[j].of[r] = 0.0f;
        }
        if (lane == 0) losses[r] = value;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int r = 0; r < R; ++r) sum += losses[r];
        f.loss[member * gridDim.x + blockIdx.x] += sum;
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
        const float *weights = layer.weights + (Index)member * n_in * n;
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

// W <- the rule's step by X^T dS, and b by the column sums of dS: the bias is the weight of one
// more input, which is 1. blockIdx: tile, of all layers in turn; member.
template <int T> __device__ void update_by_gradients(const Fused &f, int step) {
    using Own = Tile<T>;
    typename Own::Chunk &chunk = *(typename Own::Chunk *)shared;
    const int member = blockIdx.y;
    int number = 0;
    while (number + 1 < f.n_layers && int(blockIdx.x) >= f.layers[number + 1].tile) ++number;
    const FusedLayer &layer = f.layers[number];
    const int n_in = layer.n_in, n_out = layer.n_out;
    const Step now(f, step, member);
    if (now.rows == 0) return;
    const int across = (n_out + T - 1) / T, of_layer = blockIdx.x - layer.tile;
    const int top = of_layer / across * T, left = of_layer % across * T;
    const Index rows_before = (Index)member * f.batch;
    const float *inputs = number == 0 ? f.x : f.layers[number - 1].z + rows_before * n_in;
    const float *deltas = layer.ds + rows_before * n_out;
    const int *order = f.order + (Index)step * f.batch;

    Own tile;
    float a[Own::LOADS], b[Own::LOADS];
    const auto load = [&](int first) {
        int from[Own::LOADS];  // the row of the inputs; all loads are on their way before one waits
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q) {
            const int row = first + Own::deep(q), j = left + Own::along(q);
            from[q] = row >= now.rows ? -1 : number == 0 ? order[row] : row;
            b[q] = row < now.rows && j < n_out ? deltas[(Index)row * n_out + j] : 0.0f;
        }
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q) {
            const int i = top + Own::along(q);
            a[q] = from[q] >= 0 && i < n_in ? inputs[(Index)from[q] * n_in + i] : 0.0f;
            if (from[q] >= 0 && i == n_in) a[q] = 1.0f;
        }
        if (number > 0 || !layer.dropped) return;
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q) {
            const int i = top + Own::along(q);
            if (i < n_in) a[q] *= now.mask(layer, 0, first + Own::deep(q), i);
        }
    };
    load(0);
    for (int first = 0; first < now.rows; first += DEPTH) {
#pragma unroll
        for (int q = 0; q < Own::LOADS; ++q) {
            chunk.a[Own::deep(q)][Own::along(q)] = a[q];
            chunk.b[Own::deep(q)][Own::along(q)] = b[q];
        }
        __syncthreads();
        if (first + DEPTH < now.rows) load(first + DEPTH);
        tile.add(chunk, min(DEPTH, now.rows - first));
        __syncthreads();
    }

    float constants[CONSTANTS];
#pragma unroll
    for (int c = 0; c < CONSTANTS; ++c) constants[c] = now.constants[c];
    const float pull = constants[L2] + constants[ALPHA] * now.scale;
    float squares = 0.0f;
#pragma unroll
    for (int u = 0; u < Own::ROWS; ++u) {
        const int i = top + Own::row(u);
        if (i > n_in) break;
        const bool bias = i == n_in;
        const Index first = bias ? (Index)member * n_out : ((Index)member * n_in + i) * n_out;
        float *parameter = (bias ? layer.bias : layer.weights) + first;
        float *state_1 = (bias ? layer.bias_1 : layer.weights_1) + first;
        float *state_2 = (bias ? layer.bias_2 : layer.weights_2) + first;
        float w[Own::COLUMNS], v1[Own::COLUMNS], v2[Own::COLUMNS];
#pragma unroll
        for (int v = 0; v < Own::COLUMNS; ++v) {  // all loads before the first store
            const int j = left + Own::column(v);
            w[v] = j < n_out ? parameter[j] : 0.0f;
            v1[v] = j < n_out && f.rule != SGD ? state_1[j] : 0.0f;
            v2[v] = j < n_out && f.rule == ADAM ? state_2[j] : 0.0f;
        }
#pragma unroll
        for (int v = 0; v < Own::COLUMNS; ++v) {
            float g = tile.sums[u][v];
            if (!bias) {
                squares += w[v] * w[v];
                g += pull * w[v];
                w[v] *= constants[SHRINK];
            }
            w[v] = stepped(f.rule, w[v], g, v1[v], v2[v], constants);
        }
#pragma unroll
        for (int v = 0; v < Own::COLUMNS; ++v) {
            const int j = left + Own::column(v);
            if (j >= n_out) continue;
            parameter[j] = w[v];
            if (f.rule != SGD) state_1[j] = v1[v];
            if (f.rule == ADAM) state_2[j] = v2[v];
        }
    }
    if (constants[ALPHA] == 0.0f) return;
    float *of_warps = (float *)shared;
    squares = sum_of_warp(squares);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = squares;
    __syncthreads();
    if (threadIdx.x == 0) {
        const double sum = double(of_warps[0]) + of_warps[1] + of_warps[2] + of_warps[3];
        f.squares[member * f.tiles + blockIdx.x] += sum * constants[ALPHA] / 2;
    }
}

// The kernels. With ONLY defined there is one, ONLY_name: to compile all takes three times as long as
// the three that one network needs.
#if !defined(ONLY) || defined(ONLY_first_layer_32)
extern "C" __global__ void __launch_bounds__(THREADS)
first_layer_32(const __grid_constant__ Fused f, int step) {
    multiply_rows<32>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_first_layer_64)
extern "C" __global__ void __launch_bounds__(THREADS)
first_layer_64(const __grid_constant__ Fused f, int step) {
    multiply_rows<64>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_2)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_2(const __grid_constant__ Fused f, int step) {
    through<2>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_4)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_4(const __grid_constant__ Fused f, int step) {
    through<4>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_8)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_8(const __grid_constant__ Fused f, int step) {
    through<8>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_gradients_32)
extern "C" __global__ void __launch_bounds__(THREADS)
gradients_32(const __grid_constant__ Fused f, int step) {
    update_by_gradients<32>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_gradients_64)
extern "C" __global__ void __launch_bounds__(THREADS)
gradients_64(const __grid_constant__ Fused f, int step) {
    update_by_gradients<64>(f, step);
}
#endif
