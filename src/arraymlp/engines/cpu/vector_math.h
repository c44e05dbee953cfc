// exp, expm1, log, log1p, tanh, sqrt and fabs of float and double, for loops that become SIMD code.
//
// The C library's are calls, which no compiler turns into vectors without a library of its own or
// -ffast-math. These have no branches, calls or tables: GCC and Clang vectorise a plain loop over them
// at -O3 -fno-math-errno -fno-trapping-math, for whatever instruction set they compile for.
//
// Within 2 units in the last place (tanh: 3), which tests/engines/test_vector_math.py measures.
// Infinities, NaN and signed zeros are as in the C library, but results of exp that are less than the
// least normal number are 0, and no exception flag means anything. -ffp-contract=fast is welcome
// (where it matters, what rounding has lost is recovered from sums alone); -ffast-math is not.
//
// A comparison with NaN is false, and each is written so that NaN comes out where NaN went in.

#ifndef ARRAYMLP_VECTOR_MATH_H
#define ARRAYMLP_VECTOR_MATH_H

#include <stdint.h>
#include <string.h>

// What functions.h puts before its functions. They are inlined whatever their size: a call would keep
// a loop scalar. Not linked: the library has one of each for every instruction set.
#if defined(__GNUC__)
#define FUNCTION static inline __attribute__((always_inline))
#else  // Microsoft's compiler, which has not been tried
#include <math.h>
#define FUNCTION static __forceinline
#endif

