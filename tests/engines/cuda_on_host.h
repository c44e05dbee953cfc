// CUDA C++ on the host, for tests: force-included (g++ -include) before a file of kernels, so that the
// file compiles unchanged and its kernels run on the CPU. cuda_on_host.py compiles and launches.
//
// A block's threads are coroutines on one host thread; blocks run one after the other. A thread runs until
// it waits or returns; then the first runnable thread in the order of the launch goes on. Bugs that would
// be undefined or hang on a GPU end the launch with a message: see fail() and its callers.
//
// What the file may use, and the limits:
// - Kernels are `extern "C" __global__ void name(...)` at file scope.
// - `__shared__ T x[...]` in a function or at file scope, and `extern __shared__ T x[];` of any name and
//   type outside namespaces. All such names are one buffer, as in CUDA; a kernel uses one of them.
//   `__shared__` is thread_local: all coroutines of a launch share one host thread, and the loader says
//   where the thread-local segment of a library lies, so all shared variables can be refilled: with the
//   bytes 0xFF (NaN; -1 as an int) before every block. The file may have no thread_local of its own.
// - No waiting by spinning on memory (grid barriers, locks): nobody else runs meanwhile, so it hangs.
// - A thread's locals have a stack of 64 KiB.
// - Accesses out of bounds of global memory are the host's: undefined. Some misaligned ones pass unseen.
// - a*b + c is not contracted, rsqrtf and others are exact: rounding may differ from a GPU's.
#pragma once
#pragma GCC system_header  // warnings are for the kernels

#include <algorithm>
#include <csetjmp>
#include <cmath>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <link.h>
#include <sys/mman.h>
#include <ucontext.h>

// ---- The language ----------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ thread_local

#define CUDA_ON_HOST_VECTORS(T, NAME)                                                                  \
    struct alignas(2 * sizeof(T)) NAME##2 { T x, y; };                                                 \
    struct NAME##3 { T x, y, z; };                                                                     \
    struct alignas(sizeof(T) > 4 ? 16 : 4 * sizeof(T)) NAME##4 { T x, y, z, w; };                      \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                         \
    inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                                 \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_ON_HOST_VECTORS(float, float)
CUDA_ON_HOST_VECTORS(double, double)
CUDA_ON_HOST_VECTORS(int, int)
CUDA_ON_HOST_VECTORS(unsigned, uint)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// ---- The scheduler ---------------------------------------------------------------------------------

extern "C" {  // cuda_on_host.py makes every `extern __shared__` name an alias of it
inline constexpr size_t cuda_on_host_most_dynamic = 227 * 1024;  // bytes a block may have, sm_90
alignas(16) thread_local unsigned char cuda_on_host_dynamic[cuda_on_host_most_dynamic];
}

