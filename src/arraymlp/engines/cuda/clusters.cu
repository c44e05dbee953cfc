// Training steps of a population, each member by a cluster of C blocks that keeps the member's weights
// in its blocks' shared memory for a whole launch.
//
// Block c of a cluster owns a share of each layer's columns, with the bias as the weight of one more
// input, which is 1; and a share of the minibatch's rows. A step is
//
//   1. products of the first layer: all rows by the block's columns. The outputs and slopes go to
//      the blocks that own the rows                                                       | barrier
//   2. the block's rows through the other layers, their losses, and the deltas back. The layers'
//      weights are read from the blocks that own them                                     | barrier
//   3. gradients of the block's columns, from all rows, and the update in place. Deltas and inputs
//      are read from the blocks that own the rows                                         | barrier
//
// The barriers are the cluster's: no block waits for one of another cluster, and the hardware starts a
// cluster only when all its blocks have room; so however many clusters wait for their turn, those that
// run come to their end. Of the third barrier a block waits only when the next step's first products
// are done: they read and write nothing of other blocks.
//
// A float of shared memory is loaded for as many products as possible: a thread makes 10 x 5 or 16 x 5
// sums from vectors of four. Nothing is added up in an order that depends on timing: equal inputs give
// equal bits.

#include "fused.cuh"
#include "ptx.cuh"

constexpr int THREADS = 256;

struct Divisor {  // of numbers below 1024: inverse = ceil(2^20 / size), which is exact up to size 1024
    int size, inverse;

    __device__ int times_in(int number) const { return number * inverse >> 20; }
};

struct Tiles {    // how the threads share out an (m, n) product of k terms
    Divisor across, deep, items;  // threads along the panel, along n, and both: across x deep
    int panel;    // of m that they make at once
    int groups;   // of `items` threads: each adds up its part of a chunk's terms
    int part;     // terms of a chunk for each group
    int depth;    // terms that are in shared memory at a time
};

enum Product { FORWARD, BACK, GRADIENT, PRODUCTS };

struct Share {  // of a layer; places in shared memory in floats
    Divisor columns;       // of a block, at most
    int weights;           // (columns, stride_in), transposed, so that a column's inputs are in a row
    int z, ds;             // (rows, stride_out) outputs and deltas; z of the last layer holds its logits
    int stride_in, stride_out;
    Tiles tiles[PRODUCTS];
};

struct Clusters {
    Share layers[LAYERS];
    float *states;   // (1 or 2, K, C, parameters) the optimiser's, as the weights lie; or null
    int parameters;  // floats of a block's weights, which are the first in shared memory
    int state;       // place of the states where `states` is null
    Divisor rows;    // of a block, at most
    int deltas;      // (columns, stride_rows) of one layer, transposed
    int stride_rows;
    int samples;     // (2, B) numbers of this minibatch's rows and the next one's
    int buffers, buffer;  // the last in shared memory: two, of so many floats
};

#if !defined(__CUDACC__) || __CUDA_ARCH__ >= 900  // the tests', or a GPU with clusters

constexpr int WARPS = THREADS / 32;
constexpr int ROWS = 10, COLUMNS = 5, VECTORS = 4;  // of a thread, see `dot` and `outer`

// A number divided, and the rest. Of what blocks or threads have equal shares of: whose it is, and which
// of the share.
struct Part {
    int of, own;

    __device__ Part(int number, Divisor share)
        : of(share.times_in(number)), own(number - of * share.size) {}
};

// A chunk of a matrix in shared memory: `columns` from `column` on of `rows` rows from `row` on.
struct Chunk {
    float *to;
    int stride, row, rows, column, columns;
};

// Rows of the minibatch, masked; after the inputs comes a 1. A block brings a chunk with its warps along
// the rows: the lanes copy vectors of four inputs where these are aligned, and else single ones.
struct Samples {
    const Fused &f;
    const Step &now;
    const int *samples;

    __device__ int rows_of(const Chunk &chunk) const {
        return max(0, min(chunk.rows, now.rows - chunk.row));
    }
    __device__ int in_vectors(const Chunk &chunk) const {  // columns
        const int n_in = f.layers[0].n_in;
        const bool aligned = ((unsigned long long)f.x | n_in * 4) % 16 == 0;
        return aligned ? max(0, min(chunk.columns, n_in - chunk.column)) : 0;
    }

