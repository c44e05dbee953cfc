// The mathematics of a layer, number by number: what the CUDA kernels and the CPU engine share.
//
// The names stand for the functions in activations.py, losses.py, optimizers.py and dropout.py, and
// compute the same to rounding; the numbers that stand for them are those of numbers.py.
//
// Nothing is included, since NVRTC, which compiles this on the user's machine, has no headers. Who
// includes this has said what FUNCTION is, and has exp, expm1, log1p, tanh, sqrt and fabs of float and
// double: cuda/warp.cuh, and cpu/vector_math.h for loops of SIMD instructions. For these no function
// here has a branch, once `kind` or `rule` is a constant: both sides of a ?: are computed.
//
// A comparison with NaN is false, and each is written so that NaN comes out where NaN went in.

#ifndef ARRAYMLP_FUNCTIONS_H
#define ARRAYMLP_FUNCTIONS_H

enum ActivationKind { IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU };
enum Rule { SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP };

// The constants of an update, one row a member, in the order of numbers.py's KernelConstants.
enum Constant { RATE, DECAY_1, GAIN_1, DECAY_2, GAIN_2, EPSILON, SHRINK, L2, ALPHA, SMOOTHING, CONSTANTS };

template <typename T> struct Limits;
template <> struct Limits<float> {
    static constexpr float largest = 3.402823466e38f, least = 1.17549435e-38f, epsilon = 1.1920929e-7f;
    static constexpr float least_exponent = -87.72283905f;
};
template <> struct Limits<double> {
    static constexpr double largest = 1.7976931348623157e308, least = 2.2250738585072014e-308;
    static constexpr double epsilon = 2.220446049250313e-16, least_exponent = -708.782712893384;
};

namespace {

template <typename T> FUNCTION T at_least(T a, T bound) { return a < bound ? bound : a; }
template <typename T> FUNCTION T at_most(T a, T bound) { return a > bound ? bound : a; }
template <typename T> FUNCTION T within(T a, T bound) { return at_least(at_most(a, bound), -bound); }

template <typename T> FUNCTION T sigmoid(T s) {
    return T(1) / (T(1) + exp(-at_least(s, Limits<T>::least_exponent)));
}

// The tanh in GELU's tanh form. Its argument may overflow: tanh is 1 long before.
template <typename T> FUNCTION T gelu_tanh(T s) {
    return tanh(T(0.7978845608028654) * (s + T(0.044715) * s * s * s));
}

// z = f(s).
template <typename T> FUNCTION T activated(int kind, T s) {
    switch (kind) {
        case SIGMOID: return sigmoid(s);
        case TANH: return tanh(s);
        case RELU: return s <= T(0) ? T(0) : s;
        case LEAKY_RELU: return s < T(0) ? T(0.01) * s : s;
        case ELU: return s > T(0) ? s : expm1(s);
        case SOFTPLUS: return at_least(s, T(0)) + log1p(exp(-fabs(s)));
        case GELU: return s * (T(0.5) * (T(1) + gelu_tanh(s)));
        case SILU: return at_least(s, Limits<T>::least_exponent) * sigmoid(s);
        default: return s;
    }
}

// f'(s), with z = f(s).
template <typename T> FUNCTION T slope(int kind, T s, T z) {
    switch (kind) {
        case SIGMOID: return z * (T(1) - z);
        case TANH: return T(1) - z * z;
        case RELU: return s > T(0) ? T(1) : T(0);
        case LEAKY_RELU: return s > T(0) ? T(1) : T(0.01);
        case ELU: return T(1) + at_most(z, T(0));
        case SOFTPLUS: {  // the sigmoid, by the power that f has
            const T e = exp(-fabs(s));
            return (s < T(0) ? e : T(1)) / (T(1) + e);
        }
        case GELU: {
            const T b = within(s, T(30)), t = gelu_tanh(s);
            const T inner = T(0.7978845608028654) * (T(1) + T(0.134145) * b * b);
            return T(0.5) * (T(1) + t) + T(0.5) * b * (T(1) - t * t) * inner;
        }
        case SILU: {
            const T g = sigmoid(s);
            return g + z * (T(1) - g);
        }
        default: return T(1);
    }
}

// A 32-bit hash in which every bit depends on every bit (Wellons's lowbias32), as in dropout.py.
FUNCTION unsigned mixed(unsigned x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    return x;
}

// Whether dropout keeps the unit that `count` stands for: row * units + unit.
FUNCTION bool kept(unsigned count, int key, int threshold) {
    return int(mixed(mixed(count) ^ unsigned(key))) >= threshold;
}

// One parameter's step of an optimiser, by its gradient g; v1 and v2 are its state.
template <typename T>
FUNCTION T stepped(int rule, T w, T g, T &v1, T &v2, const T *constants) {
    const T rate = constants[RATE];
    switch (rule) {
        case MOMENTUM:
            v1 = constants[DECAY_1] * v1 - rate * g;
            return w + v1;
        case NESTEROV:
            v1 = constants[DECAY_1] * v1 - rate * g;
            return w + constants[DECAY_1] * v1 - rate * g;
        case ADAM:
            v1 = constants[DECAY_1] * v1 + constants[GAIN_1] * g;
            v2 = constants[DECAY_2] * v2 + constants[GAIN_2] * (g * g);
            return w - rate * (v1 / (sqrt(v2) + constants[EPSILON]));
        case RMSPROP:
            v1 = constants[DECAY_1] * v1 + constants[GAIN_1] * (g * g);
            return w - rate * g / (sqrt(v1) + constants[EPSILON]);
        default:
            return w - rate * g;
    }
}

}

#endif
