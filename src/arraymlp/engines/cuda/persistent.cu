// Many training steps of one network by one launch, whose blocks stay: a block an SM.
//
// The first layer's weights, with its bias as the weight of one more input, which is 1, are cut into
// parts of the inputs and slices of the columns. Each block has one piece, with its optimiser state, in
// shared memory from the first step to the last, and is the only one that reads or writes it. A step is
//
//   A  X W over the block's inputs, for all rows of the minibatch, into `parts`
//      barrier 1
//   B  R rows a block: adds the parts, takes the rows through the other layers, whose weights it
//      copies into shared memory, to the loss and back; writes z and ds
//      barrier 2
//   C  X^T dS for the block's piece, and its update; the other layers' weights and biases in tiles
//      that the blocks share out, in global memory
//
// and while a block waits, the next minibatch's inputs are on their way into a second buffer.
//
// Two barriers are enough, and each is needed. What blocks tell each other is `parts` (written in A,
// read in B), z and ds (written in B, read in C), and the other layers' parameters (written in C, read
// in B of the next step). Of each, what is written must be there when it is read, and be read before
// the next step writes it again:
//
//              written, then read                    read, then written again
//   parts      A | 1 | B                             B | 2 | C A
//   z, ds      B | 2 | C                             C A | 1 | B
//   others     C A | 1 | B                           B | 2 | C
//
// One barrier stands between them in every case, so that no buffer is needed twice. Without barrier 1
// B would add parts that are not there; without barrier 2 C would multiply deltas that are not.
//
// A block that waits needs all others to come, so that they must all run: the launch is cooperative,
// which the driver refuses unless all blocks fit on the device at once. Kernels of other streams may
// hold SMs for a while, but end without us; the launch starts once all its blocks have a place.
//
// A barrier is a counter in global memory, which only grows within a launch. All of a block's threads
// meet, then one adds 1 (release) and waits for the count (acquire), then all meet again. In PTX's
// memory model what any thread of the grid wrote before is then visible to weak loads of all. Only
// ld.global.nc is not bound by it, which the compiler takes for const __restrict__ pointers: there is
// none here.
//
// Nothing is added up in an order that depends on timing: equal inputs give equal bits.

#include "fused.cuh"
#include "ptx.cuh"

constexpr int THREADS = 512, WARPS = THREADS / 32;
constexpr int HEIGHT = 32, WIDTH = 16;  // of a warp's tile of a product: 8 x 4 lanes, of 4 x 4 each
constexpr int TILE = HEIGHT * WIDTH;
constexpr int BUSY = 8;  // warps that keep an SM multiplying: two for each of its schedulers
static_assert(TILE == THREADS, "a thread updates one weight of a tile");

__device__ inline int rounded_up(int n, int size) { return (n + size - 1) / size * size; }

// The barrier over all blocks.
class Barrier {
    unsigned *arrived, count = 0;

public:
    __device__ explicit Barrier(unsigned *counter) : arrived(counter) {}

    __device__ void arrive() {
        __syncthreads();
        count += gridDim.x * gridDim.y;
        if (threadIdx.x == 0) count_release(arrived);
    }

    __device__ void wait() const {
        if (threadIdx.x == 0) wait_for_count(arrived, count);
        __syncthreads();
    }
};

// A block's piece of the first layer, and where things stand in its shared memory: as in persistent.py.
struct Piece {
    int first, inputs, left, columns;  // its rows of the weights, of which n_in is the bias; its columns
    int across, apart;                 // floats from row to row: of weights and deltas; of inputs
    float *weights, *state_1, *state_2;
    float *x;    // two minibatches' inputs, of even and odd steps
    int *order;  // their row numbers
    float *work; // what a phase needs

    __device__ Piece(const Fused &f, int columns_each)
        : first(blockIdx.x * f.part), inputs(min(f.part, f.layers[0].n_in + 1 - first)),
          left(blockIdx.y * columns_each), columns(min(columns_each, f.layers[0].n_out - left)),
          across(rounded_up(columns_each, WIDTH)),
          apart(f.part % 8 == 0 ? f.part + 4 : f.part) {  // 8 rows' Fours are in different banks
        const int size = f.part * across;
        weights = (float *)shared;
        state_1 = weights + size;
        state_2 = state_1 + (f.rule != SGD ? size : 0);
        x = state_2 + (f.rule == ADAM ? size : 0);
        order = (int *)(x + 2 * f.batch * apart);
        work = (float *)(order + rounded_up(2 * f.batch, 8));
    }