    __device__ void bring(const Chunk &chunk) const {
        constexpr int AT_ONCE = 4;  // rows whose numbers are read before the first is copied
        const int n_in = f.layers[0].n_in, rows = rows_of(chunk), whole = in_vectors(chunk);
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int first = warp; first < rows; first += AT_ONCE * WARPS) {
            const float *from[AT_ONCE];
#pragma unroll
            for (int u = 0; u < AT_ONCE; ++u) {
                const int row = chunk.row + min(first + u * WARPS, rows - 1);
                from[u] = f.x + (Index)samples[row] * n_in + chunk.column;
            }
            float *to = chunk.to + first * chunk.stride;
            const int apart = WARPS * chunk.stride;
            for (int at = 4 * lane; at < whole; at += 4 * 32) {
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u)
                    if (first + u * WARPS < rows) copy_async<16>(to + u * apart + at, from[u] + at);
            }
            for (int at = whole + lane; at < chunk.columns; at += 32) {
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u) {
                    if (first + u * WARPS >= rows) break;
                    if (chunk.column + at < n_in)
                        copy_async<4>(to + u * apart + at, from[u] + at);
                    else
                        to[u * apart + at] = chunk.column + at == n_in ? 1.0f : 0.0f;
                }
            }
        }
        for (int row = rows + warp; row < chunk.rows; row += WARPS) {
            for (int at = lane; at < chunk.columns; at += 32) chunk.to[row * chunk.stride + at] = 0.0f;
        }
    }

    // What the thread itself has brought.
    __device__ void finish(const Chunk &chunk) const {
        wait_for_copies();
        const FusedLayer &layer = f.layers[0];
        if (!layer.dropped) return;
        const int rows = rows_of(chunk), whole = in_vectors(chunk);
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int row = warp; row < rows; row += WARPS) {
            float *to = chunk.to + row * chunk.stride;
            const auto mask = [&](int at) {
                const int column = chunk.column + at;
                if (column < layer.n_in) to[at] *= now.mask(layer, 0, chunk.row + row, column);
            };
            for (int at = 4 * lane; at < whole; at += 4 * 32)
                for (int u = 0; u < 4; ++u) mask(at + u);
            for (int at = whole + lane; at < chunk.columns; at += 32) mask(at);
        }
    }
};

// Where the variable that `own` is in this block's shared memory stands in a block's of the cluster. For
// this block it is `own` itself: a store by the cluster's address of it is another way to the same place,
// which need not have arrived at a barrier of the block alone.
template <typename T> __device__ inline T *of_block(T *own, int rank) {
    return rank == int(blockIdx.x) ? own : in_block(own, rank);
}

// A matrix whose rows the cluster's blocks share: those of a block stand at `matrix` in its memory.
struct Shared {
    float *matrix;
    int stride;
    Divisor share;
    int rows;  // that there are; further ones are 0

    __device__ void bring(const Chunk &chunk) const {
        constexpr int AT_ONCE = 8;  // vectors on their way before the first is stored
        for (int first = threadIdx.x / 32; first < chunk.rows; first += AT_ONCE * WARPS) {
            const float *from[AT_ONCE];
#pragma unroll
            for (int u = 0; u < AT_ONCE; ++u) {
                const int row = chunk.row + first + u * WARPS;
                const Part part(row, share);
                const bool there = first + u * WARPS < chunk.rows && row < rows;
                from[u] = there ? of_block(matrix + part.own * stride, part.of) : nullptr;
            }
            for (int at = threadIdx.x % 32 * 4; at < chunk.columns; at += 4 * 32) {
                Four some[AT_ONCE] = {};
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u)
                    if (from[u] != nullptr) some[u] = *(const Four *)(from[u] + chunk.column + at);
                float *to = chunk.to + first * chunk.stride + at;
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u, to += WARPS * chunk.stride)
                    if (first + u * WARPS < chunk.rows) store_shared(to, some[u].of);
            }
        }
    }
};

