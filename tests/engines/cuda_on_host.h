// CUDA C++ on the host, for tests: force-included (g++ -include) before a file of kernels, so that the
// file compiles unchanged and its kernels run on the CPU. cuda_on_host.py compiles and launches.
//
// A block's threads are coroutines on one host thread. A thread runs until it waits or returns; then the
// first runnable thread of its block in the order of the launch goes on. Blocks run one after the other, or
// in groups: the clusters of a kernel, or the whole grid of a cooperative launch. In a group a block runs
// until none of its threads can; then the next one goes on. Bugs that would be undefined or hang on a GPU
// end the launch with a message: see fail() and its callers.
//
// What the file may use, and the limits:
// - Kernels are `extern "C" __global__ void name(...)` at file scope.
// - `__shared__ T x[...]` in a function or at file scope, and `extern __shared__ T x[];` of any name and
//   type outside namespaces. All such names are one buffer, as in CUDA; a kernel uses one of them.
//   `__shared__` is thread_local: all coroutines of a launch share one host thread, and the loader says
//   where the thread-local segment of a library lies, so all shared variables can be refilled: with the
//   bytes 0xFF (NaN; -1 as an int) before every block. The file may have no thread_local of its own.
//   A block of a group finds its own bytes in the segment while it runs; else they are put aside.
// - What CUDA has in PTX only stands in ptx.cuh; cuda_on_host_ptx.h has the same functions for the host.
//   Threads wait for memory by wait_for_count alone: another loop that spins hangs, as nobody else runs.
// - Global memory is the host's: what one thread wrote, all see at once. Fences and caches are not tested.
// - A thread's locals have a stack of 64 KiB.
// - Accesses out of bounds of global memory are the host's: undefined. Some misaligned ones pass unseen.
// - a*b + c is not contracted, rsqrtf and others are exact: rounding may differ from a GPU's.
#pragma once
#pragma GCC system_header  // warnings are for the kernels

#include <cmath>  // the C++ headers that are quick to read: <functional> or <random> would take longer than
#include <cstdarg>  // many a file of kernels
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
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
#define __cluster_dims__(...)
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
alignas(128) thread_local unsigned char cuda_on_host_dynamic[cuda_on_host_most_dynamic];
}

namespace cuda_on_host {

constexpr int most_threads = 1024, most_warps = most_threads / 32;
constexpr size_t stack_bytes = 128 * 1024, guard_bytes = 64 * 1024;  // 64 KiB: the largest page size
constexpr size_t most_kept = 16;  // blocks whose stacks stay for the next launch

struct Thread {
    uint3 index;
    const char* call;  // what it waits at, and its line; null while it can run, or has returned
    int line;
    int source;      // the lane that a shuffle reads, -1 for none
    uint64_t value;  // what it brought to the call, then what the call gives it
    int rank;        // its place in the order of running
    const unsigned* counter;  // what it waits for to reach a count, or null
    unsigned count;
    bool at_group;   // has arrived at the barrier of the group, and not left it
    unsigned phase;  // of that barrier when it arrived
    struct Copy { void* to; const void* from; size_t bytes; int group; };
    std::vector<Copy> copies;  // on their way
    int copy_groups;           // of them that are closed
};

struct Warp {
    unsigned alive;  // lanes that have not returned
    int groups;
    struct Group { unsigned mask, arrived; } group[32];  // lanes that wait under one mask
};

using Context = void*[5];  // where a coroutine goes on

struct Block {
    Block() = default;
    Block(const Block&) = delete;
    ~Block() { munmap(stacks, most_threads * stack_bytes); }