    __device__ float *x_of(const Fused &f, int step) const { return x + step % 2 * f.batch * apart; }
    __device__ int *order_of(const Fused &f, int step) const { return order + step % 2 * f.batch; }

    // move(own, global) for each number of the piece: its parameters, and its state.
    template <typename Move> __device__ void each(const Fused &f, const Move &move) const {
        const FusedLayer &layer = f.layers[0];
#pragma unroll 1
        for (int t = threadIdx.x; t < inputs * columns; t += THREADS) {
            const int i = t / columns, j = t % columns;
            const bool bias = first + i == layer.n_in;
            const Index from = bias ? left + j : (Index)(first + i) * layer.n_out + left + j;
            const int own = i * across + j;
            move(weights[own], (bias ? layer.bias : layer.weights)[from]);
            if (f.rule != SGD) move(state_1[own], (bias ? layer.bias_1 : layer.weights_1)[from]);
            if (f.rule == ADAM) move(state_2[own], (bias ? layer.bias_2 : layer.weights_2)[from]);
        }
    }
};

// Asynchronous copies of rows x columns floats; from(row) is where a row starts, and `fours` whether
// all rows are whole Fours.
template <typename From>
__device__ void bring(float *to, int apart, int rows, int columns, bool fours, const From &from) {
    const int width = fours ? columns / 4 : columns;
    if (width == 0) return;
    const int lanes = min(width, THREADS), at_once = THREADS / lanes;  // a row, and rows
    const int lane = threadIdx.x % lanes, first = threadIdx.x / lanes;
    if (first >= at_once) return;
    for (int row = first; row < rows; row += at_once) {
        for (int column = lane; column < width; column += lanes) {
            if (fours)
                copy_async<16>(to + row * apart + 4 * column, from(row) + 4 * column);
            else
                copy_async<4>(to + row * apart + column, from(row) + column);
        }
    }
}

__device__ inline bool in_fours(const float *from, int apart, int columns) {
    return (size_t)from % 16 == 0 && apart % 4 == 0 && columns % 4 == 0;
}

// Send for a step's order, if there is such a step; and for its inputs, when the order is there.
__device__ inline void bring_order(const Fused &f, const Piece &piece, int step, int steps) {
    if (step >= steps) return;
    for (int t = threadIdx.x; t < f.batch; t += THREADS)
        copy_async<4>(piece.order_of(f, step) + t, f.order + (Index)step * f.batch + t);
}

__device__ inline void bring_inputs(const Fused &f, const Piece &piece, int step, int rows) {
    const int n_in = f.layers[0].n_in, inputs = min(piece.inputs, n_in - piece.first);
    const int *order = piece.order_of(f, step);
    const float *x = f.x + piece.first;
    bring(piece.x_of(f, step), piece.apart, rows, inputs, in_fours(x, n_in, inputs),
          [&](int row) { return x + (Index)order[row] * n_in; });
}

// A lane's part of its warp's tile. Lanes that differ in bit 0 read the same rows, and those that
// differ in bit 1 the same columns: a load of Fours by a half warp is one access to shared memory.
__device__ inline int lane_down() { return threadIdx.x / 2 % 8; }
__device__ inline int lane_across() { return 4 * (threadIdx.x % 2 + threadIdx.x / 16 % 2 * 2); }