// Either of them.
struct Source {
    const Samples &samples;
    Shared matrix;
    bool of_samples;

    __device__ void bring(const Chunk &chunk) const {
        if (of_samples)
            samples.bring(chunk);
        else
            matrix.bring(chunk);
    }

    __device__ void finish(const Chunk &chunk) const {
        if (of_samples) samples.finish(chunk);
    }
};

// Chunk after chunk of the k terms: the next one is on its way while one is multiplied. chunk(k0, to)
// says what of the source it is.
template <typename ChunkAt, typename Multiply>
__device__ void in_chunks(int k, const Tiles &t, float *buffers, int buffer,
                          const Source &source, const ChunkAt &chunk, const Multiply &multiply) {
    const int depth = t.depth;
    for (int k0 = -depth, turn = 0; k0 < k; k0 += depth, turn = 1 - turn) {
        const Chunk next = chunk(k0 + depth, buffers + turn * buffer);
        if (k0 + depth < k) source.bring(next);
        if (k0 >= 0) multiply(k0, buffers + (1 - turn) * buffer);
        if (k0 + depth < k) source.finish(next);
        __syncthreads();
    }
}

// out(m, n, sum) for all sums over k of A[m][k] B[n][k]. A is the source, B (n, stride) in the block's
// memory; both are 0 from k to the next multiple of 4. A thread has every across-th row and every
// deep-th column, 200 products for 15 vectors that it loads. `before` is called before the first out.
template <typename Before, typename Out>
__device__ void dot(const Tiles &t, int m, int n, int k, const Source &source, const float *b,
                    int stride_b, float *buffers, int buffer, const Before &before, const Out &out) {
    const Part thread(threadIdx.x, t.items);
    const int group = thread.of, item = thread.own, items = t.items.size;
    const Part place(item, t.across);
    const int below = place.own, beside = place.of, across = t.across.size, deep = t.deep.size;
    const int part = t.part, start = group < t.groups ? group * part : k;
    const int stride = 4 * (t.depth / 4 | 1);  // an odd number of vectors: rows in different banks
    const float *columns[COLUMNS];
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) columns[v] = b + min(beside + v * deep, n - 1) * stride_b;
    for (int top = 0; top < m; top += t.panel) {
        const int height = min(t.panel, m - top);
        int rows[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) rows[i] = min(below + i * across, height - 1) * stride;
        float sums[ROWS][COLUMNS] = {};
        const auto chunk = [&](int k0, float *to) {
            return Chunk{to, stride, top, height, k0, (min(t.depth, k - k0) + 3) / 4 * 4};
        };
        const auto multiply = [&](int k0, const float *from) {
            const int terms = min(part, min(t.depth, k - k0) - start);
            const float *x_at[ROWS], *w_at[COLUMNS];
#pragma unroll
            for (int i = 0; i < ROWS; ++i) x_at[i] = from + rows[i] + start;
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v) w_at[v] = columns[v] + k0 + start;
#pragma unroll 1
            for (int four = 0; four < terms; four += 4) {
                Four w[COLUMNS];
#pragma unroll
                for (int v = 0; v < COLUMNS; ++v) {
                    w[v] = *(const Four *)w_at[v];
                    w_at[v] += 4;
                }
#pragma unroll
                for (int i = 0; i < ROWS; ++i) {
                    const Four x = *(const Four *)x_at[i];
                    x_at[i] += 4;
#pragma unroll
                    for (int v = 0; v < COLUMNS; ++v) {
#pragma unroll
                        for (int u = 0; u < 4; ++u) sums[i][v] += x.of[u] * w[v].of[u];
                    }
                }
            }
        };
        in_chunks(k, t, buffers, buffer, source, chunk, multiply);

        float *scratch = buffers;  // (groups, ROWS, COLUMNS, items)
        if (group < t.groups) {
            float *to = scratch + group * ROWS * COLUMNS * items + item;
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                for (int v = 0; v < COLUMNS; ++v, to += items) *to = sums[i][v];
            }
        }
        __syncthreads();
        if (top == 0) before();
        for (int column = threadIdx.x % 32; column < n; column += 32) {
            const Part of_column(column, t.deep);
            constexpr int AT_ONCE = 2;  // sums that do not wait for each other
            for (int row = threadIdx.x / 32; row < height; row += AT_ONCE * WARPS) {
                int at[AT_ONCE];
                float sums[AT_ONCE] = {};
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u) {
                    const Part of_row(min(row + u * WARPS, height - 1), t.across);
                    at[u] = (of_row.of * COLUMNS + of_column.of) * items +
                            of_column.own * across + of_row.own;
                }
                for (int g = 0; g < t.groups; ++g) {
#pragma unroll
                    for (int u = 0; u < AT_ONCE; ++u)
                        sums[u] += scratch[g * ROWS * COLUMNS * items + at[u]];
                }
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u)
                    if (row + u * WARPS < height) out(top + row + u * WARPS, column, sums[u]);
            }
        }
        __syncthreads();
    }
}

