// A training step of small and medium perceptrons in three kernels, in order:
//
//   first_layer_HxW  gathers the minibatch's rows and multiplies them by the first layer's weights,
//                    in H x W tiles of the sums and parts of the inputs, so that there are blocks
//                    for all multiprocessors;
//   rows_R           takes R rows at a time through everything else: adds the parts, runs the other
//                    layers forward, compares with the targets, and sends the deltas back;
//   gradients_HxW    multiplies each layer's inputs by its deltas, in H x W tiles of the weights,
//                    and updates the tile's weights in place.
//
// Between two kernels a step needs all of the former's results, so that three launches are as few
// as a network with hidden layers can do without a barrier over the whole device. Nothing is added
// up in an order that depends on timing: equal inputs give equal bits.
//
// A population's members share the minibatch, so that their first layers are one product, X by all
// their columns next to each other, and tiles may hold columns of several members: no tile is cut
// short at each member's edge. Members that mask the inputs have products of their own, as all have
// in the layers after the first.

#include "fused.cuh"
#include "ptx.cuh"

constexpr int STAGES = 4;  // chunks of a tile: one is multiplied while the others are on their way
constexpr int THREADS_OF_ROWS = 512;  // of a block of rows_R, at most

// Whether rows of n numbers can be copied four at a time, the first of them being here.
__device__ inline bool in_fours(const float *first, int n) {
    return n % 4 == 0 && (unsigned long long)first % 16 == 0;
}

// The block has n numbers copied, to an address of shared memory that is divisible by 16.
__device__ inline void stage(float *to, const float *from, int n) {
    const int fours = in_fours(from, 4) ? n / 4 * 4 : 0;
    for (int i = 4 * threadIdx.x; i < fours; i += 4 * blockDim.x)
        copy_async<16>(to + i, from + i);
    for (int i = fours + threadIdx.x; i < n; i += blockDim.x) copy_async<4>(to + i, from + i);
}

// How many members' columns of a layer stand next to each other in one product.
__device__ inline int together(const Fused &f, int number) {
    return number == 0 && !f.layers[0].dropped ? f.members : 1;
}

// One of such a product's columns: a member's unit.
struct Column {
    int member, unit;

    // Of the products of a layer the group-th.
    __device__ Column(const Fused &f, int number, int group, int column) {
        const int n = f.layers[number].n_out, of = column / n;
        member = group * together(f, number) + of;
        unit = column - of * n;
    }
};