// A product of height x width, each number the sum of so many terms, by the block. A warp has a tile,
// or, where there are fewer than BUSY, a segment of a tile's terms, of a multiple of UNIT. The other
// warps would not make it faster: they would have more sums for shared memory to add.
// add(sums, top, left, start, stop) adds these terms of the lane's numbers of a tile, with rows of the
// tile as row_of(i) says; use(row, column, sum) is called once for each number.
template <int UNIT, typename RowOf, typename Add, typename Use>
__device__ void multiply(float *scratch, int height, int width, int terms, const RowOf &row_of,
                         const Add &add, const Use &use) {
    const int in_row = (width + WIDTH - 1) / WIDTH;
    const int tiles = (height + HEIGHT - 1) / HEIGHT * in_row;
    const int segments = max(1, BUSY / tiles), at_once = BUSY / segments;
    const int each = rounded_up((terms + segments - 1) / segments, UNIT);
    const int warp = threadIdx.x / 32;
    for (int first = 0; first < tiles; first += at_once) {
        const int tile = first + warp / segments, start = warp % segments * each;
        if (warp < at_once * segments && tile < tiles) {
            float sums[4][4] = {};
            add(sums, tile / in_row * HEIGHT, tile % in_row * WIDTH, start, min(terms, start + each));
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                Four *to = (Four *)(scratch + warp * TILE + row_of(i) * WIDTH + lane_across());
                *to = {sums[i][0], sums[i][1], sums[i][2], sums[i][3]};
            }
        }
        __syncthreads();
        const int here = min(at_once, tiles - first);
        for (int t = threadIdx.x; t < here * TILE; t += THREADS) {
            const int tile = first + t / TILE, at = t % TILE;
            const int row = tile / in_row * HEIGHT + at / WIDTH;
            const int column = tile % in_row * WIDTH + at % WIDTH;
            if (row >= height || column >= width) continue;
            const float *of_segments = scratch + t / TILE * segments * TILE + at;
            float sum = 0.0f;
            for (int s = 0; s < segments; ++s) sum += of_segments[s * TILE];
            use(row, column, sum);
        }
        __syncthreads();
    }
}

// A: the block's part of X W, into `parts`.
__device__ inline void first_layer(const Fused &f, const Step &now, const Piece &piece, const float *x) {
    const FusedLayer &layer = f.layers[0];
    float *part = f.parts + (Index)blockIdx.x * f.batch * layer.n_out + piece.left;
    const auto row_of = [](int i) { return lane_down() + 8 * i; };
    const auto add = [&](float (&sums)[4][4], int top, int left, int start, int stop) {
        const float *rows[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) rows[i] = x + min(top + row_of(i), now.rows - 1) * piece.apart;
        const float *weights = piece.weights + left + lane_across();
        for (int k = start; k < stop; k += 4) {
            Four a[4], b[4];
#pragma unroll
            for (int u = 0; u < 4; ++u) {
                a[u] = *(const Four *)(rows[u] + k);
                b[u] = *(const Four *)(weights + (k + u) * piece.across);
            }
#pragma unroll
            for (int u = 0; u < 4; ++u) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sums[i][j] += a[i].of[u] * b[u].of[j];
                }
            }
        }
    };
    multiply<4>(piece.work, now.rows, piece.columns, rounded_up(piece.inputs, 4), row_of, add,
                [&](int row, int column, float sum) { part[row * layer.n_out + column] = sum; });
}

// What a thread adds of the parts of R rows' first sums: groups of threads share out the parts.
struct Share {
    int sums, width, groups, group, start, stop;
    int row, column;  // of the thread's first sum

    __device__ Share(const Fused &f, int rows) : sums(f.layers[0].n_out * rows) {
        width = min(sums, THREADS);
        groups = min(f.parts_of, THREADS / width);
        group = threadIdx.x / width;
        const int each = (f.parts_of + groups - 1) / groups, at = threadIdx.x % width;
        start = group * each;
        stop = group < groups ? min(f.parts_of, start + each) : start;
        row = at / f.layers[0].n_out;
        column = at % f.layers[0].n_out;
    }
};

