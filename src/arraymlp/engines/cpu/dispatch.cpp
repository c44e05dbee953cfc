// What Python calls of the library: engine.cpp is in it once for each instruction set, and here the
// one is found that this processor has.
//
// The processor is asked itself (CPUID, Intel's manual volume 2A), not by __builtin_cpu_supports:
// MSVC lacks it, it needs a part of the compiler's library, and with zig's it always answers no.

#include <stdint.h>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define X86_64
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#include <xmmintrin.h>
#endif
#endif

enum Isa { BASELINE, AVX2, AVX512 };  // library.py has their names in this order

extern "C" {
int64_t arraymlp_run_baseline(void *job);
#if defined(X86_64)
int64_t arraymlp_run_avx2(void *job);
int64_t arraymlp_run_avx512(void *job);
#endif
}

#if defined(X86_64)
namespace {

struct Registers {
    uint32_t a, b, c, d;
};

// What the processor says of a leaf, subleaf 0; zeros where it has no such leaf.
Registers cpuid(uint32_t leaf) {
#if defined(_MSC_VER)
    int last[4], words[4];
    __cpuid(last, 0);
    if (leaf > (uint32_t)last[0]) return {0, 0, 0, 0};
    __cpuidex(words, (int)leaf, 0);
    return {(uint32_t)words[0], (uint32_t)words[1], (uint32_t)words[2], (uint32_t)words[3]};
#else
    Registers r = {0, 0, 0, 0};
    __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
    return r;
#endif
}

// XCR0: which registers the operating system saves when it changes threads.
uint64_t saved_registers() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
#endif
}

bool all(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }

}

EXPORT int arraymlp_isa(void) {
    constexpr uint32_t FMA = 1u << 12, OSXSAVE = 1u << 27, AVX = 1u << 28;             // leaf 1, ECX
    constexpr uint32_t LEAF_7_AVX2 = 1u << 5;                                          // leaf 7, EBX
    constexpr uint32_t F = 1u << 16, DQ = 1u << 17, BW = 1u << 30, VL = 1u << 31;      // leaf 7, EBX
    constexpr uint64_t XMM_YMM = 0x6, ZMM_MASKS = 0xe0;                                // XCR0
    if (!all(cpuid(1).c, FMA | OSXSAVE | AVX) || !all(saved_registers(), XMM_YMM)) return BASELINE;
    const uint32_t leaf_7 = cpuid(7).b;
    if (!all(leaf_7, LEAF_7_AVX2)) return BASELINE;
    return all(leaf_7, F | DQ | BW | VL) && all(saved_registers(), ZMM_MASKS) ? AVX512 : AVX2;
}
#else
EXPORT int arraymlp_isa(void) { return BASELINE; }  // NEON is part of arm64
#endif

namespace {

// While it lives, this thread's results below the least normal number are 0. Units that are nearly
// shut off have such deltas by the thousand, and many processors take 100 cycles for each: a network
// of saturated sigmoids trained 15 times slower. What is read, the caller's own numbers, is as it is.
class FlushedToZero {
  public:
#if defined(X86_64)
    FlushedToZero() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8000u); }
    ~FlushedToZero() { _mm_setcsr(before); }

  private:
    const unsigned before;
#elif defined(__aarch64__)
    FlushedToZero() {
        __asm__ __volatile__("mrs %0, fpcr" : "=r"(before));
        __asm__ __volatile__("msr fpcr, %0" : : "r"(before | (uint64_t(1) << 24)));
    }
    ~FlushedToZero() { __asm__ __volatile__("msr fpcr, %0" : : "r"(before)); }

  private:
    uint64_t before;
#else
    FlushedToZero() {}
#endif
};

}

// The job's own result, by the engine of an instruction set; -1 where the library lacks that one.
EXPORT int64_t arraymlp_run(int isa, void *job) {
    const FlushedToZero flushed;
    switch (isa) {
    case BASELINE: return arraymlp_run_baseline(job);
#if defined(X86_64)
    case AVX2: return arraymlp_run_avx2(job);
    case AVX512: return arraymlp_run_avx512(job);
#endif
    default: return -1;
    }
}

// The layout of a job and its meaning: to be raised with either, here and in library.py.
EXPORT int64_t arraymlp_abi(void) { return 1; }