namespace cuda_on_host {

constexpr int most_threads = 1024, most_warps = most_threads / 32;
constexpr size_t stack_bytes = 128 * 1024, guard_bytes = 64 * 1024;  // 64 KiB: the largest page size

struct Thread {
    uint3 index;
    const char* call;  // what it waits at, and its line; null while it can run, or has returned
    int line;
    int source;      // the lane that a shuffle reads, -1 for none
    uint64_t value;  // what it brought to the call, then what the call gives it
    int rank;        // its place in the order of running
};

struct Warp {
    unsigned alive;  // lanes that have not returned
    int groups;
    struct Group { unsigned mask, arrived; } group[32];  // lanes that wait under one mask
};

static Thread threads[most_threads];
static Warp warps[most_warps];
static int count, alive, at_block_barrier;  // threads of the block
static int current;                         // the thread that runs

static int thread_of[most_threads];               // by rank
static uint32_t ready[most_warps], ready_words;   // ranks that can run, a bit each; words that are not 0
static int64_t order;                             // -2 forward, -1 backward, else the seed of a shuffle
static std::minstd_rand random_bits;

static std::function<void()> body;                // the kernel with its arguments
static jmp_buf scheduler, contexts[most_threads];
static bool made[most_threads];                   // the coroutine exists, between two threads' runs
static unsigned char* stacks;
static char message[600];                         // why the launch failed; empty while it has not

// From one stack to another. swapcontext would make a system call each time. `noipa`: the compiler must
// not reason about what happens meanwhile.
__attribute__((noipa)) inline void change(jmp_buf& from, jmp_buf& to)
{
    if (_setjmp(from) == 0) _longjmp(to, 1);
}

inline void set_ready(int thread)
{
    const int rank = threads[thread].rank;
    ready[rank / 32] |= 1u << rank % 32;
    ready_words |= 1u << rank / 32;
}

inline void add(const char* format, ...)
{
    const size_t used = strlen(message);
    va_list values;
    va_start(values, format);
    vsnprintf(message + used, sizeof message - used, format, values);
    va_end(values);
}

// Ends the launch, for one reason; the scheduler sees it once the running thread is left.
template <class... Values>
inline void fail(const char* format, Values... values)
{
    if (message[0]) return;
    add("block (%u, %u, %u): ", blockIdx.x, blockIdx.y, blockIdx.z);
    add(format, values...);
}

template <class T> inline void shuffle(T* items, size_t n)  // the same on every standard library
{
    for (size_t i = n; i > 1; --i) std::swap(items[i - 1], items[random_bits() % i]);
}

inline void draw_ranks()
{
    std::iota(thread_of, thread_of + count, 0);
    if (order == -1) std::reverse(thread_of, thread_of + count);
    if (order >= 0) shuffle(thread_of, count);
    for (int rank = 0; rank < count; ++rank) threads[thread_of[rank]].rank = rank;
}

inline void release_block()
{
    const Thread* first[most_warps] = {};
    const char* call = nullptr;
    uint64_t votes = 0;
    for (int t = 0; t < count; ++t) {
        const Thread& thread = threads[t];
        if (!thread.call) continue;
        const Thread*& mate = first[t / 32];
        if (!mate) mate = &thread;
        if (!call) call = thread.call;
        if (strcmp(call, thread.call) != 0)
            return fail("%s and %s meet at one barrier", call, thread.call);
        if (mate->line != thread.line)  // `bar.sync` is one instruction for a whole warp
            return fail("warp %d is divided over %s at lines %d and %d", t / 32, call, mate->line,
                        thread.line);
        votes += thread.value != 0;
    }
    if (order >= 0) draw_ranks();  // nobody is ready now
    for (int t = 0; t < count; ++t) {
        if (!threads[t].call) continue;
        threads[t].call = nullptr;
        threads[t].value = votes << 32 | at_block_barrier;
        set_ready(t);
    }
    at_block_barrier = 0;
}

inline void release_group(int warp, int g)
{
    const auto [mask, arrived] = warps[warp].group[g];
    warps[warp].group[g] = warps[warp].group[--warps[warp].groups];
    Thread* const lanes = threads + 32 * warp;
    const char* call = nullptr;
    uint64_t values[32] = {};
    for (int lane = 0; lane < 32; ++lane) {
        if (!(arrived >> lane & 1)) continue;
        const Thread& thread = lanes[lane];
        if (!call) call = thread.call;
        if (strcmp(call, thread.call) != 0)
            return fail("warp %d is divided over %s and %s", warp, call, thread.call);
        if (thread.source < 0) continue;
        if (!(arrived >> thread.source & 1))
            return fail("%s at line %d: lane %d of warp %d reads lane %d, which %s", call, thread.line,
                        lane, warp, thread.source,
                        mask >> thread.source & 1 ? "has returned or never was" : "the mask leaves out");
        values[lane] = lanes[thread.source].value;
    }
    for (int lane = 0; lane < 32; ++lane) {
        if (!(arrived >> lane & 1)) continue;
        lanes[lane].call = nullptr;
        lanes[lane].value = values[lane];
        set_ready(32 * warp + lane);
    }
}

inline void leave(const char* call, int line, uint64_t value, int source)
{
    Thread& thread = threads[current];
    thread.call = call;
    thread.line = line;
    thread.value = value;
    thread.source = source;
}

inline uint64_t wait_for_block(const char* call, int line, uint64_t vote)
{
    leave(call, line, vote, -1);
    if (++at_block_barrier == alive) release_block();
    const int self = current;
    change(contexts[self], scheduler);
    return threads[self].value;
}

inline uint64_t wait_for_warp(const char* call, int line, unsigned mask, uint64_t value, int source)
{
    const int self = current;
    Warp& warp = warps[self / 32];
    leave(call, line, value, source);
    if (!(mask >> self % 32 & 1))
        fail("%s at line %d: thread %d is not in its own mask %#x", call, line, self, mask);
    if (!message[0]) {
        int g = 0;
        while (g < warp.groups && warp.group[g].mask != mask) ++g;
        if (g == warp.groups) warp.group[warp.groups++] = {mask, 0};
        warp.group[g].arrived |= 1u << self % 32;
        if (!(mask & warp.alive & ~warp.group[g].arrived)) release_group(self / 32, g);
    }
    change(contexts[self], scheduler);
    return threads[self].value;
}

inline void finish()  // who has returned keeps nobody waiting
{
    Warp& warp = warps[current / 32];
    warp.alive &= ~(1u << current % 32);
    --alive;
    for (int g = warp.groups - 1; g >= 0; --g)
        if (!(warp.group[g].mask & warp.alive & ~warp.group[g].arrived)) release_group(current / 32, g);
    if (alive > 0 && at_block_barrier == alive) release_block();
}

inline void coroutine()  // one thread of every block
{
    for (;;) {
        body();
        finish();
        change(contexts[current], scheduler);
    }
}

__attribute__((noipa)) inline void resume(int thread)
{
    threadIdx = threads[thread].index;
    current = thread;
    if (made[thread]) return change(scheduler, contexts[thread]);
    made[thread] = true;
    unsigned char* const stack = stacks + thread * stack_bytes;
    mprotect(stack, guard_bytes, PROT_NONE);  // a stack that overflows ends the process
    static ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = stack;
    start.uc_stack.ss_size = stack_bytes;
    start.uc_link = nullptr;
    makecontext(&start, coroutine, 0);
    if (_setjmp(scheduler) == 0) setcontext(&start);
}

inline void report_deadlock()
{
    fail("deadlock:");
    for (int t = 0; t < count; ++t) {
        const auto same = [t](int u) {
            return threads[u].call && threads[u].line == threads[t].line &&
                   strcmp(threads[u].call, threads[t].call) == 0;
        };
        if (!threads[t].call) continue;
        int earlier = 0, all = 0;
        for (int u = 0; u < count; ++u) {
            earlier += u < t && same(u);
            all += same(u);
        }
        if (!earlier)
            add(" %d thread(s) from thread %d on wait at %s, line %d;", all, t, threads[t].call,
                threads[t].line);
    }
    add(" %d have returned", count - alive);
}

inline void run_block()
{
    count = alive = blockDim.x * blockDim.y * blockDim.z;
    at_block_barrier = 0;
    memset(warps, 0, sizeof warps);
    memset(ready, 0, sizeof ready);
    ready_words = 0;
    draw_ranks();
    for (int t = 0; t < count; ++t) {
        const unsigned x = t % blockDim.x, y = t / blockDim.x % blockDim.y;
        threads[t].index = {x, y, t / (blockDim.x * blockDim.y)};
        threads[t].call = nullptr;
        warps[t / 32].alive |= 1u << t % 32;
        set_ready(t);
    }
    while (alive > 0 && !message[0]) {
        if (!ready_words) return report_deadlock();
        const int word = __builtin_ctz(ready_words), bit = __builtin_ctz(ready[word]);
        ready[word] &= ready[word] - 1;
        if (!ready[word]) ready_words &= ready_words - 1;
        resume(thread_of[32 * word + bit]);
    }
}

struct Segment { unsigned char *begin, *end; };  // of all shared variables, static and dynamic

inline Segment shared_segment()
{
    memset(cuda_on_host_dynamic, 0xFF, cuda_on_host_most_dynamic);  // the loader allots on first use
    Segment segment = {};
    const auto look = [](dl_phdr_info* library, size_t, void* found) {
        auto* begin = static_cast<unsigned char*>(library->dlpi_tls_data);
        for (int i = 0; begin && i < library->dlpi_phnum; ++i) {
            if (library->dlpi_phdr[i].p_type != PT_TLS) continue;
            unsigned char* end = begin + library->dlpi_phdr[i].p_memsz;
            if (begin <= cuda_on_host_dynamic && cuda_on_host_dynamic < end)
                *static_cast<Segment*>(found) = {begin, end};
        }
        return 0;
    };
    dl_iterate_phdr(look, &segment);
    return segment;
}

inline void check_unused(size_t dynamic)  // the buffer behind what the launch asked for
{
    const unsigned char* const bytes = cuda_on_host_dynamic;
    const size_t rest = cuda_on_host_most_dynamic - dynamic;
    if (rest == 0 || (bytes[dynamic] == 0xFF && !memcmp(bytes + dynamic, bytes + dynamic + 1, rest - 1)))
        return;
    size_t i = dynamic;
    while (bytes[i] == 0xFF) ++i;
    fail("byte %zu of dynamic shared memory is written, and the launch gives %zu", i, dynamic);
}

inline const char* run_grid(const int* grid, const int* block, size_t dynamic, int64_t how)
{
    message[0] = 0;
    gridDim = {unsigned(grid[0]), unsigned(grid[1]), unsigned(grid[2])};
    blockDim = {unsigned(block[0]), unsigned(block[1]), unsigned(block[2])};
    order = how;
    random_bits.seed(how + 3);
    if (!stacks) {
        void* got = mmap(nullptr, most_threads * stack_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) return "no memory for the stacks";
        stacks = static_cast<unsigned char*>(got);
    }
    const Segment shared = shared_segment();
    if (!shared.begin) return "the loader does not tell where shared memory lies";
    unsigned char* const unused = cuda_on_host_dynamic + dynamic;
    unsigned char* const statics = cuda_on_host_dynamic + cuda_on_host_most_dynamic;

    std::vector<size_t> blocks(size_t(gridDim.x) * gridDim.y * gridDim.z);
    std::iota(blocks.begin(), blocks.end(), size_t(0));
    if (order == -1) std::reverse(blocks.begin(), blocks.end());
    if (order >= 0) shuffle(blocks.data(), blocks.size());
    for (const size_t b : blocks) {
        blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y),
                    unsigned(b / gridDim.x / gridDim.y)};
        memset(shared.begin, 0xFF, unused - shared.begin);
        memset(statics, 0xFF, shared.end - statics);
        run_block();
        check_unused(dynamic);
        if (!message[0]) continue;
        memset(made, 0, sizeof made);  // threads were left inside the kernel: new coroutines next time
        return message;
    }
    return nullptr;
}