// out(n, at, sums) for all sums over k of A[k][m] B[n][k]: at[V] are multiples of 4, and sums[V] those
// of the four m from there on, of which some may be beyond m. A is the source, B (n, stride) in the
// block's memory; both are 0 from k to the next multiple of 4. A thread has every across-th vector and
// every deep-th column, 320 products for 21 vectors that it loads.
template <typename Out>
__device__ void outer(const Tiles &t, int m, int n, int k, const Source &source, const float *b,
                      int stride_b, float *buffers, int buffer, const Out &out) {
    const Part thread(threadIdx.x, t.items);
    const int group = thread.of, item = thread.own, items = t.items.size;
    const Part place(item, t.across);
    const int below = place.own, beside = place.of, across = t.across.size, deep = t.deep.size;
    const int part = t.part, start = group < t.groups ? group * part : k;
    const float *columns[COLUMNS];
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) columns[v] = b + min(beside + v * deep, n - 1) * stride_b;
    for (int top = 0; top < m; top += t.panel) {
        const int vectors = (min(t.panel, m - top) + 3) / 4;
        int at[VECTORS];
#pragma unroll
        for (int i = 0; i < VECTORS; ++i) at[i] = 4 * min(below + i * across, vectors - 1);
        Four sums[COLUMNS][VECTORS] = {};
        const auto chunk = [&](int k0, float *to) {
            const int terms = (min(t.depth, k - k0) + 3) / 4 * 4;
            return Chunk{to, t.panel, k0, terms, top, 4 * vectors};
        };
        const auto multiply = [&](int k0, const float *from) {
            const int terms = min(part, min(t.depth, k - k0) - start);
            const float *x_at[VECTORS], *d_at[COLUMNS];
#pragma unroll
            for (int i = 0; i < VECTORS; ++i) x_at[i] = from + start * t.panel + at[i];
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v) d_at[v] = columns[v] + k0 + start;
            for (int four = 0; four < terms; four += 4) {
                Four d[COLUMNS];
#pragma unroll
                for (int v = 0; v < COLUMNS; ++v) d[v] = *(const Four *)(d_at[v] + four);
#pragma unroll
                for (int q = 0; q < 4; ++q) {
#pragma unroll
                    for (int i = 0; i < VECTORS; ++i) {
                        const Four x = *(const Four *)x_at[i];
                        x_at[i] += t.panel;
#pragma unroll
                        for (int v = 0; v < COLUMNS; ++v) {
#pragma unroll
                            for (int u = 0; u < 4; ++u) sums[v][i].of[u] += x.of[u] * d[v].of[q];
                        }
                    }
                }
            }
        };
        in_chunks(k, t, buffers, buffer, source, chunk, multiply);

        if (t.groups == 1) {
#pragma unroll
            for (int i = 0; i < VECTORS; ++i) at[i] = top + 4 * (below + i * across);
#pragma unroll 1  // or the code of `out` would be there five times
            for (int v = 0; v < COLUMNS; ++v) {
                const int column = beside + v * deep;
#pragma unroll
                for (int i = 0; i < VECTORS; i += 2) {  // more at once would need more registers
                    const int some[2] = {at[i], at[i + 1]};
                    const Four of_some[2] = {sums[0][i], sums[0][i + 1]};
                    if (group == 0 && column < n) out(column, some, of_some);
                }
#pragma unroll
                for (int w = 0; w + 1 < COLUMNS; ++w) {
#pragma unroll
                    for (int i = 0; i < VECTORS; ++i) sums[w][i] = sums[w + 1][i];
                }
            }
            continue;
        }
        Four *scratch = (Four *)buffers;  // (groups, COLUMNS, VECTORS, items)
        if (group < t.groups) {
            Four *to = scratch + group * COLUMNS * VECTORS * items + item;
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v) {
#pragma unroll
                for (int i = 0; i < VECTORS; ++i, to += items) *to = sums[v][i];
            }
        }
        __syncthreads();
        for (int vector = threadIdx.x % 32; vector < vectors; vector += 32) {
            const Part of_vector(vector, t.across);
            for (int column = threadIdx.x / 32; column < n; column += WARPS) {
                const Part of_column(column, t.deep);
                const int at = (of_column.of * VECTORS + of_vector.of) * items +
                               of_column.own * across + of_vector.own;
                Four sum[1] = {};
                for (int g = 0; g < t.groups; ++g) {
                    const Four some = scratch[g * COLUMNS * VECTORS * items + at];
                    for (int u = 0; u < 4; ++u) sum[0].of[u] += some.of[u];
                }
                const int first[1] = {top + 4 * vector};
                out(column, first, sum);
            }
        }
        __syncthreads();
    }
}