// HEIGHT x WIDTH of a product A^T B, by a block. Its threads are LINES of 8, each with R x C of the
// tile: small tiles make many blocks, large ones load less from shared memory for each product. The
// factors come in chunks of DEPTH terms, by copies that are under way long before they are needed.
template <int R, int C, int LINES, int D> struct Tile {
    static constexpr int ROWS = R, COLUMNS = C, HEIGHT = LINES * R, WIDTH = 8 * C, DEPTH = D;
    static constexpr int THREADS = 8 * LINES, WARPS = THREADS / 32;
    static constexpr int BLOCKS = C == 4 ? 3 : 512 / THREADS;  // that a multiprocessor must take
    static constexpr int FIRST = R < 4 ? R : 4;  // rows of a thread that are next to each other
    // Of A: 8 numbers of one row, below each other, and those of 3 more rows are in 32 banks.
    static constexpr int PITCH = (HEIGHT + 27) / 32 * 32 + 4;

    struct alignas(16) Chunk { float a[DEPTH][PITCH], b[DEPTH][WIDTH]; };

    float sums[ROWS][COLUMNS] = {};

    __device__ static Chunk *chunks() { return (Chunk *)shared; }

    // Room for numbers of rows, behind the chunks.
    __device__ static int *numbers() { return (int *)(chunks() + STAGES); }

    // Where the thread's numbers stand in the tile; its columns four by four, 32 apart.
    __device__ static int row(int i) {
        const int line = threadIdx.x / 8;
        return i < FIRST ? line * FIRST + i : LINES * FIRST + line * (ROWS - FIRST) + i - FIRST;
    }
    __device__ static int column(int j) { return threadIdx.x % 8 * 4 + j / 4 * 32 + j % 4; }

    // A chunk with so few terms left has zeros up to the next fourth.
    __device__ static int filled(int terms) { return min(DEPTH, (terms + 3) / 4 * 4); }

    // Has a factor's rows copied, EXTENT numbers each, N at a time. start(c) is where column c
    // begins, null beyond the edge; row(k) is how far the chunk's k-th row is from there.
    template <int N, int EXTENT, int P, typename Start, typename Row>
    __device__ static void bring(float (&to)[DEPTH][P], int terms, const Start &start,
                                 const Row &row) {
        constexpr int ACROSS = N == 4 ? EXTENT / 4 : 32, DOWN = THREADS / ACROSS;
        if (threadIdx.x >= ACROSS * DOWN) return;
        const int above = threadIdx.x / ACROSS, last = filled(terms);
#pragma unroll 1  // it would keep more addresses than there are registers
        for (int left = 0; left < EXTENT; left += ACROSS * N) {
            const int c = left + threadIdx.x % ACROSS * N;
            if (c >= EXTENT) break;
            const float *from = start(c);
#pragma unroll
            for (int first = 0; first < DEPTH; first += DOWN) {
                const int k = first + above;
                if (k >= last) break;
                if (from != nullptr && k < terms) {
                    copy_async<4 * N>(&to[k][c], from + row(k));
                } else {
#pragma unroll
                    for (int i = 0; i < N; ++i) to[k][c + i] = 0.0f;
                }
            }
        }
    }

    // Adds the products of so many terms. bring(chunk, first) has the chunk with the terms from
    // `first` on copied; once it is there, ready(chunk, first) may do more to it.
    template <typename Bring, typename Ready>
    __device__ void sum(int terms, const Bring &bring, const Ready &ready) {
        const int n = (terms + DEPTH - 1) / DEPTH;
        for (int c = 0; c < STAGES - 1; ++c) {
            if (c < n) bring(chunks()[c], c * DEPTH);
            commit_copies();
        }
        for (int c = 0; c < n; ++c) {
            wait_for_copies<STAGES - 2>();
            __syncthreads();  // the chunk is there, and nobody reads the one before any more
            const int next = c + STAGES - 1;
            if (next < n) bring(chunks()[next % STAGES], next * DEPTH);
            commit_copies();
            Chunk &chunk = chunks()[c % STAGES];
            ready(chunk, c * DEPTH);
            add(chunk, terms - c * DEPTH);
        }
    }

    // The product of a chunk.
    __device__ void add(const Chunk &chunk, int terms) {
        struct alignas(4 * FIRST) Rows { float of[FIRST]; };
        const int last = filled(terms);
        for (int four = 0; four < last; four += 4) {
#pragma unroll
            for (int k = four; k < four + 4; ++k) {
                const Rows some = *(const Rows *)&chunk.a[k][row(0)];
                float u[ROWS];
#pragma unroll
                for (int i = 0; i < ROWS; ++i) u[i] = i < FIRST ? some.of[i] : chunk.a[k][row(i)];
#pragma unroll
                for (int part = 0; part < COLUMNS; part += 4) {
                    const Four v = *(const Four *)&chunk.b[k][column(part)];
#pragma unroll
                    for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                        for (int j = 0; j < 4; ++j) sums[i][part + j] += u[i] * v.of[j];
                    }
                }
            }
        }
    }
};

