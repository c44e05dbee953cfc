// The steps of many minibatches, compiled: gather, forward, loss, backward, gradient, update.
//
// It computes what layer.py, the losses and the optimisers say, for float and double, alone or for
// each member of a population. A step has two halves with a barrier after each:
//
//   rows      each thread takes some rows of the minibatch through all layers and back;
//   weights   each takes some rows of the weight matrices: their gradient, tile by tile, each tile
//             at once turned into the change of its weights, so that these pass the cache once.
//
// Nothing is added up in an order that depends on the number of threads. There are no threads here:
// Python's call in together (see native.py), each time for some steps. Compiled once for each
// instruction set; no C++ library is needed.

#include <string.h>

#include "vector_math.h"

#include "../functions.h"
#include "products.h"
#include "losses.h"
#include "team.h"

namespace {

// Memory that is handed out from a block, or only counted where there is none.
struct Arena {
    char *start;
    size_t used;

    template <typename T> T *take(Index count) {
        const size_t at = used;
        used += ((size_t)count * sizeof(T) + 63) / 64 * 64;
        return start == nullptr ? nullptr : (T *)(start + at);
    }
};

template <typename T> Index row_step(Index columns) {
    Index step = panels_of<T>(columns) * Simd<T>::PANEL;
    // Rows that are a multiple of 512 bytes apart would share few of the cache's sets.
    if (step * (Index)sizeof(T) % 512 == 0) step += Simd<T>::PANEL;
    return step;
}

template <typename T> struct Packed {  // a parameter, its optimiser's state, and its average
    T *w, *v1, *v2, *average;
};

// One layer of the member that is being trained; B rows.
template <typename T> struct LayerWork {
    Index n_in, n_out, activation, step;  // step: T's between rows of z, slope and ds
    bool dropped;
    Packed<T> weights, bias;
    T *transposed;                        // weights; of the first layer none
    T *gradient, *bias_gradient;          // packed, where they are clipped
    T *z, *slope, *ds;                    // outputs as the next mask leaves them; f' times mask; dL/ds
    Index items, item_rows;               // the weights' rows are shared out in items
};

constexpr Index MOST_LAYERS = 64;
enum { AVERAGE = CONSTANTS, CLIP, COLUMNS };  // of the tables, after an update's own

template <typename T> struct Work {
    LayerWork<T> layers[MOST_LAYERS];
    T *x;                                 // (B, n_0) the minibatch's rows, where they are copied
    Index x_step;
    T *logits, *y;                        // of some rows at a time, column by column, and their targets
    double *values;                       // (B,) each row's loss times its weight
    double *squares, *sums;               // (items,) of weights, before the update; of gradients
    double *largest;                      // (items,) of gradients
    Index items;
};

template <typename T> struct Member {
    const Job &job;
    Work<T> work;

    Member(const Job &given, char *scratch, size_t *bytes) : job(given) {
        Arena arena = {scratch, 0};
        const LayerJob *layers = job.layers;
        work.x_step = row_step<T>(layers[0].n_in);
        work.x = arena.take<T>(job.batch * work.x_step);
        work.values = arena.take<double>(job.batch);
        work.logits = arena.take<T>(job.batch * layers[job.n_layers - 1].n_out);
        work.y = job.targets != nullptr ? arena.take<T>(job.batch * job.n_targets) : nullptr;
        work.items = 0;
        for (Index i = 0; i < job.n_layers; ++i) {
            LayerWork<T> &layer = work.layers[i];
            const LayerJob &of = layers[i];
            layer.n_in = of.n_in, layer.n_out = of.n_out, layer.activation = of.activation;
            layer.dropped = of.dropped != 0, layer.step = row_step<T>(of.n_out);
            const Index width = panels_of<T>(of.n_out) * Simd<T>::PANEL, size = of.n_in * width;
            layer.weights = packed(arena, of.weights_1, of.weights_2, of.average_weights, size);
            layer.bias = packed(arena, of.bias_1, of.bias_2, of.average_bias, width);
            const bool last = i + 1 == job.n_layers;
            layer.transposed = i == 0 ? nullptr : arena.take<T>(panels_of<T>(of.n_in) * Simd<T>::PANEL * of.n_out);
            layer.gradient = job.clips ? arena.take<T>(size) : nullptr;
            layer.bias_gradient = job.clips ? arena.take<T>(width) : nullptr;
            layer.z = last ? nullptr : arena.take<T>(job.batch * layer.step);
            layer.slope = last ? nullptr : arena.take<T>(job.batch * layer.step);
            layer.ds = arena.take<T>((job.batch + 1) * layer.step);  // one row more: see bias_sums
            layer.item_rows = i == 0 ? 4 * TILE_ROWS : 48 * (VECTOR_BYTES == 64 ? 2 : 1);
            layer.items = (of.n_in + layer.item_rows - 1) / layer.item_rows;
            work.items += layer.items;
        }
        work.squares = arena.take<double>(work.items);
        work.sums = arena.take<double>(work.items);
        work.largest = arena.take<double>(work.items);
        if (bytes != nullptr) *bytes = arena.used;
    }

    static Packed<T> packed(Arena &arena, void *v1, void *v2, void *average, Index size) {
        Packed<T> made;
        made.w = arena.take<T>(size);
        made.v1 = v1 == nullptr ? nullptr : arena.take<T>(size);
        made.v2 = v2 == nullptr ? nullptr : arena.take<T>(size);
        made.average = average == nullptr ? nullptr : arena.take<T>(size);
        return made;
    }

    // Between the caller's arrays of member m and panels.
    void bring(Index m, bool back) {
        for (Index i = 0; i < job.n_layers; ++i) {
            LayerWork<T> &layer = work.layers[i];
            const LayerJob &of = job.layers[i];
            const Packed<T> &w = layer.weights, &b = layer.bias;
            void *theirs[] = {of.weights, of.weights_1, of.weights_2, of.average_weights};
            T *ours[] = {w.w, w.v1, w.v2, w.average};
            void *their_bias[] = {of.bias, of.bias_1, of.bias_2, of.average_bias};
            T *our_bias[] = {b.w, b.v1, b.v2, b.average};
            for (int q = 0; q < 4; ++q) {
                if (ours[q] == nullptr) continue;
                T *matrix = (T *)theirs[q] + m * of.n_in * of.n_out, *row = (T *)their_bias[q] + m * of.n_out;
                if (back) unpack(ours[q], of.n_in, of.n_out, matrix), unpack(our_bias[q], 1, of.n_out, row);
                else pack(matrix, of.n_in, of.n_out, ours[q]), pack(row, 1, of.n_out, our_bias[q]);
            }
            if (!back && i > 0) transpose(w.w, of.n_in, of.n_out, 0, of.n_in, layer.transposed);
        }
    }

    // A step's place in the tables, and what it is told.
    struct Step {
        Index number, first, rows;        // the position of its first row, and how many
        const PlanJob *plan;
        Index member, of;                 // of: the member's column in the tables
        const double *constants;
        T told[COLUMNS];
        double divisor;                   // of the gradients
    };

    Step step(Index m, Index number) const {
        Step s;
        s.number = number, s.member = m, s.of = job.constants_of == 1 ? 0 : m;
        s.plan = &job.plans[job.plan_of[m]];
        s.first = s.plan->first + number * job.batch;
        const Index left = s.plan->n - s.first;
        s.rows = left < job.batch ? left : job.batch;
        s.constants = job.constants + (number * job.constants_of + s.of) * COLUMNS;
        for (int i = 0; i < COLUMNS; ++i) s.told[i] = T(s.constants[i]);
        s.divisor = 0;                    // added up by each thread in one order
        if (job.weight == nullptr) s.divisor = (double)s.rows;
        else
            for (Index r = 0; r < s.rows; ++r) s.divisor += weight_of(s, r);
        return s;
    }

    Index row_of(const Step &s, Index r) const {
        const Index position = s.first + r;
        return s.plan->order == nullptr ? position : s.plan->order[position];
    }

    double weight_of(const Step &s, Index r) const {
        if (job.weight == nullptr) return 1.0;
        return (double)((const T *)job.weight)[row_of(s, r) * job.weights_of + (job.weights_of == 1 ? 0 : s.member)];
    }

    // Whether rows of X can be read where they stand.
    bool in_place(const Step &s) const {
        const bool as_they_are = s.plan->x_mean == nullptr && !work.layers[0].dropped && s.plan->order == nullptr;
        return as_they_are && job.x_step * (Index)sizeof(T) % 512 != 0;
    }

    const T *inputs(const Step &s, Index *x_step) const {
        if (!in_place(s)) {
            *x_step = work.x_step;
            return work.x;
        }
        *x_step = job.x_step;
        return (const T *)job.x + s.first * job.x_step;
    }

    struct Mask {
        int32_t key, threshold;
        T scale;

        T operator()(Index row, Index unit, Index units) const {
            return kept((unsigned)(row * units + unit), key, threshold) ? scale : T(0);
        }
    };

    Mask mask(const Step &s, Index layer) const {
        const Index at = s.of * job.n_layers + layer;
        const Index number = s.number * job.constants_of * job.n_layers + at;
        return {job.keys[number], job.thresholds[at], T(job.drop_scales[at])};
    }

    void gather(const Step &s, Index from, Index to) {
        if (in_place(s)) return;
        const Index n = job.layers[0].n_in;
        const T *mean = (const T *)s.plan->x_mean, *factor = (const T *)s.plan->x_factor;
        for (Index r = from; r < to; ++r) {
            T *x = work.x + r * work.x_step;
            const T *given = (const T *)job.x + row_of(s, r) * job.x_step;
            if (mean == nullptr) memcpy(x, given, (size_t)n * sizeof(T));
            else
                for (Index i = 0; i < n; ++i) x[i] = (given[i] - mean[i]) * factor[i];
            if (work.layers[0].dropped) {
                const Mask m = mask(s, 0);
                for (Index i = 0; i < n; ++i) x[i] *= m(r, i, n);
            }
        }
    }

    // z = f(s + b) in place of s, for rows of a layer, and f'(s + b) at the same places of `slopes`.
    template <int KIND> static void activate(T *RESTRICT z, T *RESTRICT slopes, Index rows, const LayerWork<T> &layer) {
        const T *RESTRICT bias = layer.bias.w;
        const Index n = whole_vectors<T>(layer.n_out);
        for (Index r = 0; r < rows; ++r, z += layer.step, slopes += layer.step)
            for (Index j = 0; j < n; ++j) {
                const T s = z[j] + bias[j], f = activated(KIND, s);
                slopes[j] = slope(KIND, s, f);
                z[j] = f;
            }
    }

    static void activate(T *z, T *slopes, Index rows, const LayerWork<T> &layer) {
        switch (layer.activation) {
            case SIGMOID: return activate<SIGMOID>(z, slopes, rows, layer);
            case TANH: return activate<TANH>(z, slopes, rows, layer);
            case RELU: return activate<RELU>(z, slopes, rows, layer);
            case LEAKY_RELU: return activate<LEAKY_RELU>(z, slopes, rows, layer);
            case ELU: return activate<ELU>(z, slopes, rows, layer);
            case SOFTPLUS: return activate<SOFTPLUS>(z, slopes, rows, layer);
            case GELU: return activate<GELU>(z, slopes, rows, layer);
            case SILU: return activate<SILU>(z, slopes, rows, layer);
            default: return activate<IDENTITY>(z, slopes, rows, layer);
        }
    }

    static void add_bias(T *RESTRICT s, Index rows, const LayerWork<T> &layer) {
        const T *RESTRICT bias = layer.bias.w;
        const Index n = whole_vectors<T>(layer.n_out);
        for (Index r = 0; r < rows; ++r, s += layer.step)
            for (Index j = 0; j < n; ++j) s[j] += bias[j];
    }

    // Rows from `from` to `to` - 1 of a layer's outputs and slopes, masked as the next layer's inputs.
    void drop(const Step &s, Index i, Index from, Index to) {
        LayerWork<T> &layer = work.layers[i];
        const Mask m = mask(s, i + 1);
        for (Index r = from; r < to; ++r) {
            T *RESTRICT z = layer.z + r * layer.step, *RESTRICT slopes = layer.slope + r * layer.step;
            for (Index j = 0; j < layer.n_out; ++j) {
                const T factor = m(r, j, layer.n_out);
                z[j] *= factor;
                slopes[j] *= factor;
            }
        }
    }

    // Rows from `from` to `to` - 1 of the minibatch through all layers, and dL/ds back.
    void rows(const Step &s, Index from, Index to) {
        gather(s, from, to);
        Index step;
        const T *x = inputs(s, &step);
        const Index last = job.n_layers - 1;
        for (Index i = 0; i <= last; ++i) {
            LayerWork<T> &layer = work.layers[i];
            T *out = i == last ? layer.ds : layer.z;
            T *z = out + from * layer.step;
            multiply(to - from, layer.n_out, layer.n_in, x + from * step, step, layer.weights.w, z, layer.step);
            if (i == last) add_bias(z, to - from, layer);
            else activate(z, layer.slope + from * layer.step, to - from, layer);
            if (i != last && work.layers[i + 1].dropped) drop(s, i, from, to);
            x = out, step = layer.step;
        }
        losses(s, from, to);
        for (Index i = last; i > 0; --i) {
            LayerWork<T> &layer = work.layers[i], &before = work.layers[i - 1];
            multiply(to - from, layer.n_in, layer.n_out, layer.ds + from * layer.step, layer.step, layer.transposed,
                     before.ds + from * before.step, before.step);
            const Index n = whole_vectors<T>(before.n_out);
            for (Index r = from; r < to; ++r) {
                T *RESTRICT ds = before.ds + r * before.step;
                const T *RESTRICT slopes = before.slope + r * before.step;
                for (Index j = 0; j < n; ++j) ds[j] *= slopes[j];
            }
        }
    }

    // Of rows from `from` to `to` - 1, which are brought into columns for it.
    void losses(const Step &s, Index from, Index to) {
        LayerWork<T> &layer = work.layers[job.n_layers - 1];
        const Index n = layer.n_out, some = to - from, targets = job.n_targets;
        const double *constants = job.loss_constants + (job.loss_members == 1 ? 0 : s.member) * job.loss_width;
        const BlockLoss<T> loss = {job.loss, n, targets, some, job.capped != 0, s.told[SMOOTHING], constants,
                                   Limits<T>::largest / T(4 * n)};
        const T *mean = (const T *)s.plan->y_mean, *factor = (const T *)s.plan->y_factor;
        const double divisor = job.mean == 0 ? 1.0 : s.divisor > 0 ? s.divisor : 0.0;
        T *RESTRICT columns = work.logits + from * n, *RESTRICT y = nullptr, values[ROWS_TOGETHER];
        int32_t labels[ROWS_TOGETHER];
        for (Index r = 0; r < some; ++r)
            for (Index j = 0; j < n; ++j) columns[j * some + r] = layer.ds[(from + r) * layer.step + j];
        if (job.labels != nullptr)
            for (Index r = 0; r < some; ++r) labels[r] = job.labels[row_of(s, from + r)];
        else {
            y = work.y + from * targets;
            for (Index r = 0; r < some; ++r) {
                const T *given = (const T *)job.targets + row_of(s, from + r) * targets;
                for (Index j = 0; j < targets; ++j)
                    y[j * some + r] = mean == nullptr ? given[j] : (given[j] - mean[j]) * factor[j];
            }
        }
        loss(columns, job.labels == nullptr ? nullptr : labels, y, values);
        for (Index r = 0; r < some; ++r) {
            const double weight = weight_of(s, from + r);
            work.values[from + r] = (double)values[r] * weight;
            const T share = divisor == 0.0 ? T(0) : T(weight / divisor);
            for (Index j = 0; j < n; ++j) layer.ds[(from + r) * layer.step + j] = columns[j * some + r] * share;
        }
    }

    // The gradient of the weights' rows from first to stop - 1, tile by tile.
    template <typename Use> void gradients(const Step &s, Index i, Index first, Index stop, const Use &use) {
        constexpr Index PANEL = Simd<T>::PANEL;
        const LayerWork<T> &layer = work.layers[i];
        Index step = i == 0 ? 0 : work.layers[i - 1].step;
        const T *x = i == 0 ? inputs(s, &step) : work.layers[i - 1].z;
        alignas(64) T sums[TILE_ROWS * PANEL] = {};
        for (Index j = 0; j < layer.n_out; j += PANEL) {
            if (j > 0 && layer.n_out - j <= Simd<T>::WIDTH) memset(sums, 0, sizeof sums);
            for (Index row = first; row < stop; row += TILE_ROWS) {
                const Index some = stop - row < TILE_ROWS ? stop - row : TILE_ROWS;
                panel_tile<T, false>(some, layer.n_out - j, s.rows, x + row, step, layer.ds + j, layer.step, sums, PANEL);
                use(j * layer.n_in + row * PANEL, some * PANEL, sums);
            }
        }
    }

    void bias_gradient(const Step &s, Index i, T *sums) const {
        const LayerWork<T> &layer = work.layers[i];
        const Index width = panels_of<T>(layer.n_out) * Simd<T>::PANEL;
        typedef typename Simd<T>::Vector Vector;
        for (Index j = 0; j < width; j += Simd<T>::PANEL) {  // four chains of sums, which need not wait for each other
            Vector some[4] = {};
            const bool both = layer.n_out - j > Simd<T>::WIDTH;
            const T *ds = layer.ds + j;
            for (Index r = 0; r < s.rows; r += 2, ds += 2 * layer.step) {
                const Vector *row = (const Vector *)ds, *next = (const Vector *)(ds + layer.step);
                const bool two = r + 1 < s.rows;
                some[0] += row[0];
                if (both) some[1] += row[1];
                if (two) some[2] += next[0];
                if (two && both) some[3] += next[1];
            }
            some[0] += some[2], some[1] += some[3];
            memcpy(sums + j, some, 2 * sizeof(Vector));
        }
    }

    // Some numbers of a parameter by their gradient; `penalty` is the factor of w in it.
    template <int RULE>
    static void update(const Step &s, const Packed<T> &p, Index at, Index count, T *RESTRICT g, T penalty, T decay, T average) {
        T *RESTRICT w = p.w + at, *RESTRICT v1 = p.v1 + at, *RESTRICT v2 = p.v2 + at;
        if (penalty != T(0))
            for (Index e = 0; e < count; ++e) g[e] += penalty * w[e];
        if (decay != T(1))
            for (Index e = 0; e < count; ++e) w[e] *= decay;
        T constants[CONSTANTS];
        for (int i = 0; i < CONSTANTS; ++i) constants[i] = s.told[i];
        if (RULE == ADAM)
            for (Index e = 0; e < count; ++e) {
                T a = v1[e], b = v2[e];
                w[e] = stepped<T>(RULE, w[e], g[e], a, b, constants);
                v1[e] = a, v2[e] = b;
            }
        else if (RULE == SGD)
            for (Index e = 0; e < count; ++e) {
                T a = 0, b = 0;
                w[e] = stepped<T>(RULE, w[e], g[e], a, b, constants);
            }
        else
            for (Index e = 0; e < count; ++e) {
                T a = v1[e], b = 0;
                w[e] = stepped<T>(RULE, w[e], g[e], a, b, constants);
                v1[e] = a;
            }
        if (p.average != nullptr) {
            T *mean = p.average + at;
            for (Index e = 0; e < count; ++e) mean[e] += average * (w[e] - mean[e]);
        }
    }

    void update(const Step &s, const Packed<T> &p, Index at, Index count, T *g, T penalty, T decay) const {
        const T average = s.told[AVERAGE];
        switch (job.rule) {
            case MOMENTUM: return update<MOMENTUM>(s, p, at, count, g, penalty, decay, average);
            case NESTEROV: return update<NESTEROV>(s, p, at, count, g, penalty, decay, average);
            case ADAM: return update<ADAM>(s, p, at, count, g, penalty, decay, average);
            case RMSPROP: return update<RMSPROP>(s, p, at, count, g, penalty, decay, average);
            default: return update<SGD>(s, p, at, count, g, penalty, decay, average);
        }
    }

    // Call use(layer, item, first row, past the last) for a thread's share of the items, by their cost.
    template <typename Use> void items(const Team &team, const Use &use) const {
        Index all = 0, before = 0, item = 0;
        for (Index i = 0; i < job.n_layers; ++i) all += (work.layers[i].n_in + 1) * work.layers[i].n_out;
        for (Index i = 0; i < job.n_layers; ++i) {
            const LayerWork<T> &layer = work.layers[i];
            for (Index q = 0; q < layer.items; ++q, ++item) {
                const Index first = q * layer.item_rows;
                const Index stop = first + layer.item_rows < layer.n_in ? first + layer.item_rows : layer.n_in;
                if (before * team.size / all == team.id) use(i, item, first, stop);
                before += (stop - first) * layer.n_out;
            }
        }
    }

    void weights(const Step &s, const Team &team) {
        const double alpha = s.constants[ALPHA];
        const double over = job.mean == 0 ? 1.0 : s.divisor;
        const T penalty = T(s.constants[L2] + (alpha == 0.0 || over == 0.0 ? 0.0 : alpha / over)), decay = s.told[SHRINK];
        if (!job.clips) {
            items(team, [&](Index i, Index item, Index first, Index stop) {
                if (alpha != 0.0) work.squares[item] = squares(i, first, stop);
                LayerWork<T> &layer = work.layers[i];
                gradients(s, i, first, stop, [&](Index at, Index count, T *g) {
                    update(s, layer.weights, at, count, g, penalty, decay);
                });
                if (first == 0) {
                    T *sums = bias_sums(i);
                    bias_gradient(s, i, sums);
                    update(s, layer.bias, 0, panels_of<T>(layer.n_out) * Simd<T>::PANEL, sums, T(0), T(1));
                }
                if (i > 0) transpose(layer.weights.w, layer.n_in, layer.n_out, first, stop, layer.transposed);
            });
            return;
        }
        items(team, [&](Index i, Index item, Index first, Index stop) {
            if (alpha != 0.0) work.squares[item] = squares(i, first, stop);
            LayerWork<T> &layer = work.layers[i];
            Norm norm;
            gradients(s, i, first, stop, [&](Index at, Index count, T *g) {
                memcpy(layer.gradient + at, g, (size_t)count * sizeof(T));
                norm.add(g, count);
            });
            if (first == 0) {
                bias_gradient(s, i, layer.bias_gradient);
                norm.add(layer.bias_gradient, panels_of<T>(layer.n_out) * Simd<T>::PANEL);
            }
            work.sums[item] = norm.sum, work.largest[item] = norm.largest;
        });
        team.barrier();
        const T factor = clip_factor(s);
        items(team, [&](Index i, Index, Index first, Index stop) {
            LayerWork<T> &layer = work.layers[i];
            const Index some = (stop - first) * Simd<T>::PANEL;
            for (Index j = 0; j < layer.n_out; j += Simd<T>::PANEL) {
                const Index at = j * layer.n_in + first * Simd<T>::PANEL;
                T *g = layer.gradient + at;
                for (Index e = 0; e < some; ++e) g[e] *= factor;
                update(s, layer.weights, at, some, g, penalty, decay);
            }
            if (first == 0) {
                const Index width = panels_of<T>(layer.n_out) * Simd<T>::PANEL;
                for (Index e = 0; e < width; ++e) layer.bias_gradient[e] *= factor;
                update(s, layer.bias, 0, width, layer.bias_gradient, T(0), T(1));
            }
            if (i > 0) transpose(layer.weights.w, layer.n_in, layer.n_out, first, stop, layer.transposed);
        });
    }

    // Room for the sums of a bias: the row of dL/ds past the last one that is used.
    T *bias_sums(Index i) { return work.layers[i].ds + job.batch * work.layers[i].step; }

    double squares(Index i, Index first, Index stop) const {
        constexpr Index PANEL = Simd<T>::PANEL;
        const LayerWork<T> &layer = work.layers[i];
        double sum = 0;
        for (Index j = 0; j < layer.n_out; j += PANEL) {
            const T *w = layer.weights.w + j * layer.n_in + first * PANEL;
            sum += summed((stop - first) * PANEL, [&](Index e) { return (double)w[e] * (double)w[e]; });
        }
        return sum;
    }

    // Many numbers added up, some beside each other; there are whole panels of them.
    static constexpr Index LANES = Simd<T>::PANEL < 8 ? Simd<T>::PANEL : 8;
    template <typename Of> static double summed(Index count, const Of &of) {
        double lanes[LANES] = {}, sum = 0;
        for (Index e = 0; e < count; e += LANES)
            for (Index k = 0; k < LANES; ++k) lanes[k] += of(e + k);
        for (Index k = 0; k < LANES; ++k) sum += lanes[k];
        return sum;
    }

    // The Euclidean norm of many numbers, without overflow: the largest, and the sum of squares of
    // quotients by it, or of floats as they are, in double.
    struct Norm {
        double sum = 0, largest = 0;

        void add(const T *g, Index count) {
            T lanes[LANES] = {}, most = T(0);
            for (Index e = 0; e < count; e += LANES)
                for (Index k = 0; k < LANES; ++k) {
                    const T a = fabs(g[e + k]);
                    lanes[k] = a > lanes[k] || a != a ? a : lanes[k];
                }
            for (Index k = 0; k < LANES; ++k) most = lanes[k] > most || lanes[k] != lanes[k] ? lanes[k] : most;
            join(0.0, (double)most);
            if (largest == 0) return;
            sum += summed(count, [&](Index e) {
                const double q = (double)g[e] / largest;
                return q * q;
            });
        }

        void join(double more, double most) {  // `more` is of quotients by `most`
            if (most > largest || most != most) {
                const double shrink = largest / most;
                sum = sum * shrink * shrink + more;
                largest = most;
            } else if (most > 0) sum += more * (most / largest) * (most / largest);
        }
    };

    T clip_factor(const Step &s) const {
        Norm norm;
        for (Index item = 0; item < work.items; ++item) norm.join(work.sums[item], work.largest[item]);
        const double least = (double)Limits<T>::least, largest = norm.largest < least ? least : norm.largest;
        const double factor = s.constants[CLIP] / largest / sqrt(norm.sum);
        return T(factor < 1.0 || factor != factor ? factor : 1.0);
    }

    // A thread's part of a step.
    void step(Index m, Index number, const Team &team) {
        const Step s = step(m, number);
        // Whole tiles, but for the last thread's.
        const Index tiles = (s.rows + TILE_ROWS - 1) / TILE_ROWS;
        const Index first = tiles * team.id / team.size * TILE_ROWS;
        const Index stop = team.id + 1 == team.size ? s.rows : tiles * (team.id + 1) / team.size * TILE_ROWS;
        for (Index r = first; r < stop; r += ROWS_TOGETHER) rows(s, r, r + ROWS_TOGETHER < stop ? r + ROWS_TOGETHER : stop);
        team.barrier();
        if (team.id == 0) {
            double loss = 0;
            for (Index r = 0; r < s.rows; ++r) loss += work.values[r];
            job.loss_sum[m] += (double)(T)loss;  // infinite where the array code's is
            job.weight_sum[m] += s.divisor;
        }
        weights(s, team);
        team.barrier();
        if (team.id == 0 && s.constants[ALPHA] != 0.0) {
            double sum = 0;
            for (Index item = 0; item < work.items; ++item) sum += work.squares[item];
            // Rounded before it is added, and not fused with that: a sum is the same in any parts.
            const volatile T penalty = T(s.constants[ALPHA] / 2 * sum);
            job.penalty_sum[m] += (double)penalty;
        }
    }
};

// Each thread trains members by itself.
template <typename T> void train_apart(const Job &job, Index ticket) {
    Member<T> member(job, job.scratch + ticket * job.scratch_bytes, nullptr);
    const Team alone = {job.control, 1, 0};
    for (Index m; (m = fetch_add(&job.control->next, 1)) < job.members;) {
        member.bring(m, false);
        for (Index number = job.from; number < job.to; ++number) member.step(m, number, alone);
        member.bring(m, true);
    }
}

// All threads share each step of one member after the other. The first to come leads: it says how
// many share the steps of the next chunk, of those that have come by then, and whether more than one
// do at all: on a busy machine they would wait for each other. That is tried again now and then.
constexpr Index CHUNK = 8, PERIOD = 64, TRIES = 2;
constexpr int32_t MOST_THREADS = 256;

template <typename T> void train_together(const Job &job, Index ticket) {
    Control &c = *job.control;
    Member<T> member(job, job.scratch, nullptr);
    if (ticket > 0) {
        for (int32_t seen = 0;;) {
            wait_while(&c.chunk, seen);
            seen = load(&c.chunk);
            if (load(&c.stop)) return;
            // Number and threads are read at once: who is none of these threads touches nothing, and
            // without one that is, the chunk does not end. Past its last barrier the next may begin.
            const Team team = {&c, seen % MOST_THREADS, ticket};
            if (ticket >= team.size) continue;
            const Index m = c.member, from = c.from, to = c.to;
            for (Index number = from; number < to; ++number) member.step(m, number, team);
        }
    }
    int32_t chunk = 0;
    for (Index m = 0; m < job.members; ++m) {
        member.bring(m, false);
        for (Index from = job.from; from < job.to; from += CHUNK) {
            const Index to = from + CHUNK < job.to ? from + CHUNK : job.to;
            const Index come = load(&c.tickets) < job.threads ? load(&c.tickets) : job.threads;
            const bool trying = c.chunks % PERIOD < TRIES;
            const bool several = (c.seconds[1] <= c.seconds[0]) != trying && come > 1;
            const Team team = {&c, several ? come : 1, 0};
            const double started = now();
            if (several) {
                c.member = (int32_t)m, c.from = (int32_t)from, c.to = (int32_t)to;
                store(&c.chunk, ++chunk * MOST_THREADS + (int32_t)come);
            }
            for (Index number = from; number < to; ++number) member.step(m, number, team);
            double took = (now() - started) / (double)(to - from), other = c.seconds[!several];
            if (other > 0 && took > 3 * other) took = 3 * other;  // an interruption counts only so much
            double &mean = c.seconds[several];
            mean = mean == 0 ? took : mean + (took - mean) / 4;
            if (come > 1) ++c.chunks;
        }
        member.bring(m, true);
    }
    store(&c.stop, 1);
    store(&c.chunk, ++chunk * MOST_THREADS);
}

// The logits of all rows, by blocks of them that threads take in turn.
template <typename T> void forward(const Job &job, Index ticket) {
    Member<T> member(job, job.scratch + ticket * job.scratch_bytes, nullptr);
    const Index parts = job.members >= job.threads ? 1 : job.threads;
    Index here = -1;
    for (Index unit; (unit = fetch_add(&job.control->next, 1)) < job.members * parts;) {
        const Index m = unit / parts, part = unit % parts;
        if (m != here) member.bring(m, false);
        here = m;
        const Index stop = job.rows * (part + 1) / parts;
        for (Index r = job.rows * part / parts; r < stop; r += job.batch) {
            const Index some = stop - r < job.batch ? stop - r : job.batch;
            const T *x = (const T *)job.x + r * job.x_step;
            Index step = job.x_step;
            for (Index i = 0; i < job.n_layers; ++i) {
                LayerWork<T> &layer = member.work.layers[i];
                const bool last = i + 1 == job.n_layers;
                T *out = last ? layer.ds : layer.z;
                multiply(some, layer.n_out, layer.n_in, x, step, layer.weights.w, out, layer.step);
                if (!last) member.activate(out, layer.slope, some, layer);
                else {
                    member.add_bias(out, some, layer);
                    T *outputs = (T *)job.outputs + (m * job.rows + r) * layer.n_out;
                    for (Index q = 0; q < some; ++q)
                        memcpy(outputs + q * layer.n_out, out + q * layer.step, (size_t)layer.n_out * sizeof(T));
                }
                x = out, step = layer.step;
            }
        }
    }
}

template <typename T> int64_t run(Job &job) {
    if (job.command == COUNT_BYTES) {
        size_t bytes;
        Member<T> counted(job, nullptr, &bytes);
        return (int64_t)bytes;
    }
    const Index ticket = fetch_add(&job.control->tickets, 1);
    if (ticket >= job.threads) return -1;
    if (job.command == FORWARD) forward<T>(job, ticket);
    else if (job.together) train_together<T>(job, ticket);
    else train_apart<T>(job, ticket);
    return ticket;
}

}

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

extern "C" int64_t PASTE(arraymlp_run_, ISA)(void *job) {
    Job &given = *(Job *)job;
    return given.bytes == 4 ? run<float>(given) : run<double>(given);
}
