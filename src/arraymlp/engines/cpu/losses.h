// The losses of some rows, and dL/ds in the place of their logits. Their formulas stand in losses.py;
// they are the same to rounding, and as safe with huge logits.
//
// A row has few columns, often one. So the numbers come column by column, and the loops that become
// SIMD code go over the rows.

#pragma once
#include "products.h"

namespace {

template <typename T> FUNCTION T sign(T a) { return a > T(0) ? T(1) : a < T(0) ? T(-1) : a; }  // NaN of NaN

template <typename T> FUNCTION T capped(T value) {
    const T eps = Limits<T>::epsilon;
    return at_most(at_least(value, -log1p(-eps)), -log(eps));
}

template <typename T> struct BlockLoss {
    Index kind, n, n_targets, rows;
    bool caps;
    T smoothing;
    const double *constants;  // of the member
    T limit;                  // a sum of 4 n numbers within it is finite

    // Of logits s (n, rows), which become dL/ds, with labels (rows,), or where they are null, targets y
    // (n_targets, rows). `value` (rows,) becomes each row's loss.
    void operator()(T *RESTRICT s, const int32_t *label, const T *RESTRICT y, T *RESTRICT value) const {
        if (kind == SOFTMAX) return softmax(s, label, y, value);
        for (Index r = 0; r < rows; ++r) value[r] = T(0);
        for (Index j = 0; j < n; ++j) {
            T *of = s + j * rows;
            switch (kind) {
                case BINARY: binary(of, y + j * rows, value); break;
                case SQUARED: squared(of, y + j * rows, value); break;
                case ABSOLUTE: absolute(of, y + j * rows, value); break;
                case POISSON: poisson(of, y + j * rows, value); break;
                case HUBER: huber(of, y + j * rows, value); break;
                default: quantile(j, of, y + j / (n / n_targets) * rows, value);
            }
        }
        if (kind == SQUARED)
            for (Index r = 0; r < rows; ++r) value[r] /= 2;
    }

    T smoothed(T y, T uniform) const { return y * (T(1) - smoothing) + smoothing * uniform; }

    void softmax(T *RESTRICT s, const int32_t *label, const T *RESTRICT y, T *RESTRICT value) const {
        T most[ROWS_TOGETHER], total[ROWS_TOGETHER];
        const T rest = smoothing / T(n), uniform = T(1) / T(n);
        for (Index e = 0; e < n * rows; ++e) s[e] = within(s[e], Limits<T>::largest / 4);
        for (Index r = 0; r < rows; ++r) most[r] = s[r], total[r] = value[r] = T(0);
        for (Index j = 1; j < n; ++j)
            for (Index r = 0; r < rows; ++r) most[r] = s[j * rows + r] > most[r] ? s[j * rows + r] : most[r];
        for (Index j = 0; j < n; ++j)
            for (Index r = 0; r < rows; ++r) s[j * rows + r] -= most[r];
        if (label != nullptr)  // value: the cross-entropy but for the logarithm of the total
            for (Index r = 0; r < rows; ++r) value[r] = -(T(1) - smoothing) * s[label[r] * rows + r];
        if (label == nullptr || smoothing != T(0))
            for (Index j = 0; j < n; ++j)
                for (Index r = 0; r < rows; ++r)
                    value[r] -= (label != nullptr ? rest : smoothed(y[j * rows + r], uniform)) * s[j * rows + r];
        for (Index j = 0; j < n; ++j)
            for (Index r = 0; r < rows; ++r) total[r] += s[j * rows + r] = exp(s[j * rows + r]);
        for (Index r = 0; r < rows; ++r) value[r] += log(total[r]);
        if (caps)
            for (Index r = 0; r < rows; ++r) value[r] = capped(value[r]);
        for (Index j = 0; j < n; ++j)
            for (Index r = 0; r < rows; ++r) s[j * rows + r] /= total[r];
        if (label == nullptr || smoothing != T(0))
            for (Index j = 0; j < n; ++j)
                for (Index r = 0; r < rows; ++r)
                    s[j * rows + r] -= label != nullptr ? rest : smoothed(y[j * rows + r], uniform);
        if (label != nullptr)
            for (Index r = 0; r < rows; ++r) s[label[r] * rows + r] -= T(1) - smoothing;
    }

    // The others are sums over columns; these are of one.

    void binary(T *RESTRICT s, const T *RESTRICT y, T *RESTRICT value) const {
        for (Index r = 0; r < rows; ++r) {
            const T b = within(s[r], limit), target = smoothed(y[r], T(0.5));
            const T of_column = at_least(b, T(0)) - target * b + log1p(exp(-fabs(b)));
            value[r] += caps ? capped(of_column) : of_column;
            s[r] = sigmoid(s[r]) - target;
        }
    }

    void squared(T *RESTRICT s, const T *RESTRICT y, T *RESTRICT value) const {
        for (Index r = 0; r < rows; ++r) {
            s[r] -= y[r];
            value[r] += s[r] * s[r];
        }
    }

    void absolute(T *RESTRICT s, const T *RESTRICT y, T *RESTRICT value) const {
        for (Index r = 0; r < rows; ++r) {
            const T e = within(s[r], limit) - y[r];
            value[r] += fabs(e);
            s[r] = sign(e);
        }
    }

    void poisson(T *RESTRICT s, const T *RESTRICT y, T *RESTRICT value) const {
        const T log_limit = log(limit);
        for (Index r = 0; r < rows; ++r) {
            const T rate = exp(at_most(s[r], log_limit));
            const T log_y = log(at_least(y[r], Limits<T>::least));  // 0 log 0 = 0
            const T log_rate = at_most(at_least(s[r], -limit / at_least(y[r], T(1))), log_limit);
            value[r] += y[r] * (log_y - log_rate) - y[r] + rate;
            s[r] = rate - y[r];
        }
    }

    void huber(T *RESTRICT s, const T *RESTRICT y, T *RESTRICT value) const {
        const T threshold = T(constants[0]);
        for (Index r = 0; r < rows; ++r) {
            const T e = within(s[r], limit) - y[r], d = within(e, threshold);
            value[r] += d * (e - d / 2);
            s[r] = d;
        }
    }

    void quantile(Index j, T *RESTRICT s, const T *RESTRICT y, T *RESTRICT value) const {
        const T level = T(constants[j % (n / n_targets)]);
        for (Index r = 0; r < rows; ++r) {
            const T e = within(s[r], limit) - y[r], d = (T(1) + sign(e)) / 2 - level;
            value[r] += e * d;
            s[r] = d;
        }
    }
};

}