    uint3 index;
    int count, alive, at_barrier;                   // threads
    int waiting_for_counts;                         // threads, too
    Thread threads[most_threads];
    Warp warps[most_warps];
    int thread_of[most_threads];                    // by rank
    uint32_t ready[most_warps], ready_words;        // ranks that can run, a bit each; words that are not 0
    Context contexts[most_threads];
    bool made[most_threads];                        // the coroutine exists, between two threads' runs
    unsigned char* stacks;
    std::vector<std::max_align_t> aside;            // its shared memory while another block runs
};

static std::vector<Block*> group;                   // the blocks that run at once, by rank
static std::vector<Block*> blocks;                  // all that there are, with their stacks
static struct { int alive, arrived; unsigned phase; } of_group;  // threads, and barriers that are over
static Block* here;                                 // the block that runs
static int current;                                 // its thread that runs

static int64_t order;                               // -2 forward, -1 backward, else the seed of a shuffle
static uint64_t random_state;
static void** arguments;                            // the kernel's
static void (*body)();                              // the kernel, with its arguments
static Context scheduler;
static char message[600];                           // why the launch failed; empty while it has not

// From one stack to another. swapcontext would make a system call each time, and the C library's longjmp
// looks for what is to be cleaned up. `noipa`: the compiler must not reason about what happens meanwhile.
[[noreturn]] __attribute__((noipa)) inline void go_on(Context& at) { __builtin_longjmp(at, 1); }

__attribute__((noipa)) inline void change(Context& from, Context& to)
{
    if (__builtin_setjmp(from) == 0) go_on(to);
}

inline void set_ready(Block& block, int thread)
{
    const int rank = block.threads[thread].rank;
    block.ready[rank / 32] |= 1u << rank % 32;
    block.ready_words |= 1u << rank / 32;
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

inline uint64_t random_bits() { return random_state = random_state * 48271 % 2147483647; }  // minstd_rand

template <class T> inline void shuffle(T* items, size_t n)  // the same on every standard library
{
    for (size_t i = n; i > 1; --i) std::swap(items[i - 1], items[random_bits() % i]);
}

template <class T> inline void in_order(T* items, size_t n)  // from the first to the last to run
{
    for (size_t i = 0; i < n; ++i) items[i] = T(order == -1 ? n - 1 - i : i);
    if (order >= 0) shuffle(items, n);
}

inline void draw_ranks(Block& block)
{
    in_order(block.thread_of, block.count);
    for (int rank = 0; rank < block.count; ++rank) block.threads[block.thread_of[rank]].rank = rank;
}

inline void release_block()
{
    Block& block = *here;
    const Thread* first[most_warps] = {};
    const char* call = nullptr;
    uint64_t votes = 0;
    for (int t = 0; t < block.count; ++t) {
        const Thread& thread = block.threads[t];
        if (!thread.call) continue;
        const Thread*& mate = first[t / 32];
        if (!mate) mate = &thread;
        if (!call) call = thread.call;
        if (call != thread.call && strcmp(call, thread.call) != 0)
            return fail("%s and %s meet at one barrier", call, thread.call);
        if (mate->line != thread.line)  // `bar.sync` is one instruction for a whole warp
            return fail("warp %d is divided over %s at lines %d and %d", t / 32, call, mate->line,
                        thread.line);
        votes += thread.value != 0;
    }
    if (order >= 0) draw_ranks(block);  // nobody is ready now
    for (int t = 0; t < block.count; ++t) {
        if (!block.threads[t].call) continue;
        block.threads[t].call = nullptr;
        block.threads[t].value = votes << 32 | block.at_barrier;
        set_ready(block, t);
    }
    block.at_barrier = 0;
}

inline void release_group(int warp, int g)
{
    Warp& all = here->warps[warp];
    const auto [mask, arrived] = all.group[g];
    all.group[g] = all.group[--all.groups];
    Thread* const lanes = here->threads + 32 * warp;
    const char* call = nullptr;
    uint64_t values[32] = {};
    for (int lane = 0; lane < 32; ++lane) {
        if (!(arrived >> lane & 1)) continue;
        const Thread& thread = lanes[lane];
        if (!call) call = thread.call;
        if (call != thread.call && strcmp(call, thread.call) != 0)
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
        set_ready(*here, 32 * warp + lane);
    }
}

inline void leave(const char* call, int line, uint64_t value, int source)
{
    Thread& thread = here->threads[current];
    thread.call = call;
    thread.line = line;
    thread.value = value;
    thread.source = source;
}

inline int next_to_run(Block& block)  // -1 for none
{
    if (!block.ready_words || message[0]) return -1;
    const int word = __builtin_ctz(block.ready_words), bit = __builtin_ctz(block.ready[word]);
    block.ready[word] &= block.ready[word] - 1;
    if (!block.ready[word]) block.ready_words &= block.ready_words - 1;
    return block.thread_of[32 * word + bit];
}

inline void run_next(Context& from)  // at once, or by the scheduler where it is the thread's first run
{
    Block& block = *here;
    current = next_to_run(block);
    if (current < 0 || !block.made[current]) return change(from, scheduler);
    threadIdx = block.threads[current].index;
    change(from, block.contexts[current]);
}

inline uint64_t let_others_run()  // until this thread is ready
{
    Block& block = *here;
    const int self = current;
    run_next(block.contexts[self]);
    return block.threads[self].value;
}

inline uint64_t wait_for_block(const char* call, int line, uint64_t vote)
{
    leave(call, line, vote, -1);
    if (++here->at_barrier == here->alive) release_block();
    return let_others_run();
}

inline uint64_t wait_for_warp(const char* call, int line, unsigned mask, uint64_t value, int source)
{
    const int self = current;
    Warp& warp = here->warps[self / 32];
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
    return let_others_run();
}

inline void release_cluster()
{
    ++of_group.phase;
    of_group.arrived = 0;
    for (Block* block : group)
        for (int t = 0; t < block->count; ++t) {
            Thread& thread = block->threads[t];
            // The others have not come to wait, or wait for something else between arriving and waiting.
            if (!thread.at_group || !thread.call || strcmp(thread.call, "cluster_wait")) continue;
            thread.call = nullptr;
            set_ready(*block, t);
        }
}

inline void arrive_at_cluster(const char* call, int line)
{
    Thread& thread = here->threads[current];
    if (thread.at_group) return fail("%s at line %d: thread %d arrives twice", call, line, current);
    thread.at_group = true;
    thread.phase = of_group.phase;
    if (++of_group.arrived == of_group.alive) release_cluster();
}

inline void wait_for_cluster(const char* call, int line)
{
    Thread& thread = here->threads[current];
    if (!thread.at_group) fail("%s at line %d: thread %d has not arrived", call, line, current);
    if (thread.phase == of_group.phase || message[0]) {
        leave(call, line, 0, -1);
        let_others_run();
    }
    thread.at_group = false;
}

inline void wait_for_count(const char* call, int line, const unsigned* counter, unsigned count)
{
    Thread& thread = here->threads[current];
    if (int(*counter - count) >= 0) return;
    leave(call, line, 0, -1);
    thread.counter = counter;
    thread.count = count;
    ++here->waiting_for_counts;
    let_others_run();
}

inline void see_counts(Block& block)
{
    for (int t = 0; t < block.count && block.waiting_for_counts > 0; ++t) {
        Thread& thread = block.threads[t];
        if (!thread.counter || int(*thread.counter - thread.count) < 0) continue;
        thread.counter = nullptr;
        thread.call = nullptr;
        --block.waiting_for_counts;
        set_ready(block, t);
    }
}

inline void finish()  // who has returned keeps nobody waiting
{
    Block& block = *here;
    Thread& thread = block.threads[current];
    if (thread.at_group) fail("thread %d returns between arriving at a cluster and waiting", current);
    if (!thread.copies.empty()) fail("thread %d returns before its asynchronous copies", current);
    Warp& warp = block.warps[current / 32];
    warp.alive &= ~(1u << current % 32);
    --block.alive;
    --of_group.alive;
    for (int g = warp.groups - 1; g >= 0; --g)
        if (!(warp.group[g].mask & warp.alive & ~warp.group[g].arrived)) release_group(current / 32, g);
    if (block.alive > 0 && block.at_barrier == block.alive) release_block();
    if (of_group.alive > 0 && of_group.arrived == of_group.alive) release_cluster();
}

inline void coroutine()  // one thread of every block
{
    for (;;) {
        body();
        finish();
        run_next(here->contexts[current]);
    }
}

__attribute__((noipa)) inline void resume(int thread)  // until no thread can run, or one has its first run
{
    threadIdx = here->threads[thread].index;
    current = thread;
    if (here->made[thread]) return change(scheduler, here->contexts[thread]);
    unsigned char* const stack = here->stacks + thread * stack_bytes;
    here->made[thread] = true;
    if (here == blocks[0])  // a guarded stack is two of the 65530 memory areas that Linux gives a process
        mprotect(stack, guard_bytes, PROT_NONE);  // a stack that overflows ends the process
    static ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = stack;
    start.uc_stack.ss_size = stack_bytes;
    start.uc_link = nullptr;
    makecontext(&start, coroutine, 0);
    if (__builtin_setjmp(scheduler) == 0) setcontext(&start);
}

inline void report_deadlock()  // of the block here
{
    const Thread* const threads = here->threads;
    fail("deadlock:");
    for (int t = 0; t < here->count; ++t) {
        const auto same = [&](int u) {
            return threads[u].call && threads[u].line == threads[t].line &&
                   strcmp(threads[u].call, threads[t].call) == 0;
        };
        if (!threads[t].call) continue;
        int earlier = 0, all = 0;
        for (int u = 0; u < here->count; ++u) {
            earlier += u < t && same(u);
            all += same(u);
        }
        if (!earlier)
            add(" %d thread(s) from thread %d on wait at %s, line %d;", all, t, threads[t].call,
                threads[t].line);
    }
    add(" %d have returned", here->count - here->alive);
    if (group.size() == 1) return;
    size_t over = 0;
    for (const Block* block : group) over += block->alive == 0;
    add("; of %zu blocks %zu are over", group.size(), over);
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

struct Shared {  // where all shared variables lie, and which of them a launch has
    Segment all;
    unsigned char *unused, *statics;  // from here to there is dynamic memory that it has not

    template <class Each> void parts(unsigned char* aside, const Each& each) const
    {
        each(all.begin, aside, size_t(unused - all.begin));
        each(statics, aside + (statics - all.begin), size_t(all.end - statics));
    }
};
static Shared shared;

inline unsigned char* aside(Block& block) { return reinterpret_cast<unsigned char*>(block.aside.data()); }

inline void enter(Block& block)
{
    blockIdx = block.index;
    if (here == &block) return;
    const auto save = [](void* own, void* aside, size_t n) { memcpy(aside, own, n); };
    const auto load = [](void* own, void* aside, size_t n) { memcpy(own, aside, n); };
    if (here) shared.parts(aside(*here), save);
    shared.parts(aside(block), load);
    here = &block;
}

inline unsigned rank_of_block()
{
    unsigned rank = 0;
    while (group[rank] != here) ++rank;
    return rank;
}

inline void* in_block(const void* own, unsigned rank, int line)
{
    const auto* const at = static_cast<const unsigned char*>(own);
    if (rank >= group.size())
        fail("in_block at line %d: rank %u of %zu blocks", line, rank, group.size());
    else if (at < shared.all.begin || at >= shared.all.end)
        fail("in_block at line %d: not an address in shared memory", line);
    else if (group[rank]->alive == 0)
        fail("in_block at line %d: block %u of the group is over", line, rank);
    else if (group[rank] == here)
        fail("in_block at line %d: block %u has its own memory by another address", line, rank);
    else
        return aside(*group[rank]) + (at - shared.all.begin);
    return const_cast<void*>(own);
}

inline void start(Block& block, size_t number)
{
    block.index = {unsigned(number % gridDim.x), unsigned(number / gridDim.x % gridDim.y),
                   unsigned(number / gridDim.x / gridDim.y)};
    block.count = block.alive = blockDim.x * blockDim.y * blockDim.z;
    block.at_barrier = block.waiting_for_counts = 0;
    memset(block.warps, 0, sizeof block.warps);
    memset(block.ready, 0, sizeof block.ready);
    block.ready_words = 0;
    draw_ranks(block);
    for (int t = 0; t < block.count; ++t) {
        const unsigned x = t % blockDim.x, y = t / blockDim.x % blockDim.y;
        Thread& thread = block.threads[t];
        thread.index = {x, y, t / (blockDim.x * blockDim.y)};
        thread.call = nullptr;
        thread.counter = nullptr;
        thread.at_group = false;
        thread.copies.clear();
        thread.copy_groups = 0;
        block.warps[t / 32].alive |= 1u << t % 32;
        set_ready(block, t);
    }
    block.aside.resize((shared.all.end - shared.all.begin) / sizeof(std::max_align_t) + 1);
    memset(block.aside.data(), 0xFF, block.aside.size() * sizeof(std::max_align_t));
}

inline void run_while_it_can(Block& block)
{
    enter(block);
    current = next_to_run(block);
    while (current >= 0) resume(current);
}

inline void run_group(size_t first, size_t dynamic)
{
    here = nullptr;
    of_group = {};
    for (size_t b = 0; b < group.size(); ++b) {
        start(*group[b], first + b);
        of_group.alive += group[b]->count;
    }
    std::vector<size_t> ranks(group.size());
    while (of_group.alive > 0 && !message[0]) {
        in_order(ranks.data(), ranks.size());
        bool any = false;
        for (const size_t rank : ranks) {
            Block& block = *group[rank];
            see_counts(block);
            if (!block.ready_words) continue;
            any = true;
            run_while_it_can(block);
            check_unused(dynamic);
            if (message[0]) return;
            if (block.alive == 0)  // its shared memory is no more
                memset(shared.all.begin, 0xFF, shared.unused - shared.all.begin);
        }
        if (any) continue;
        for (const size_t rank : ranks) {
            if (group[rank]->alive == 0) continue;
            enter(*group[rank]);
            return report_deadlock();
        }
    }
}

inline const char* run_grid(const int* grid, const int* block, size_t dynamic, int64_t how, int at_once)
{
    message[0] = 0;
    gridDim = {unsigned(grid[0]), unsigned(grid[1]), unsigned(grid[2])};
    blockDim = {unsigned(block[0]), unsigned(block[1]), unsigned(block[2])};
    order = how;
    random_state = how + 3;
    while (blocks.size() < size_t(at_once)) {
        void* got = mmap(nullptr, most_threads * stack_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) return "no memory for the stacks";
        blocks.push_back(new Block());
        blocks.back()->stacks = static_cast<unsigned char*>(got);
    }
    group.assign(blocks.begin(), blocks.begin() + at_once);
    shared.all = shared_segment();
    if (!shared.all.begin) return "the loader does not tell where shared memory lies";
    shared.unused = cuda_on_host_dynamic + dynamic;
    shared.statics = cuda_on_host_dynamic + cuda_on_host_most_dynamic;

    std::vector<size_t> groups(size_t(gridDim.x) * gridDim.y * gridDim.z / at_once);
    in_order(groups.data(), groups.size());
    for (const size_t g : groups) {
        run_group(g * at_once, dynamic);
        if (message[0]) break;
    }
    if (message[0])  // threads were left inside the kernel
        for (Block* block : group) memset(block->made, 0, sizeof block->made);
    for (; blocks.size() > most_kept; blocks.pop_back()) delete blocks.back();
    return message[0] ? message : nullptr;
}

// ---- cuda_on_host.py writes CUDA_ON_HOST_LAUNCHER(name) for every kernel, CUDA_ON_HOST_DYNAMIC(name) for
// every `extern __shared__` name ----------------------------------------------------------------------

template <auto kernel, class... Types, size_t... I>
inline void call(void (*)(Types...), std::index_sequence<I...>)
{
    kernel(*static_cast<Types*>(arguments[I])...);
}

template <auto kernel, class... Types> inline void call(void (*same)(Types...))
{
    call<kernel>(same, std::index_sequence_for<Types...>{});
}

template <auto kernel>
inline const char* launch(void** given, const int* grid, const int* block, size_t dynamic, int64_t how,
                          int at_once)
{
    arguments = given;
    body = [] { call<kernel>(kernel); };
    return run_grid(grid, block, dynamic, how, at_once);
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
    static char words[8 * sizeof...(Types) + 1];  // such as "P8 i4 V48"
    char* end = words;
    ((end += snprintf(end, 8, "%c%zu ", kind<Types>(), sizeof(Types))), ...);
    return words;
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
                                                  size_t dynamic, int64_t order, int at_once)          \
    {                                                                                                  \
        return cuda_on_host::launch<NAME>(arguments, grid, block, dynamic, order, at_once);            \
    }
#define CUDA_ON_HOST_DYNAMIC(NAME) \
    asm(".globl " #NAME "\n.hidden " #NAME "\n.set " #NAME ", cuda_on_host_dynamic");

// Bytes of all `__shared__` variables of the file, with what aligns them.
CUDA_ON_HOST_EXPORT size_t cuda_on_host_statics()
{
    const cuda_on_host::Segment all = cuda_on_host::shared_segment();
    return all.end - all.begin - cuda_on_host_most_dynamic;
}

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
template <class T> inline T __ldcg(const T* address) { return *address; }

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

#include "cuda_on_host_ptx.h"