// parts[p] = X W over the p-th part of the inputs. blockIdx: tile, part, product.
template <typename Own> __device__ void multiply_rows(const Fused &f, int step) {
    constexpr int HEIGHT = Own::HEIGHT, WIDTH = Own::WIDTH, THREADS = Own::THREADS;
    const FusedLayer &layer = f.layers[0];
    const int group = blockIdx.z, n_in = layer.n_in, n_out = layer.n_out;
    const int columns = together(f, 0) * n_out;
    const int across = (columns + WIDTH - 1) / WIDTH;
    const int top = blockIdx.x / across * HEIGHT, left = blockIdx.x % across * WIDTH;
    const Step now(f, step, group * together(f, 0));  // its masks: only a member alone has any
    const int r = threadIdx.x, row = top + r;
    const bool in_table = r < HEIGHT && row < f.batch;  // read before the number of rows is known
    const int sample = in_table ? f.order[(Index)step * f.batch + row] : -1;
    if (top >= now.rows) return;
    const int start = blockIdx.y * f.part, terms = min(n_in - start, f.part);
    const bool fours = in_fours(layer.weights, n_out);

    int *samples = Own::numbers();
    static_assert(HEIGHT <= THREADS, "a thread for each row");
    if (r < HEIGHT) samples[r] = row < now.rows ? sample : -1;
    __syncthreads();

    const auto bring = [&](typename Own::Chunk &chunk, int first) {
        // Eight threads bring as many inputs of a row, which stand below each other in the chunk.
        const int last = Own::filled(terms - first);
        for (int r = threadIdx.x / 8; r < HEIGHT; r += THREADS / 8) {
            const float *x = f.x + (Index)samples[r] * n_in + start + first;
#pragma unroll
            for (int eight = 0; eight < Own::DEPTH; eight += 8) {
                const int k = eight + threadIdx.x % 8;
                if (k >= last) break;
                if (samples[r] >= 0 && first + k < terms)
                    copy_async<4>(&chunk.a[k][r], x + k);
                else
                    chunk.a[k][r] = 0.0f;
            }
        }
        const auto column = [&](int c) -> const float * {
            if (left + c >= columns) return nullptr;
            const Column at(f, 0, group, left + c);
            return layer.weights + ((Index)at.member * n_in + start + first) * n_out + at.unit;
        };
        const auto input = [&](int k) { return (Index)k * n_out; };
        if (fours)
            Own::template bring<4, WIDTH>(chunk.b, terms - first, column, input);
        else
            Own::template bring<1, WIDTH>(chunk.b, terms - first, column, input);
    };
    const auto ready = [&](typename Own::Chunk &chunk, int first) {
        if (!layer.dropped) return;
        const int last = min(Own::DEPTH, terms - first);
        for (int t = threadIdx.x; t < last * HEIGHT; t += THREADS) {
            const int k = t / HEIGHT, r = t % HEIGHT;
            chunk.a[k][r] *= now.mask(layer, 0, top + r, start + first + k);
        }
        __syncthreads();
    };
    Own tile;
    tile.sum(terms, bring, ready);

    const Index width = (Index)f.members * n_out;  // of all products
    float *part = f.parts + ((Index)blockIdx.y * f.batch + top) * width + group * n_out + left;
#pragma unroll
    for (int i = 0; i < Own::ROWS; ++i) {
        if (top + Own::row(i) >= now.rows) continue;
#pragma unroll
        for (int four = 0; four < Own::COLUMNS; four += 4) {
            const int c = Own::column(four);
            const float *sums = &tile.sums[i][four];
            float *to = part + Own::row(i) * width + c;
            if (columns % 4 == 0 && left + c < columns) {
                *(float4 *)to = make_float4(sums[0], sums[1], sums[2], sums[3]);
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (left + c + j < columns) to[j] = sums[j];
                }
            }
        }
    }
}

// The block has R of a step's rows of x brought from the device's memory to the second-level cache:
// a data set is larger, and nobody has read them in this epoch. Its last threads do, which wait for
// the rows' numbers while the first add parts.
template <int R> __device__ void prefetch_rows(const Fused &f, int step, int first) {
    const int n = f.layers[0].n_in, lines = n / 32 + 2;  // of 128 bytes, wherever the row begins
    for (int t = blockDim.x - 1 - threadIdx.x; t < R * lines; t += blockDim.x) {
        const int row = first + t / lines;
        if (row >= f.batch) break;
        const float *x = f.x + (Index)f.order[(Index)step * f.batch + row] * n;
        prefetch_to_l2(x + min(n - 1, t % lines * 32));
    }
}