// ---- cuda_on_host.py writes CUDA_ON_HOST_LAUNCHER(name) for every kernel, CUDA_ON_HOST_DYNAMIC(name) for
// every `extern __shared__` name ----------------------------------------------------------------------

template <class... Types, size_t... I>
inline const char* launch(void (*kernel)(Types...), void** arguments, std::index_sequence<I...>,
                          const int* grid, const int* block, size_t dynamic, int64_t how)
{
    body = [=] { kernel(*static_cast<Types*>(arguments[I])...); };
    return run_grid(grid, block, dynamic, how);
}

template <class... Types>
inline const char* launch(void (*kernel)(Types...), void** arguments, const int* grid, const int* block,
                          size_t dynamic, int64_t how)
{
    return launch(kernel, arguments, std::index_sequence_for<Types...>{}, grid, block, dynamic, how);
}

template <class T> constexpr char kind()  // as NumPy's dtype.kind; P and p: pointers to const and not
{
    if (std::is_pointer_v<T>) return std::is_const_v<std::remove_pointer_t<T>> ? 'P' : 'p';
    if (std::is_same_v<T, bool>) return 'b';
    if (std::is_floating_point_v<T>) return 'f';
    if (std::is_class_v<T>) return 'V';
    return std::is_unsigned_v<T> ? 'u' : 'i';
}

