// The losses, row by row: a row's loss, and dL/ds in the place of its logits. Their formulas stand in
// losses.py; they are the same to rounding, and as safe with huge logits.

#pragma once
#include "job.h"

namespace {

template <typename T> T sign(T a) { return a > T(0) ? T(1) : a < T(0) ? T(-1) : a; }  // NaN of NaN

template <typename T> T capped(T value) {
    const T eps = Limits<T>::epsilon;
    return at_most(at_least(value, -log1p(-eps)), -log(eps));
}

template <typename T> struct RowLoss {
    Index kind, n, n_targets;
    bool caps;
    T smoothing;
    const double *constants;  // of the member
    T limit;                  // a sum of 4 n numbers within it is finite

    // Of logits s (n,), which become dL/ds, with a label, or where it is -1, targets y (n_targets,).
    T operator()(T *s, int32_t label, const T *y) const {
        switch (kind) {
            case SOFTMAX: return softmax(s, label, y);
            case BINARY: return binary(s, y);
            case SQUARED: return squared(s, y);
            case ABSOLUTE: return absolute(s, y);
            case POISSON: return poisson(s, y);
            case HUBER: return huber(s, y);
            default: return quantile(s, y);
        }
    }

    T smoothed(T y, T uniform) const { return y * (T(1) - smoothing) + smoothing * uniform; }

    T softmax(T *s, int32_t label, const T *y) const {
        T most = within(s[0], Limits<T>::largest / 4);
        for (Index j = 0; j < n; ++j) {
            s[j] = within(s[j], Limits<T>::largest / 4);
            most = s[j] > most ? s[j] : most;
        }
        T total = 0, picked = 0;
        const T rest = smoothing / T(n);
        if (label >= 0 && smoothing == T(0)) picked = s[label] - most;
        else
            for (Index j = 0; j < n; ++j) {
                const T target = label < 0 ? smoothed(y[j], T(1) / T(n)) : (j == label ? T(1) - smoothing : T(0)) + rest;
                picked += target * (s[j] - most);
            }
        for (Index j = 0; j < n; ++j) s[j] = exp(s[j] - most);
        for (Index j = 0; j < n; ++j) total += s[j];
        const T value = log(total) - picked;
        for (Index j = 0; j < n; ++j) s[j] /= total;
        if (label >= 0) {
            if (smoothing != T(0))
                for (Index j = 0; j < n; ++j) s[j] -= rest;
            s[label] -= T(1) - smoothing;
        } else
            for (Index j = 0; j < n; ++j) s[j] -= smoothed(y[j], T(1) / T(n));
        return caps ? capped(value) : value;
    }

    T binary(T *s, const T *y) const {
        T value = 0;
        for (Index j = 0; j < n; ++j) {
            const T b = within(s[j], limit), target = smoothed(y[j], T(0.5));
            const T of_column = at_least(b, T(0)) - target * b + log1p(exp(-fabs(b)));
            value += caps ? capped(of_column) : of_column;
            s[j] = sigmoid(s[j]) - target;
        }
        return value;
    }

    T squared(T *s, const T *y) const {
        T value = 0;
        for (Index j = 0; j < n; ++j) {
            s[j] -= y[j];
            value += s[j] * s[j];
        }
        return value / 2;
    }

    T absolute(T *s, const T *y) const {
        T value = 0;
        for (Index j = 0; j < n; ++j) {
            const T e = within(s[j], limit) - y[j];
            value += fabs(e);
            s[j] = sign(e);
        }
        return value;
    }

    T poisson(T *s, const T *y) const {
        T value = 0;
        const T log_limit = log(limit);
        for (Index j = 0; j < n; ++j) {
            const T rate = exp(at_most(s[j], log_limit));
            const T log_y = log(at_least(y[j], Limits<T>::least));  // 0 log 0 = 0
            const T log_rate = at_most(at_least(s[j], -limit / at_least(y[j], T(1))), log_limit);
            value += y[j] * (log_y - log_rate) - y[j] + rate;
            s[j] = rate - y[j];
        }
        return value;
    }

    T huber(T *s, const T *y) const {
        T value = 0;
        const T threshold = T(constants[0]);
        for (Index j = 0; j < n; ++j) {
            const T e = within(s[j], limit) - y[j], d = within(e, threshold);
            value += d * (e - d / 2);
            s[j] = d;
        }
        return value;
    }

    T quantile(T *s, const T *y) const {
        T value = 0;
        const Index levels = n / n_targets;
        for (Index j = 0; j < n; ++j) {
            const T e = within(s[j], limit) - y[j / levels];
            const T d = (T(1) + sign(e)) / 2 - T(constants[j % levels]);
            value += e * d;
            s[j] = d;
        }
        return value;
    }
};

}