// Everything between the first layer's products and the gradients, and the next step's rows of x
// into the cache. blockIdx: R rows, member.
// Shared memory: with STAGED the weights of the layers after the first; each layer's outputs and
// deltas; then one unit a thread.
template <int R, bool STAGED> __device__ void through(const Fused &f, int step, int next) {
    const int member = blockIdx.y, first = blockIdx.x * R;
    const Step now(f, step, member);

    const auto weights_in_global = [&](int number) -> const float * {
        const FusedLayer &layer = f.layers[number];
        return layer.weights + (Index)member * layer.n_in * layer.n_out;
    };
    const auto weights_in_shared = [&](int number) {  // each layer's aligned as units are
        float *weights = (float *)shared;
        for (int i = 1; i < number; ++i)
            weights += (f.layers[i].n_in * f.layers[i].n_out + 7) / 8 * 8;
        return weights;
    };
    if constexpr (STAGED) {  // on their way while the parts are added
        for (int number = 1; number < f.n_layers; ++number) {
            const FusedLayer &layer = f.layers[number];
            stage(weights_in_shared(number), weights_in_global(number), layer.n_in * layer.n_out);
        }
        commit_copies();
    }
    if (member == 0) prefetch_rows<R>(f, next, first);
    Unit<R> *units = (Unit<R> *)(STAGED ? weights_in_shared(f.n_layers) : (float *)shared);
    Unit<R> *scratch = units + f.units;

    {
        constexpr int MANY = 16;  // parts that are on their way before the first is added
        const FusedLayer &layer = f.layers[0];
        const int n = layer.n_out;
        const Index width = (Index)f.members * n, apart = f.batch * width;
        for (int t = threadIdx.x; t < n * R; t += blockDim.x) {
            const int j = t % n, r = t / n;
            float s = layer.bias[(Index)member * n + j];
            if (first + r < f.batch) {  // there may be fewer rows, but to know it would take time
                const float *part = f.parts + (first + r) * width + (Index)member * n + j;
                for (int many = 0; many < f.parts_of; many += MANY) {
                    float own[MANY];
#pragma unroll
                    for (int p = 0; p < MANY; ++p)
                        own[p] = many + p < f.parts_of ? part[(many + p) * apart] : 0.0f;
#pragma unroll
                    for (int p = 0; p < MANY; ++p) s += own[p];
                }
            }
            keep<R>(f, now, 0, member, units, first, j, r, s);
        }
    }
    if constexpr (STAGED) wait_for_copies<0>();
    __syncthreads();
    if (first >= now.rows) return;

    const auto weights_of = [&](int number) -> const float * {
        if constexpr (STAGED)
            return weights_in_shared(number);
        else
            return weights_in_global(number);
    };
    double *loss = f.loss + member * gridDim.x + blockIdx.x;
    onward<R>(f, now, member, first, units, scratch, weights_of, loss);
}

// W <- the rule's step by X^T dS, and b by the column sums of dS, in the tiles at the top.
// blockIdx: tile, of all layers in turn.
template <typename Own> __device__ void update_by_gradients(const Fused &f, int step) {
    constexpr int HEIGHT = Own::HEIGHT, WIDTH = Own::WIDTH, THREADS = Own::THREADS;
    constexpr int WARPS = Own::WARPS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int rows = f.rows[step];
    int number = 0, squares_before = 0;  // where the layer's squares begin
    while (number + 1 < f.n_layers && int(blockIdx.x) >= f.layers[number + 1].tile) {
        squares_before += (f.layers[number].n_in + HEIGHT - 1) / HEIGHT * f.layers[number].n_out;
        ++number;
    }
    const FusedLayer &layer = f.layers[number];
    const int n_in = layer.n_in, n_out = layer.n_out, columns = together(f, number) * n_out;
    const int across = (columns + WIDTH - 1) / WIDTH, down = (n_in + HEIGHT - 1) / HEIGHT;
    const int tile_of_layer = blockIdx.x - layer.tile, group = tile_of_layer / (across * down);
    const int tile_of_group = tile_of_layer - group * across * down;
    const int top = tile_of_group / across * HEIGHT, left = tile_of_group % across * WIDTH;
    const bool dropped = number == 0 && layer.dropped;  // others' inputs have been masked
    const float *inputs =
        number == 0 ? f.x : f.layers[number - 1].z + (Index)group * f.batch * n_in;
    const bool inputs_in_fours = in_fours(inputs, n_in);
    const bool deltas_in_fours = in_fours(layer.ds, n_out);

    int *samples = Own::numbers();  // the rows of the inputs
    for (int r = threadIdx.x; r < f.batch; r += THREADS)
        samples[r] = number == 0 ? f.order[(Index)step * f.batch + r] : r;
    if (rows == 0) return;
    __syncthreads();

    const auto bring = [&](typename Own::Chunk &chunk, int first) {
        const auto input = [&](int c) { return top + c < n_in ? inputs + top + c : nullptr; };
        const auto sample = [&](int k) { return (Index)samples[first + k] * n_in; };
        if (inputs_in_fours)
            Own::template bring<4, HEIGHT>(chunk.a, rows - first, input, sample);
        else
            Own::template bring<1, HEIGHT>(chunk.a, rows - first, input, sample);
        const auto delta = [&](int c) -> const float * {
            if (left + c >= columns) return nullptr;
            const Column at(f, number, group, left + c);
            return layer.ds + ((Index)at.member * f.batch + first) * n_out + at.unit;
        };
        const auto row = [&](int k) { return (Index)k * n_out; };
        if (deltas_in_fours)
            Own::template bring<4, WIDTH>(chunk.b, rows - first, delta, row);
        else
            Own::template bring<1, WIDTH>(chunk.b, rows - first, delta, row);
    };
    float of_bias[WIDTH / 32] = {};  // a warp's share of the sums of columns lane, lane + 32, ...
    const auto ready = [&](typename Own::Chunk &chunk, int first) {
        const int last = min(Own::DEPTH, rows - first);
        if (top == 0) {
#pragma unroll
            for (int k = 0; k < Own::DEPTH; k += WARPS) {
                if (k + warp >= last) break;
#pragma unroll
                for (int h = 0; h < WIDTH / 32; ++h) of_bias[h] += chunk.b[k + warp][lane + 32 * h];
            }
        }
        if (!dropped) return;
        const Step now(f, step, group);
        for (int t = threadIdx.x; t < last * HEIGHT; t += THREADS) {
            const int k = t / HEIGHT, i = t % HEIGHT;
            chunk.a[k][i] *= now.mask(layer, 0, first + k, top + i);
        }
        __syncthreads();
    };
    Own tile;
    tile.sum(rows, bring, ready);

    // Through shared memory the sums come to the threads that update the weights: a warp 32 columns
    // of some rows, next to each other in global memory. The bias is one row more.
    struct Sums { float of[HEIGHT][WIDTH], of_bias[WARPS][WIDTH], squares[WARPS][WIDTH]; };
    static_assert(sizeof(Sums) <= STAGES * sizeof(typename Own::Chunk), "in the chunks' place");
    Sums &sums = *(Sums *)shared;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Own::ROWS; ++i) {
#pragma unroll
        for (int j = 0; j < Own::COLUMNS; j += 4) {
            const float *own = &tile.sums[i][j];
            *(float4 *)&sums.of[Own::row(i)][Own::column(j)] =
                make_float4(own[0], own[1], own[2], own[3]);
        }
    }
