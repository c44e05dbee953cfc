// How threads share a step: a barrier that spins for a moment and then lets others have the core.

#pragma once
#include "job.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#define NOGDI  // which has macros like ours
#include <windows.h>
#else
#include <sched.h>
#include <time.h>
#endif

namespace {

#if defined(__GNUC__)
inline int32_t load(const int32_t *a) { return __atomic_load_n(a, __ATOMIC_ACQUIRE); }
inline void store(int32_t *a, int32_t value) { __atomic_store_n(a, value, __ATOMIC_RELEASE); }
inline int32_t fetch_add(int32_t *a, int32_t value) { return __atomic_fetch_add(a, value, __ATOMIC_ACQ_REL); }
#else
inline int32_t load(const int32_t *a) { return InterlockedOr((volatile LONG *)a, 0); }
inline void store(int32_t *a, int32_t value) { InterlockedExchange((volatile LONG *)a, value); }
inline int32_t fetch_add(int32_t *a, int32_t value) { return InterlockedExchangeAdd((volatile LONG *)a, value); }
#endif

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#elif defined(_WIN32)
    YieldProcessor();
#endif
}

inline void yield_core(int times) {
#if defined(_WIN32)
    Sleep(times < 100 ? 0 : 1);
#else
    if (times < 100) sched_yield();
    else {
        const timespec moment = {0, 50000};
        nanosleep(&moment, nullptr);
    }
#endif
}

// Wait until a number is another one: some microseconds at full speed, then politely.
inline void wait_while(const int32_t *a, int32_t value) {
    for (int i = 0; i < 4000; ++i) {
        if (load(a) != value) return;
        relax();
    }
    for (int times = 0; load(a) == value; ++times) yield_core(times);
}

inline double now() {
#if defined(_WIN32)
    LARGE_INTEGER count, rate;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&rate);
    return (double)count.QuadPart / (double)rate.QuadPart;
#else
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#endif
}

struct Team {
    Control *control;
    Index size, id;

    void barrier() const {
        if (size == 1) return;
        const int32_t generation = load(&control->generation);
        if (fetch_add(&control->arrived, 1) == size - 1) {
            store(&control->arrived, 0);
            store(&control->generation, generation + 1);
        } else wait_while(&control->generation, generation);
    }
};

}