namespace {
namespace vector_math {

template <typename T> struct Format;  // IEEE 754's: how a number's bits are laid out, and its bounds
template <> struct Format<float> {
    using Bits = uint32_t;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float largest = 3.402823466e38f, least = 1.17549435e-38f;
    static constexpr float log_largest = 88.7228317f, log_least = -87.3365402f;  // rounded towards 0
    static constexpr float expm1_least = -20.0f;    // where e^x - 1 has long been -1
    static constexpr float tanh_most = 10.0f;       // where tanh x has long been 1
    static constexpr Bits root_half = 0x3F3504F3u;  // of sqrt(1/2)
    // ln 2 in two parts: the first times an exponent is exact (fdlibm's).
    static constexpr float ln2_high = 6.9314575195e-01f, ln2_low = 1.4286067653e-06f;
};
template <> struct Format<double> {
    using Bits = uint64_t;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double largest = 1.7976931348623157e308, least = 2.2250738585072014e-308;
    static constexpr double log_largest = 709.78271289338397, log_least = -708.39641853226408;
    static constexpr double expm1_least = -40.0;
    static constexpr double tanh_most = 22.0;
    static constexpr Bits root_half = 0x3FE6A09E667F3BCDu;
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
};

template <typename T> using BitsOf = typename Format<T>::Bits;

template <typename T> FUNCTION BitsOf<T> bits_of(T x) {
    BitsOf<T> bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

template <typename T> FUNCTION T from_bits(BitsOf<T> bits) {
    T x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

template <typename T> constexpr BitsOf<T> sign_bit = BitsOf<T>(1) << (8 * sizeof(T) - 1);
template <typename T> constexpr BitsOf<T> mantissa_bits = (BitsOf<T>(1) << Format<T>::mantissa) - 1;
template <typename T> constexpr BitsOf<T> bits_of_one = BitsOf<T>(Format<T>::bias) << Format<T>::mantissa;
template <typename T> constexpr BitsOf<T> bits_of_infinity = ~mantissa_bits<T> & ~sign_bit<T>;
template <typename T> constexpr BitsOf<T> bits_of_nan = ~(mantissa_bits<T> >> 1) & ~sign_bit<T>;

template <typename T> FUNCTION T fabs(T x) { return from_bits<T>(bits_of(x) & ~sign_bit<T>); }

// r with the sign of x as well: for an odd function, whose r is at least 0 where x is.
template <typename T> FUNCTION T signed_as(T x, T r) { return from_bits<T>(bits_of(r) | (bits_of(x) & sign_bit<T>)); }

#if defined(__GNUC__)
FUNCTION float sqrt(float x) { return __builtin_sqrtf(x); }  // one instruction, correctly rounded
FUNCTION double sqrt(double x) { return __builtin_sqrt(x); }
#else
FUNCTION float sqrt(float x) { return ::sqrtf(x); }
FUNCTION double sqrt(double x) { return ::sqrt(x); }
#endif

// c0 + c1 x + c2 x^2 + ..., with x2 = x^2: Horner's rule over pairs, which has half as many steps that wait.
template <typename T> FUNCTION T polynomial(T, T, T c0) { return c0; }
template <typename T> FUNCTION T polynomial(T x, T, T c0, T c1) { return c0 + x * c1; }
template <typename T, typename... Ts> FUNCTION T polynomial(T x, T x2, T c0, T c1, Ts... more) {
    return (c0 + x * c1) + x2 * polynomial(x, x2, more...);
}

// (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2: interpolated at Chebyshev's points; off by 2^-32 and 2^-61 of e^r.
FUNCTION float exp_tail(float r) {
    return polynomial(r, r * r, 0.5f, 0.16666667f, 0.041666463f, 0.0083333105f, 0.0013933668f, 0.00019891011f);
}
FUNCTION double exp_tail(double r) {
    return polynomial(r, r * r, 0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326124,
                      0.001388888888888374, 0.0001984126987486234, 2.480158732557753e-05, 2.755725534730565e-06,
                      2.7557273605333396e-07, 2.5105239017360528e-08, 2.0914702687466127e-09);
}

// (log((1 + s) / (1 - s)) - 2s) / s with z = s^2, for 1/sqrt(2) <= (1 + s) / (1 - s) <= sqrt(2): fdlibm's minimax.
FUNCTION float log_tail(float z) {
    return z * polynomial(z, z * z, 0.66666662693f, 0.40000972152f, 0.28498786688f, 0.24279078841f);
}
FUNCTION double log_tail(double z) {
    return z * polynomial(z, z * z, 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                          2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                          1.479819860511658591e-01);
}

// x = n ln 2 + r + rest, with an integer n, |r| <= ln(2) / 2, and a rest below r's last bit (Cody and Waite 1980).
template <typename T> struct Reduced {
    BitsOf<T> exponent;  // n + bias, where the format has the exponent
    T r, rest;
};

template <typename T> FUNCTION Reduced<T> reduced(T x, int bias) {
    using F = Format<T>;
    const T shift = T(BitsOf<T>(3) << (F::mantissa - 1)) + T(bias);  // 1.5 * 2^mantissa + bias
    const T shifted = x * T(1.4426950408889634) + shift;             // the sum is an integer
    const T n = shifted - shift;
    const T high = x - n * F::ln2_high;  // exact
    const T r = high - n * F::ln2_low;
    return {bits_of(shifted) << F::mantissa, r, (high - r) - n * F::ln2_low};
}

template <typename T> FUNCTION T exp(T x) {
    using F = Format<T>;
    const Reduced<T> a = reduced(x, 0);
    const T power = T(1) + (a.r + a.r * a.r * exp_tail(a.r));
    T result = from_bits<T>(bits_of(power) + a.exponent);  // 2^n times it, if neither over- nor underflows
    result = x < F::log_least ? T(0) : result;
    return x <= F::log_largest ? result : x * F::largest;  // infinite, or NaN of NaN
}

// (e^x - 1) / 2 = 2^m (r + tail) + (2^m - 1/2) with m = n - 1 and r + tail = e^r - 1, for x from expm1_least
// to log_largest.
template <typename T> FUNCTION T half_expm1(const Reduced<T> &a, T tail) {
    const T power = from_bits<T>(a.exponent);
    return power * (a.r + tail) + (power - T(0.5));
}

template <typename T> FUNCTION T expm1(T x) {
    using F = Format<T>;
    const Reduced<T> a = reduced(x, F::bias - 1);
    T result = signed_as(x, T(2) * half_expm1(a, a.r * a.r * exp_tail(a.r) + a.rest));
    result = x < F::expm1_least ? T(-1) : result;
    return x <= F::log_largest ? result : x * F::largest;  // infinite, or NaN of NaN
}

// tanh |x| = (e^2|x| - 1) / (e^2|x| + 1); without the rest, which would make it slower and hardly better.
template <typename T> FUNCTION T tanh(T x) {
    using F = Format<T>;
    const T positive = fabs(x);
    const Reduced<T> a = reduced(T(2) * positive, F::bias - 1);
    const T h = half_expm1(a, a.r * a.r * exp_tail(a.r));
    const T result = signed_as(x, h / (h + T(1))), limit = signed_as(x, T(1));
    return positive > F::tanh_most ? limit : result;
}

// log u - exponent ln 2 + rest, of a normal u > 0 and a tiny rest, by fdlibm's method.
template <typename T> FUNCTION T log_sum(T u, T exponent, T rest) {
    using F = Format<T>;
    // u = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2)
    const BitsOf<T> raised = bits_of(u) + (bits_of_one<T> - F::root_half);
    const T base = from_bits<T>(BitsOf<T>(F::bias + F::mantissa) << F::mantissa);  // whose last bits are units
    const T k = from_bits<T>(bits_of(base) | (raised >> F::mantissa)) - (base + T(F::bias)) - exponent;
    const T f = from_bits<T>((raised & mantissa_bits<T>) + F::root_half) - T(1);
    const T s = f / (T(2) + f), half = T(0.5) * f * f;
    return k * F::ln2_high - ((half - (s * (half + log_tail(s * s)) + (k * F::ln2_low + rest))) - f);
}

template <typename T> FUNCTION T log(T x) {
    using F = Format<T>;
    const bool subnormal = x < F::least;
    const T to_normal = T(BitsOf<T>(1) << F::mantissa);
    T result = log_sum(subnormal ? x * to_normal : x, subnormal ? T(F::mantissa) : T(0), T(0));
    result = x <= F::largest ? result : x;
    result = x == T(0) ? from_bits<T>(bits_of_infinity<T> | sign_bit<T>) : result;
    return x < T(0) ? from_bits<T>(bits_of_nan<T>) : result;
}

template <typename T> FUNCTION T log1p(T x) {
    using F = Format<T>;
    const T u = T(1) + x;
    const T rounded = u - T(1), lost = (T(1) - (u - rounded)) + (x - rounded);  // 1 + x = u + lost (Knuth)
    T result = signed_as(x, log_sum(u, T(0), lost / u));
    result = x <= F::largest ? result : x;
    result = x == T(-1) ? from_bits<T>(bits_of_infinity<T> | sign_bit<T>) : result;
    return x < T(-1) ? from_bits<T>(bits_of_nan<T>) : result;
}

}  // namespace vector_math

using vector_math::exp;
using vector_math::expm1;
using vector_math::fabs;
using vector_math::log;
using vector_math::log1p;
using vector_math::sqrt;
using vector_math::tanh;

}

#endif