// B: the rows from `first` on, from the parts of the first sums to all deltas.
template <int R>
__device__ void through(const Fused &f, const Step &now, const Piece &piece, const Share &share,
                        int first, bool staged, double *loss) {
    int all = 0;  // floats of the other layers' weights
    for (int l = 1; l < f.n_layers; ++l) all += rounded_up(f.layers[l].n_in * f.layers[l].n_out, 4);
    Unit<R> *units = (Unit<R> *)(piece.work + rounded_up(all, 8)), *scratch = units + f.units;
    const auto stage = [&] {
        float *to = piece.work;
        for (int l = 1; l < f.n_layers; ++l) {
            const FusedLayer &layer = f.layers[l];
            const int n = layer.n_in * layer.n_out;
            bring(to, 0, 1, n, in_fours(layer.weights, 0, n), [&](int) { return layer.weights; });
            to += rounded_up(n, 4);
        }
    };

    const int n = f.layers[0].n_out;
    float *sums = (float *)scratch;
    int r = share.row, j = share.column;
    for (int left = 0; left < share.sums; left += share.width) {
        const int at = left + threadIdx.x % share.width, row = first + r;
        const bool wanted = at < share.sums && row < now.rows;
        const float *part = f.parts + (Index)row * n + j;
        float sum = 0.0f, own[8];
        const auto load = [&](int eight) {
#pragma unroll
            for (int p = 0; p < 8; ++p) {
                const bool there = wanted && eight + p < share.stop;
                own[p] = there ? __ldcg(part + (Index)(eight + p) * f.batch * n) : 0.0f;
            }
        };
        load(share.start);
        if (left == 0 && !staged) stage();  // behind the parts, which are needed first
        for (int eight = share.start; eight < share.stop; eight += 8) {
            if (eight > share.start) load(eight);
#pragma unroll
            for (int p = 0; p < 8; ++p) sum += own[p];
        }
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (share.group == 0 && at < share.sums) {
            float s = 0.0f;
            for (int g = 0; g < share.groups; ++g) s += sums[g * share.width + threadIdx.x];
            keep<R>(f, now, 0, 0, units, first, j, r, s);
        }
        for (j += share.width; j >= n; j -= n) ++r;
        wait_for_copies();
        __syncthreads();
    }
    const auto weights_of = [&](int number) {
        const float *weights = piece.work;
        for (int l = 1; l < number; ++l) weights += rounded_up(f.layers[l].n_in * f.layers[l].n_out, 4);
        return weights;
    };
    onward<R>(f, now, 0, first, units, scratch, weights_of, loss);
    __syncthreads();
}

// A step's constants, and what the rule makes of a parameter.
struct Update {
    int rule;
    float constants[CONSTANTS], pull, squares = 0.0f;

    __device__ Update(const Fused &f, const Step &now) : rule(f.rule) {
#pragma unroll
        for (int c = 0; c < CONSTANTS; ++c) constants[c] = now.constants[c];
        pull = constants[L2] + constants[ALPHA] * now.scale;
    }

    __device__ float operator()(bool bias, float w, float g, float &v1, float &v2) {
        if (!bias) {
            squares += w * w;
            g += pull * w;
            w *= constants[SHRINK];
        }
        return stepped(rule, w, g, v1, v2, constants);
    }
};

// The terms of A^T B from row `start` to `stop`: a of the lane's four rows of the product, b of columns.
__device__ inline void add_rows(float (&sums)[4][4], const float *a, int a_apart, const float *b,
                                int b_apart, int start, int stop) {
#pragma unroll 2
    for (int row = start; row < stop; ++row) {
        const Four u = *(const Four *)(a + row * a_apart), v = *(const Four *)(b + row * b_apart);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[i][j] += u.of[i] * v.of[j];
        }
    }
}

// A tile of the other layers' weights, with the bias as those of one more input.
struct Tile {
    int number, top, left, height, width;  // its layer, and where it stands there

    __device__ Tile(const Fused &f, int tile) : number(1) {
        while (number + 1 < f.n_layers && tile >= f.layers[number + 1].tile) ++number;
        const FusedLayer &layer = f.layers[number];
        const int in_row = (layer.n_out + WIDTH - 1) / WIDTH, of_layer = tile - layer.tile;
        top = of_layer / in_row * HEIGHT;
        left = of_layer % in_row * WIDTH;
        height = min(HEIGHT, layer.n_in + 1 - top);
        width = min(WIDTH, layer.n_out - left);
    }

    // Send for its inputs, (rows, HEIGHT), and its deltas, (rows, WIDTH).
    __device__ void bring_rows(const Fused &f, int rows, float *inputs, float *deltas) const {
        const int n_in = f.layers[number].n_in, n_out = f.layers[number].n_out;
        const int columns = min(height, n_in - top);
        const float *z = f.layers[number - 1].z + top, *ds = f.layers[number].ds + left;
        bring(inputs, HEIGHT, rows, columns, in_fours(z, n_in, columns),
              [&](int row) { return z + row * n_in; });
        bring(deltas, WIDTH, rows, width, in_fours(ds, n_out, width),
              [&](int row) { return ds + row * n_out; });
        if (columns == height) return;
        for (int row = threadIdx.x; row < rows; row += THREADS) inputs[row * HEIGHT + columns] = 1.0f;
    }