template <int RULE> struct Rules { static constexpr int number = RULE; };

// What a block of a cluster has of its member.
struct Block {
    const Fused &f;
    const Clusters &c;
    const int member, rank;
    float *const memory, *const buffers;

    __device__ Block(const Fused &f, const Clusters &c)
        : f(f), c(c), member(blockIdx.y), rank(blockIdx.x), memory((float *)shared),
          buffers(memory + c.buffers) {}

    // The optimiser's first or second number of each weight, in the weights' places.
    __device__ float *state(int number) const {
        if (c.states == nullptr) return memory + c.state + number * c.parameters;
        const Index block = ((Index)number * f.members + member) * gridDim.x + rank;
        return c.states + block * c.parameters;
    }

    // The first of a layer's columns that are the block's own, and how many they are.
    __device__ int first_of(int number) const { return rank * c.layers[number].columns.size; }
    __device__ int columns_of(int number) const {
        const int left = f.layers[number].n_out - first_of(number);
        return max(0, min(c.layers[number].columns.size, left));
    }

    // copy(a global float, the block's own) for all that it has of an array of weights and biases.
    template <typename Copy>
    __device__ void of_layer(int number, float *weights, float *bias, float *own, Copy copy) const {
        const FusedLayer &layer = f.layers[number];
        const Share &share = c.layers[number];
        const int n_in = layer.n_in, n_out = layer.n_out, columns = columns_of(number);
        const int first = first_of(number);
        for (int t = threadIdx.x; t < (n_in + 1) * columns; t += THREADS) {
            const int i = t / columns, n = t % columns;
            float *global = i < n_in ? weights + ((Index)member * n_in + i) * n_out
                                     : bias + (Index)member * n_out;
            copy(global[first + n], own[share.weights + n * share.stride_in + i]);
        }
    }

    template <typename Copy> __device__ void of_all(Copy copy) const {
        for (int number = 0; number < f.n_layers; ++number) {
            const FusedLayer &layer = f.layers[number];
            of_layer(number, layer.weights, layer.bias, memory, copy);
            if (f.rule != SGD) of_layer(number, layer.weights_1, layer.bias_1, state(0), copy);
            if (f.rule == ADAM) of_layer(number, layer.weights_2, layer.bias_2, state(1), copy);
        }
    }

    __device__ void load() const {
        for (int t = threadIdx.x; t < c.buffers; t += THREADS) memory[t] = 0.0f;
        __syncthreads();
        of_all([](float &global, float &own) { own = global; });
        for (int number = 0; number + 1 < f.n_layers; ++number) {  // the input of the bias
            const Share &share = c.layers[number];
            float *one = memory + share.z + f.layers[number].n_out;
            for (int r = threadIdx.x; r < c.rows.size; r += THREADS) one[r * share.stride_out] = 1.0f;
        }
        bring_samples(0);
        wait_for_copies();
        __syncthreads();
    }