#pragma unroll
    for (int h = 0; h < WIDTH / 32; ++h) sums.of_bias[warp][lane + 32 * h] = of_bias[h];
    __syncthreads();

    // Rows whose loads are on their way before the first is updated: of small tiles all.
    constexpr int MANY = HEIGHT <= 32 ? HEIGHT / WARPS + 1 : 6;
    const int all = min(HEIGHT, n_in - top), all_and_bias = all + (top == 0);
#pragma unroll 1
    for (int h = 0; h < WIDTH / 32; ++h) {
        const int c = lane + 32 * h;
        if (left + c >= columns) break;
        const Column at(f, number, group, left + c);
        const Step now(f, step, at.member);
        float constants[CONSTANTS];
#pragma unroll
        for (int i = 0; i < CONSTANTS; ++i) constants[i] = now.constants[i];
        const float pull = constants[L2] + constants[ALPHA] * now.scale;
        const Index bias = (Index)at.member * n_out + at.unit;
        const Index first = ((Index)at.member * n_in + top) * n_out + at.unit;
        float squares = 0.0f;
#pragma unroll 1
        for (int r0 = warp; r0 < all_and_bias; r0 += MANY * WARPS) {
            float w[MANY], v1[MANY] = {}, v2[MANY] = {};
#pragma unroll
            for (int q = 0; q < MANY; ++q) {
                const int r = r0 + q * WARPS;
                if (r >= all_and_bias) break;
                const Index i = r < all ? first + (Index)r * n_out : bias;
                w[q] = (r < all ? layer.weights : layer.bias)[i];
                if (f.rule != SGD) v1[q] = (r < all ? layer.weights_1 : layer.bias_1)[i];
                if (f.rule == ADAM) v2[q] = (r < all ? layer.weights_2 : layer.bias_2)[i];
            }
#pragma unroll
            for (int q = 0; q < MANY; ++q) {
                const int r = r0 + q * WARPS;
                if (r >= all_and_bias) break;
                const Index i = r < all ? first + (Index)r * n_out : bias;
                float g = 0.0f;
                if (r < all) {
                    squares += w[q] * w[q];
                    g = sums.of[r][c] + pull * w[q];
                    w[q] *= constants[SHRINK];
                } else {
#pragma unroll
                    for (int k = 0; k < WARPS; ++k) g += sums.of_bias[k][c];
                }
                w[q] = stepped(f.rule, w[q], g, v1[q], v2[q], constants);
                (r < all ? layer.weights : layer.bias)[i] = w[q];
                if (f.rule != SGD) (r < all ? layer.weights_1 : layer.bias_1)[i] = v1[q];
                if (f.rule == ADAM) (r < all ? layer.weights_2 : layer.bias_2)[i] = v2[q];
            }
        }
        sums.squares[warp][c] = squares;
    }
    __syncthreads();
    if (threadIdx.x >= WIDTH || left + int(threadIdx.x) >= columns) return;
    const Column at(f, number, group, left + threadIdx.x);
    const float alpha = Step(f, step, at.member).constants[ALPHA];
    if (alpha == 0.0f) return;
    double sum = 0.0;
