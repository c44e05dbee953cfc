// Plain loops over the functions of vector_math.h and functions.h, for test_vector_math.py: each is
// exported as NAME_float and NAME_double.

#include "cpu/vector_math.h"

#include "functions.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

#define OF_ONE(NAME, T, VALUE)                                                                          \
    EXPORT void NAME##_##T(const T *__restrict x, T *__restrict out, int n) {                           \
        for (int i = 0; i < n; ++i) out[i] = VALUE;                                                     \
    }
#define ONE(NAME) OF_ONE(NAME, float, NAME(x[i])) OF_ONE(NAME, double, NAME(x[i]))

ONE(exp)
ONE(expm1)
ONE(log)
ONE(log1p)
ONE(tanh)
ONE(sqrt)
ONE(fabs)
ONE(sigmoid)

// f(s) and f'(s) together, as the engine has them.
#define ACTIVATION_OF(KIND, T)                                                                          \
    EXPORT void KIND##_##T(const T *__restrict x, T *__restrict z, T *__restrict slopes, int n) {       \
        for (int i = 0; i < n; ++i) {                                                                   \
            const T s = x[i], f = activated(KIND, s);                                                   \
            z[i] = f;                                                                                   \
            slopes[i] = slope(KIND, s, f);                                                              \
        }                                                                                               \
    }
#define ACTIVATION(KIND) ACTIVATION_OF(KIND, float) ACTIVATION_OF(KIND, double)

ACTIVATION(IDENTITY)
ACTIVATION(SIGMOID)
ACTIVATION(TANH)
ACTIVATION(RELU)
ACTIVATION(LEAKY_RELU)
ACTIVATION(ELU)
ACTIVATION(SOFTPLUS)
ACTIVATION(GELU)
ACTIVATION(SILU)

#define UPDATE_OF(RULE, T)                                                                              \
    EXPORT void RULE##_##T(T *__restrict w, const T *__restrict g, T *__restrict v1, T *__restrict v2,  \
                           const T *__restrict constants, int n) {                                      \
        for (int i = 0; i < n; ++i) {                                                                   \
            T a = v1[i], b = v2[i];                                                                     \
            w[i] = stepped<T>(RULE, w[i], g[i], a, b, constants);                                       \
            v1[i] = a, v2[i] = b;                                                                       \
        }                                                                                               \
    }
#define UPDATE(RULE) UPDATE_OF(RULE, float) UPDATE_OF(RULE, double)

UPDATE(SGD)
UPDATE(MOMENTUM)
UPDATE(NESTEROV)
UPDATE(ADAM)
UPDATE(RMSPROP)

EXPORT void kept_units(int *__restrict out, int key, int threshold, int n) {
    for (int i = 0; i < n; ++i) out[i] = kept((unsigned)i, key, threshold);
}
