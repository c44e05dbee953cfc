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

#include "fused.cuh"

constexpr int DEPTH = 32;     // of a tile's sums that is in shared memory at a time
constexpr int THREADS = 128;  // of a block that makes a tile
constexpr int THREADS_OF_ROWS = 512;  // of a block of rows_R, at most

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

// Everything between the first layer's products and the gradients. blockIdx: R rows, member.
// Shared memory: each layer's outputs and deltas, then one unit a thread.
template <int R> __device__ void through(const Fused &f, int step) {
    Unit<R> *units = (Unit<R> *)shared, *scratch = units + f.units;
    const int member = blockIdx.y, first = blockIdx.x * R;
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
            keep<R>(f, now, 0, member, units, first, j, r, s);
        }
    }
    __syncthreads();

    const auto weights_of = [&](int number) {
        const FusedLayer &layer = f.layers[number];
        return layer.weights + (Index)member * layer.n_in * layer.n_out;
    };
    double *loss = f.loss + member * gridDim.x + blockIdx.x;
    onward<R>(f, now, member, first, units, scratch, weights_of, loss);
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