#pragma unroll
    for (int k = 0; k < WARPS; ++k) sum += sums.squares[k][threadIdx.x];
    const int own = squares_before + top / HEIGHT * n_out + at.unit;
    f.squares[(Index)at.member * f.tiles + own] += sum * alpha / 2;
}

// The kernels. With ONLY defined there is one, ONLY_name: to compile all takes four times as long
// as the three that one network needs.
using Tile32x32 = Tile<2, 4, 16, 32>;
using Tile64x64 = Tile<4, 8, 16, 16>;
using Tile100x64 = Tile<5, 8, 20, 16>;

#if !defined(ONLY) || defined(ONLY_first_layer_32x32)
extern "C" __global__ void __launch_bounds__(Tile32x32::THREADS, Tile32x32::BLOCKS)
first_layer_32x32(const __grid_constant__ Fused f, int step) {
    multiply_rows<Tile32x32>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_first_layer_64x64)
extern "C" __global__ void __launch_bounds__(Tile64x64::THREADS, Tile64x64::BLOCKS)
first_layer_64x64(const __grid_constant__ Fused f, int step) {
    multiply_rows<Tile64x64>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_first_layer_100x64)
extern "C" __global__ void __launch_bounds__(Tile100x64::THREADS, Tile100x64::BLOCKS)
first_layer_100x64(const __grid_constant__ Fused f, int step) {
    multiply_rows<Tile100x64>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_2)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_2(const __grid_constant__ Fused f, int step, int next) {
    through<2, false>(f, step, next);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_4)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_4(const __grid_constant__ Fused f, int step, int next) {
    through<4, false>(f, step, next);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_8)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_8(const __grid_constant__ Fused f, int step, int next) {
    through<8, false>(f, step, next);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_staged_2)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_staged_2(const __grid_constant__ Fused f, int step, int next) {
    through<2, true>(f, step, next);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_staged_4)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_staged_4(const __grid_constant__ Fused f, int step, int next) {
    through<4, true>(f, step, next);
}
#endif

#if !defined(ONLY) || defined(ONLY_rows_staged_8)
extern "C" __global__ void __launch_bounds__(THREADS_OF_ROWS, 2)
rows_staged_8(const __grid_constant__ Fused f, int step, int next) {
    through<8, true>(f, step, next);
}
#endif

#if !defined(ONLY) || defined(ONLY_gradients_32x32)
extern "C" __global__ void __launch_bounds__(Tile32x32::THREADS, Tile32x32::BLOCKS)
gradients_32x32(const __grid_constant__ Fused f, int step) {
    update_by_gradients<Tile32x32>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_gradients_64x64)
extern "C" __global__ void __launch_bounds__(Tile64x64::THREADS, Tile64x64::BLOCKS)
gradients_64x64(const __grid_constant__ Fused f, int step) {
    update_by_gradients<Tile64x64>(f, step);
}
#endif

#if !defined(ONLY) || defined(ONLY_gradients_100x64)
extern "C" __global__ void __launch_bounds__(Tile100x64::THREADS, Tile100x64::BLOCKS)
gradients_100x64(const __grid_constant__ Fused f, int step) {
    update_by_gradients<Tile100x64>(f, step);
}
#endif