    __device__ void store() const {
        of_all([](float &global, float &own) { global = own; });
    }

    __device__ int *samples_of(int step) const {
        return (int *)(memory + c.samples) + step % 2 * f.batch;
    }

    __device__ void bring_samples(int step) const {
        for (int t = threadIdx.x; t < f.batch; t += THREADS)
            copy_async<4>(samples_of(step) + t, f.order + (Index)step * f.batch + t);
    }

    // A layer's sum s for a row and column becomes its output and slope in the memory of the block
    // that has the row, both times the next layer's mask; a logit stays as it is.
    __device__ void keep(const Step &now, int number, int row, int j, float s) const {
        const FusedLayer &layer = f.layers[number];
        const Share &share = c.layers[number];
        const Part owner(row, c.rows);
        const int at = owner.own * share.stride_out + j;
        float *z = of_block(memory + share.z + at, owner.of);
        if (number + 1 == f.n_layers) {
            *z = s;
            return;
        }
        const float mask = now.mask(f.layers[number + 1], number + 1, row, j);
        const float output = activated(layer.activation, s);
        *z = output * mask;
        *of_block(memory + share.ds + at, owner.of) = slope(layer.activation, s, output) * mask;
    }

    // Of the block's rows, (rows, stride_out).
    __device__ float *deltas_of(int number) const {
        const Share &share = c.layers[number];
        return memory + (number + 1 == f.n_layers ? share.z : share.ds);
    }

    // The columns of a layer's weights, (n_out, stride_in), of all blocks.
    __device__ Shared columns(int number) const {
        const Share &share = c.layers[number];
        return {memory + share.weights, share.stride_in, share.columns, f.layers[number].n_out};
    }

    // All rows by the block's columns of the first layer; then the block's rows by all columns of the
    // others. Returns the loss of the warp's rows; the logits have become deltas.
    __device__ double forward(const Step &now, const Samples &samples) const {
        const int last = f.n_layers - 1, first = rank * c.rows.size;
        const int rows = min(c.rows.size, now.rows - first);
#pragma unroll 1
        for (int number = 0; number <= last; ++number) {
            const FusedLayer &layer = f.layers[number];
            const Share &share = c.layers[number];
            const bool of_samples = number == 0;
            const int m = of_samples ? now.rows : layer.n_out, n = of_samples ? columns_of(0) : rows;
            const float *b = memory + (of_samples ? share.weights : c.layers[number - 1].z);
            // The other blocks have started, and have read the last step's outputs and deltas, which
            // the new outputs replace; and all columns of the last update can be read.
            const auto before = [&] {
                if (of_samples) cluster_wait();
            };
            const auto out = [&](int of_m, int of_n, float s) {
                const int row = of_samples ? of_m : first + of_n;
                keep(now, number, row, of_samples ? first_of(0) + of_n : of_m, s);
            };
            if (n > 0)
                dot(share.tiles[FORWARD], m, n, layer.n_in + 1,
                    Source{samples, columns(number), of_samples}, b, share.stride_in, buffers,
                    c.buffer, before, out);
            else
                before();
            if (of_samples) {  // the outputs of all blocks have reached those that have the rows
                cluster_arrive();
                cluster_wait();
            }
        }
        const Share &output = c.layers[last];
        double losses = 0.0;
        for (int r = threadIdx.x / 32; r < rows; r += WARPS) {
            Unit<1> *logits = (Unit<1> *)(memory + output.z + r * output.stride_out);
            losses += loss_of_row<1>(f, now, member, samples.samples[first + r], logits, 0);
        }
        __syncthreads();
        return losses;
    }