template <class... Types> inline const char* parameters(void (*)(Types...))
{
    static std::string words;  // such as "P8 i4 V48"
    if (words.empty()) ((words += kind<Types>() + std::to_string(sizeof(Types)) + " "), ...);
    return words.c_str();
}

// ---- Barriers and shuffles: `line` is where the kernel calls --------------------------------------

template <class T>
inline T exchange(const char* call, int line, unsigned mask, T value, int source)
{
    static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8);
    uint64_t word = 0;
    memcpy(&word, &value, sizeof value);
    word = wait_for_warp(call, line, mask, word, source);
    memcpy(&value, &word, sizeof value);
    return value;
}

struct Lanes { int self, first, end; };  // the part of the warp that a shuffle of a width is within

inline Lanes lanes_of(const char* call, int line, int width)
{
    if (width < 1 || width > 32 || (width & (width - 1)))
        fail("%s at line %d: width %d is not a power of 2 up to 32", call, line, width);
    const int self = current % 32, first = self & ~(width - 1);
    return {self, first, first + width};
}

}  // namespace cuda_on_host

#define CUDA_ON_HOST_EXPORT extern "C" __attribute__((visibility("default")))
#define CUDA_ON_HOST_LAUNCHER(NAME)                                                                    \
    CUDA_ON_HOST_EXPORT const char* parameters_##NAME() { return cuda_on_host::parameters(NAME); }     \
    CUDA_ON_HOST_EXPORT const char* launch_##NAME(void** arguments, const int* grid, const int* block, \
                                                  size_t dynamic, int64_t order)                       \
    {                                                                                                  \
        return cuda_on_host::launch(NAME, arguments, grid, block, dynamic, order);                     \
    }