    __device__ void update(const Fused &f, int rows, const float *inputs, const float *deltas,
                           float *scratch, Update &update) const {
        const FusedLayer &layer = f.layers[number];
        const int i = top + threadIdx.x / WIDTH, j = left + threadIdx.x % WIDTH;
        const bool bias = i == layer.n_in, there = i <= layer.n_in && j < layer.n_out;
        const Index at = bias ? j : (Index)i * layer.n_out + j;
        float *parameter = bias ? layer.bias : layer.weights;
        float *state_1 = bias ? layer.bias_1 : layer.weights_1;
        float *state_2 = bias ? layer.bias_2 : layer.weights_2;
        const float w = there ? __ldcg(parameter + at) : 0.0f;  // comes while others multiply
        float v1 = there && f.rule != SGD ? __ldcg(state_1 + at) : 0.0f;
        float v2 = there && f.rule == ADAM ? __ldcg(state_2 + at) : 0.0f;
        const auto row_of = [](int i) { return 4 * lane_down() + i; };
        multiply<1>(
            scratch, height, width, rows, row_of,
            [&](float (&sums)[4][4], int, int, int start, int stop) {
                add_rows(sums, inputs + row_of(0), HEIGHT, deltas + lane_across(), WIDTH, start, stop);
            },
            [&](int, int, float g) {  // of this thread's parameter
                parameter[at] = update(bias, w, g, v1, v2);
                if (f.rule != SGD) state_1[at] = v1;
                if (f.rule == ADAM) state_2[at] = v2;
            });
    }
};

// C: the block's piece, and its share of the other layers; returns the thread's part of the penalty.
__device__ inline double update_by_gradients(const Fused &f, const Step &now, const Piece &piece,
                                             const float *x) {
    const FusedLayer &layer = f.layers[0];
    const int block = blockIdx.y * gridDim.x + blockIdx.x, blocks = gridDim.x * gridDim.y;
    float *ds = piece.work, *tile_inputs = ds + f.batch * piece.across;
    float *tile_deltas = tile_inputs, *scratch = tile_inputs;
    if (f.tiles > 0) {
        tile_deltas = tile_inputs + f.batch * HEIGHT;
        scratch = tile_deltas + f.batch * WIDTH;
    }
    const float *deltas = layer.ds + piece.left;
    bring(ds, piece.across, now.rows, piece.columns, in_fours(deltas, layer.n_out, piece.columns),
          [&](int row) { return deltas + row * layer.n_out; });
    if (block < f.tiles) Tile(f, block).bring_rows(f, now.rows, tile_inputs, tile_deltas);
    Update update(f, now);
    wait_for_copies();
    __syncthreads();
    const auto row_of = [](int i) { return 4 * lane_down() + i; };
    multiply<1>(
        scratch, piece.inputs, piece.columns, now.rows, row_of,
        [&](float (&sums)[4][4], int top, int left, int start, int stop) {
            const float *a = x + min(top + row_of(0), f.part - 4);
            add_rows(sums, a, piece.apart, ds + left + lane_across(), piece.across, start, stop);
        },
        [&](int row, int column, float g) {
            const int at = row * piece.across + column;
            float v1 = f.rule != SGD ? piece.state_1[at] : 0.0f;
            float v2 = f.rule == ADAM ? piece.state_2[at] : 0.0f;
            const bool bias = piece.first + row == layer.n_in;
            piece.weights[at] = update(bias, piece.weights[at], g, v1, v2);
            if (f.rule != SGD) piece.state_1[at] = v1;
            if (f.rule == ADAM) piece.state_2[at] = v2;
        });
    for (int number = block; number < f.tiles; number += blocks) {
        const Tile tile(f, number);
        if (number > block) {
            tile.bring_rows(f, now.rows, tile_inputs, tile_deltas);
            wait_for_copies();
            __syncthreads();
        }
        tile.update(f, now.rows, tile_inputs, tile_deltas, scratch, update);
    }
    if (update.constants[ALPHA] == 0.0f) return 0.0;
    return update.squares * double(update.constants[ALPHA]) / 2;
}