    // The deltas of the block's own columns in all rows, transposed.
    __device__ void gather_deltas(const Step &now, int number) const {
        constexpr int AT_ONCE = 8;  // on their way before the first is stored
        const int own = columns_of(number);
        const float *from = deltas_of(number) + first_of(number);
        float *to = memory + c.deltas;
        for (int n = threadIdx.x % 32; n < own; n += 32) {
            for (int first = threadIdx.x / 32; first < c.stride_rows; first += AT_ONCE * WARPS) {
                float some[AT_ONCE];
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u) {
                    const int row = first + u * WARPS;
                    const Part owner(row, c.rows);
                    const int at = owner.own * c.layers[number].stride_out + n;
                    some[u] = row < now.rows ? *of_block(from + at, owner.of) : 0.0f;
                }
#pragma unroll
                for (int u = 0; u < AT_ONCE; ++u) {
                    const int row = first + u * WARPS;
                    if (row < c.stride_rows) to[n * c.stride_rows + row] = some[u];
                }
            }
        }
    }

    // V fours of a column's weights, or its bias, make a rule's step by the loss's gradients; returns
    // the sum of their squares before.
    template <int RULE, int V>
    __device__ float stepped_vectors(const Step &now, int column, int n_in, const int (&at)[V],
                                     const Four (&gradients)[V]) const {
        constexpr bool FIRST = RULE != SGD, SECOND = RULE == ADAM;
        float constants[CONSTANTS];  // read anew, so that no registers hold them during the products
#pragma unroll
        for (int i = 0; i < CONSTANTS; ++i) constants[i] = now.constants[i];
        const float pull = constants[L2] + constants[ALPHA] * now.scale;
        float *state_1 = state(0) + column, *state_2 = state(1) + column;
        Four w[V], v1[V] = {}, v2[V] = {};
        float squares = 0.0f;
#pragma unroll
        for (int v = 0; v < V; ++v) {  // all loads before the first store
            if (at[v] > n_in) continue;
            w[v] = *(const Four *)(memory + column + at[v]);
            if (FIRST) v1[v] = *(const Four *)(state_1 + at[v]);
            if (SECOND) v2[v] = *(const Four *)(state_2 + at[v]);
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
#pragma unroll
            for (int u = 0; u < 4; ++u) {
                const int i = at[v] + u;
                if (i > n_in) break;
                float g = gradients[v].of[u], &own = w[v].of[u];
                if (i < n_in) {  // not the bias
                    squares += own * own;
                    g += pull * own;
                    own *= constants[SHRINK];
                }
                own = stepped(RULE, own, g, v1[v].of[u], v2[v].of[u], constants);
            }
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (at[v] > n_in) continue;
            *(Four *)(memory + column + at[v]) = w[v];
            if (FIRST) *(Four *)(state_1 + at[v]) = v1[v];
            if (SECOND) *(Four *)(state_2 + at[v]) = v2[v];
        }
        return squares;
    }

    // The deltas of the block's rows, from the last layer to the first; then the gradients of the
    // block's columns, and their update. Returns the sum of the squares of the thread's weights.
    __device__ float backward(const Step &now, const Samples &samples) const {
        float squares = 0.0f;
        const int last = f.n_layers - 1;
        const int rows = min(c.rows.size, now.rows - rank * c.rows.size);
#pragma unroll 1
        for (int task = 0; task <= 2 * last; ++task) {
            const bool back = task < last;
            const int number = back ? last - task : task - last;
            const FusedLayer &layer = f.layers[number];
            const Share &share = c.layers[number];
            const int n_in = layer.n_in, n = back ? rows : columns_of(number);
            if (task == last) {  // all rows have their deltas; no weights of other blocks are read any
                wait_for_copies();  // more; and the numbers of the next step's rows are there
                cluster_arrive();
                cluster_wait();
            }
            if (n <= 0) continue;
            Source source{samples, columns(number), !back && number == 0};
            if (!back) {
                gather_deltas(now, number);
                if (number > 0)
                    source.matrix = {memory + c.layers[number - 1].z, share.stride_in, c.rows, now.rows};
            }
            const auto out = [&](int of_n, const auto &at, const auto &sums) {
                constexpr int V = sizeof(at) / sizeof(at[0]);
                if (back) {
                    float *ds = memory + c.layers[number - 1].ds + of_n * share.stride_in;  // slopes
#pragma unroll
                    for (int v = 0; v < V; ++v) {
#pragma unroll
                        for (int u = 0; u < 4; ++u)
                            if (at[v] + u < n_in) ds[at[v] + u] *= sums[v].of[u];
                    }
                    return;
                }
                const int column = share.weights + of_n * share.stride_in;
                const auto by = [&](auto rule) {
                    squares += stepped_vectors<rule.number>(now, column, n_in, at, sums);
                };
                switch (f.rule) {  // once for all numbers
                    case SGD: return by(Rules<SGD>{});
                    case MOMENTUM: return by(Rules<MOMENTUM>{});
                    case NESTEROV: return by(Rules<NESTEROV>{});
                    case ADAM: return by(Rules<ADAM>{});
                    case RMSPROP: return by(Rules<RMSPROP>{});
                }
            };
            outer(share.tiles[back ? BACK : GRADIENT], back ? n_in : n_in + 1, n,
                  back ? layer.n_out : now.rows, source, back ? deltas_of(number) : memory + c.deltas,
                  back ? share.stride_out : c.stride_rows, buffers, c.buffer, out);
            __syncthreads();
        }
        return squares;
    }
};

