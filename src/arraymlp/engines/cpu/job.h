// What Python asks of the engine: one struct, which native.py fills. All sizes were checked there.
//
// Every field is 8 bytes wide, so that both sides agree about where it stands. Arrays are in C order;
// T is float or double, as `bytes` says. K members, G plans, L layers; B rows of a minibatch.

#pragma once
#include <stdint.h>

typedef int64_t Index;

struct LayerJob {
    void *weights, *bias;                      // (K, n_in, n_out), (K, n_out)
    void *weights_1, *weights_2;               // the optimiser's state, of these shapes, or null
    void *bias_1, *bias_2;
    void *average_weights, *average_bias;      // moving averages, or null
    Index n_in, n_out, activation, dropped;    // dropped: whether its inputs are masked
};

struct PlanJob {                               // the rows of one or more members
    const int32_t *order;                      // (n,) their numbers; null for those as they stand
    Index first, n;                            // the first step's first position; past the last row
    const void *x_mean, *x_factor;             // (n_0,) x becomes (x - mean) * factor; or null
    const void *y_mean, *y_factor;             // (n_y,) likewise
};

struct Job {
    Index command;                             // a Command
    Index bytes;                               // of a T: 4 or 8
    Index n_layers, members, n_plans;
    LayerJob *layers;                          // (L,)
    PlanJob *plans;                            // (G,)
    const Index *plan_of;                      // (K,) each member's plan

    const void *x;                             // (N, n_0) of T
    Index x_step;                              // T's between its rows
    const int32_t *labels;                     // (N,), or null
    const void *targets;                       // (N, n_y) of T, or null
    Index n_targets;                           // n_y
    const void *weight;                        // (N, weights_of) of T, or null
    Index weights_of;                          // 1, or K for one a member

    Index batch, steps, from, to;              // B; steps of the table; those that are to be done
    Index loss, capped, mean, rule, clips;     // LossKind; switches; Rule
    const double *loss_constants;              // (loss_members, loss_width)
    Index loss_members, loss_width;

    Index constants_of;                        // 1, or K: members of the tables
    const double *constants;                   // (steps, constants_of, CONSTANTS)
    const int32_t *keys;                       // (steps, constants_of, L) of dropout, or null
    const int32_t *thresholds;                 // (constants_of, L)
    const double *drop_scales;                 // (constants_of, L)

    double *loss_sum, *weight_sum, *penalty_sum;  // (K,) added to

    void *outputs;                             // FORWARD: (K, N, n_L) of T
    Index rows;                                // FORWARD: N

    Index threads, together;                   // that call; whether they share one member's work
    char *scratch;                             // threads (or, together, one) times scratch_bytes
    Index scratch_bytes;
    struct Control *control;
};

enum Command { COUNT_BYTES, TRAIN, FORWARD };
enum LossKind { SOFTMAX, BINARY, SQUARED, ABSOLUTE, POISSON, HUBER, QUANTILE };

// Where the threads of a call meet. Python sets all but the last line to 0 before each call.
struct Control {
    int32_t tickets, pad_1[15];                // threads that have come
    int32_t next, pad_2[15];                   // the next member, or block of rows
    int32_t chunk, pad_3[15];                  // of steps: its number times 256, and its threads
    int32_t member, from, to, pad_4[13];       // its own; they stand until its threads have met
    int32_t arrived, pad_5[15];                // at the barrier
    int32_t generation, stop, pad_6[14];       // of the barrier; whether helpers may leave
    double seconds[2];                         // of a step by one thread and by several: means
    Index chunks;                              // so far
};