#define CUDA_ON_HOST_DYNAMIC(NAME) \
    asm(".globl " #NAME "\n.hidden " #NAME "\n.set " #NAME ", cuda_on_host_dynamic");

inline void __syncthreads(int line = __builtin_LINE())
{
    cuda_on_host::wait_for_block("__syncthreads", line, 0);
}
inline int __syncthreads_count(int predicate, int line = __builtin_LINE())
{
    return cuda_on_host::wait_for_block("__syncthreads_count", line, predicate != 0) >> 32;
}
inline int __syncthreads_or(int predicate, int line = __builtin_LINE())
{
    return cuda_on_host::wait_for_block("__syncthreads_or", line, predicate != 0) >> 32 != 0;
}
inline int __syncthreads_and(int predicate, int line = __builtin_LINE())
{
    const uint64_t got = cuda_on_host::wait_for_block("__syncthreads_and", line, predicate != 0);
    return got >> 32 == uint32_t(got);
}
inline void __syncwarp(unsigned mask = 0xffffffff, int line = __builtin_LINE())
{
    cuda_on_host::wait_for_warp("__syncwarp", line, mask, 0, -1);
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, int line = __builtin_LINE())
{
    const auto at = cuda_on_host::lanes_of("__shfl_sync", line, width);
    const int source = at.first + (lane & (width - 1));
    return cuda_on_host::exchange("__shfl_sync", line, mask, value, source);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                        int line = __builtin_LINE())
{
    const auto at = cuda_on_host::lanes_of("__shfl_up_sync", line, width);
    const int source = at.self - int(delta % 32);
    return cuda_on_host::exchange("__shfl_up_sync", line, mask, value,
                                  source < at.first ? at.self : source);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                          int line = __builtin_LINE())
{
    const auto at = cuda_on_host::lanes_of("__shfl_down_sync", line, width);
    const int source = at.self + int(delta % 32);
    return cuda_on_host::exchange("__shfl_down_sync", line, mask, value,
                                  source >= at.end ? at.self : source);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, int line = __builtin_LINE())
{
    const auto at = cuda_on_host::lanes_of("__shfl_xor_sync", line, width);
    const int source = at.self ^ (flip & 31);
    return cuda_on_host::exchange("__shfl_xor_sync", line, mask, value,
                                  source >= at.end ? at.self : source);
}

// ---- Functions (fmaf, expf, ... are the C library's) ------------------------------------------------

namespace cuda_on_host {
template <class To, class From> inline To bits(From value)
{
    static_assert(sizeof(To) == sizeof(From));
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}
}  // namespace cuda_on_host

inline int __float_as_int(float x) { return cuda_on_host::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_on_host::bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_on_host::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_on_host::bits<float>(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float rsqrtf(float x) { return float(1.0 / sqrt(double(x))); }
inline unsigned __umulhi(unsigned x, unsigned y) { return uint64_t(x) * y >> 32; }
template <class T> inline T __ldg(const T* address) { return *address; }

#define CUDA_ON_HOST_INTEGER(T)                                                                        \
    inline T min(T x, T y) { return y < x ? y : x; }                                                   \
    inline T max(T x, T y) { return x < y ? y : x; }
CUDA_ON_HOST_INTEGER(int)
CUDA_ON_HOST_INTEGER(unsigned)
CUDA_ON_HOST_INTEGER(long)
CUDA_ON_HOST_INTEGER(unsigned long)
CUDA_ON_HOST_INTEGER(long long)
CUDA_ON_HOST_INTEGER(unsigned long long)
inline float min(float x, float y) { return fminf(x, y); }  // of a number and NaN the number, as CUDA's
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }

template <class T> inline T atomicAdd(T* address, std::common_type_t<T> value)
{
    const T old = *address;
    *address = old + value;
    return old;
}