// blockIdx: the block of the cluster, the member.
__device__ inline void train(const Fused &f, const Clusters &c, int steps) {
    const Block block(f, c);
    double loss = 0.0, penalty = 0.0;  // the warp's, the thread's
    block.load();
    cluster_arrive();
    for (int step = 0; step < steps; ++step) {
        const Step now(f, step, block.member);
        if (step + 1 < steps) block.bring_samples(step + 1);
        if (now.rows == 0) {
            wait_for_copies();
            __syncthreads();
            continue;
        }
        const Samples samples{f, now, block.samples_of(step)};
        loss += block.forward(now, samples);
        const float squares = block.backward(now, samples), alpha = now.constants[ALPHA];
        if (alpha != 0.0f) penalty += double(squares) * alpha / 2;
        cluster_arrive();
    }
    cluster_wait();  // nobody reads this block's memory any more
    block.store();

    __syncthreads();
    double *of_warps = (double *)block.buffers;
    penalty = sum_of_warp(penalty);
    if (threadIdx.x % 32 == 0) {
        of_warps[threadIdx.x / 32] = loss;
        of_warps[WARPS + threadIdx.x / 32] = penalty;
    }
    __syncthreads();
    if (threadIdx.x >= 2) return;
    double sum = 0.0;
    for (int warp = 0; warp < WARPS; ++warp) sum += of_warps[threadIdx.x * WARPS + warp];
    (threadIdx.x == 0 ? f.loss : f.squares)[block.member * gridDim.x + block.rank] += sum;
}

#define CLUSTER_OF(C) __cluster_dims__(C, 1, 1) __launch_bounds__(THREADS, 1)
#else  // a GPU without clusters: nobody launches it

__device__ inline void train(const Fused &, const Clusters &, int) { __trap(); }

#define CLUSTER_OF(C) __launch_bounds__(THREADS, 1)
#endif

// The kernels, by the size of a cluster; 8 is the largest that all GPUs with clusters have. With ONLY
// defined there is one, ONLY_name.
#if !defined(ONLY) || defined(ONLY_clusters_1)
extern "C" __global__ void CLUSTER_OF(1)
clusters_1(const __grid_constant__ Fused f, const __grid_constant__ Clusters c, int steps) {
    train(f, c, steps);
}
#endif

#if !defined(ONLY) || defined(ONLY_clusters_2)
extern "C" __global__ void CLUSTER_OF(2)
clusters_2(const __grid_constant__ Fused f, const __grid_constant__ Clusters c, int steps) {
    train(f, c, steps);
}
#endif

#if !defined(ONLY) || defined(ONLY_clusters_4)
extern "C" __global__ void CLUSTER_OF(4)
clusters_4(const __grid_constant__ Fused f, const __grid_constant__ Clusters c, int steps) {
    train(f, c, steps);
}
#endif

#if !defined(ONLY) || defined(ONLY_clusters_8)
extern "C" __global__ void CLUSTER_OF(8)
clusters_8(const __grid_constant__ Fused f, const __grid_constant__ Clusters c, int steps) {
    train(f, c, steps);
}
#endif