// The steps. blockIdx: part of the inputs, slice of the columns.
template <int R>
__device__ void train(const Fused &f, unsigned *arrived, int steps, int columns) {
    const Piece piece(f, columns);
    const FusedLayer &layer = f.layers[0];
    const int block = blockIdx.y * gridDim.x + blockIdx.x, blocks = gridDim.x * gridDim.y;
    Barrier barrier(arrived);
    double loss = 0.0, squares = 0.0;

    // Nothing beyond the piece may be NaN, for it is multiplied by 0; the bias's input is 1.
    for (float *to = (float *)shared + threadIdx.x; to < (float *)piece.order; to += THREADS) *to = 0.0f;
    __syncthreads();
    piece.each(f, [](float &own, const float &global) { own = global; });
    if (piece.first + piece.inputs > layer.n_in) {
        for (int row = threadIdx.x; row < 2 * f.batch; row += THREADS)
            piece.x[row * piece.apart + piece.inputs - 1] = 1.0f;
    }
    int next_rows = steps > 0 ? f.rows[0] : 0;
    bring_order(f, piece, 0, steps);
    wait_for_copies();
    __syncthreads();
    bring_inputs(f, piece, 0, next_rows);
    bring_order(f, piece, 1, steps);
    for (int step = 0; step < steps; ++step) {
        Step now(f, step, 0);
        now.rows = next_rows;  // which has come while the step before was done
        now.order = piece.order_of(f, step);
        next_rows = step + 1 < steps ? f.rows[step + 1] : 0;
        float *x = piece.x_of(f, step);
        wait_for_copies();
        __syncthreads();
        if (now.rows == 0) {  // for all blocks alike
            bring_inputs(f, piece, step + 1, next_rows);
            bring_order(f, piece, step + 2, steps);
            continue;
        }
        if (layer.dropped) {
            const int inputs = min(piece.inputs, layer.n_in - piece.first);
            for (int t = threadIdx.x; t < now.rows * inputs; t += THREADS) {
                const int row = t / inputs, i = t % inputs;
                x[row * piece.apart + i] *= now.mask(layer, 0, row, piece.first + i);
            }
            __syncthreads();
        }
        first_layer(f, now, piece, x);
        barrier.arrive();
        bring_inputs(f, piece, step + 1, next_rows);
        const Share share(f, R);
        barrier.wait();
        for (int first = block * R; first < now.rows; first += blocks * R)
            through<R>(f, now, piece, share, first, first > block * R, &loss);
        barrier.arrive();
        bring_order(f, piece, step + 2, steps);  // in place of this step's
        barrier.wait();
        squares += update_by_gradients(f, now, piece, x);
    }
    wait_for_copies();
    __syncthreads();
    piece.each(f, [](const float &own, float &global) { global = own; });
    squares = sum_of_warp(squares);
    double *of_warps = (double *)piece.work;
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = squares;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int warp = 0; warp < WARPS; ++warp) sum += of_warps[warp];
        f.squares[block] += sum;
        f.loss[block] += loss;
    }
}

// The kernels, by the rows that a block takes at a time. With ONLY defined there is one, ONLY_name.
#if !defined(ONLY) || defined(ONLY_persistent_1)
extern "C" __global__ void __launch_bounds__(THREADS, 1)
persistent_1(const __grid_constant__ Fused f, unsigned *arrived, int steps, int columns) {
    train<1>(f, arrived, steps, columns);
}
#endif

#if !defined(ONLY) || defined(ONLY_persistent_2)
extern "C" __global__ void __launch_bounds__(THREADS, 1)
persistent_2(const __grid_constant__ Fused f, unsigned *arrived, int steps, int columns) {
    train<2>(f, arrived, steps, columns);
}
#endif

#if !defined(ONLY) || defined(ONLY_persistent_4)
extern "C" __global__ void __launch_bounds__(THREADS, 1)
persistent_4(const __grid_constant__ Fused f, unsigned *arrived, int steps, int columns) {
    train<4>(f, arrived, steps, columns);
}
#endif

#if !defined(ONLY) || defined(ONLY_persistent_8)
extern "C" __global__ void __launch_bounds__(THREADS, 1)
persistent_8(const __grid_constant__ Fused f, unsigned *arrived, int steps, int columns) {
    train<8>(f, arrived, steps, columns);
}
#endif
