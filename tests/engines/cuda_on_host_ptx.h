// The functions of ptx.cuh on the host, and those of thread-block clusters: see cuda_on_host.h.
#pragma once
#pragma GCC system_header

// ---- Asynchronous copies ---------------------------------------------------------------------------

namespace cuda_on_host {
// The copies arrive as late as they may, or, now and then where the order is shuffled, at once.
inline void copy_later(void* to, const void* from, size_t bytes, int line)
{
    Thread& thread = here->threads[current];
    if (uintptr_t(to) % bytes || uintptr_t(from) % bytes)
        return fail("copy_async at line %d: an address is no multiple of %zu", line, bytes);
    if (order >= 0 && random_bits() % 2)
        memcpy(to, from, bytes);
    else
        thread.copies.push_back({to, from, bytes, thread.copy_groups});
}

inline void finish_copies(int left)
{
    Thread& thread = here->threads[current];
    size_t n = 0;
    for (; n < thread.copies.size(); ++n) {
        const auto [to, from, bytes, group] = thread.copies[n];
        if (left > 0 && group >= thread.copy_groups - left) break;
        memcpy(to, from, bytes);
    }
    thread.copies.erase(thread.copies.begin(), thread.copies.begin() + n);
}
}  // namespace cuda_on_host

template <int BYTES>
inline void copy_async(void* to, const void* from, int line = __builtin_LINE())
{
    cuda_on_host::copy_later(to, from, BYTES, line);
}
inline void commit_copies() { ++cuda_on_host::here->threads[cuda_on_host::current].copy_groups; }
template <int LEFT = 0> inline void wait_for_copies() { cuda_on_host::finish_copies(LEFT); }

inline void prefetch_to_l2(const void* at) { (void)*static_cast<const volatile char*>(at); }

inline void store_shared(float* to, const float (&of)[4], int line = __builtin_LINE())
{
    if (uintptr_t(to) % 16)
        return cuda_on_host::fail("store_shared at line %d: the address is no multiple of 16", line);
    memcpy(to, of, sizeof of);
}

// ---- Counters in global memory, which blocks of a cooperative launch wait for ------------------------

inline void count_release(unsigned* counter) { ++*counter; }
inline void wait_for_count(const unsigned* counter, unsigned count, int line = __builtin_LINE())
{
    cuda_on_host::wait_for_count("wait_for_count", line, counter, count);
}

// ---- Clusters: a kernel with __cluster_dims__ ---------------------------------------------------------

// The barrier of a cluster: all threads that have not returned arrive, and then wait.
inline void cluster_arrive(int line = __builtin_LINE())
{
    cuda_on_host::arrive_at_cluster("cluster_arrive", line);
}
inline void cluster_wait(int line = __builtin_LINE())
{
    cuda_on_host::wait_for_cluster("cluster_wait", line);
}
inline unsigned cluster_rank() { return cuda_on_host::rank_of_block(); }

// Where the variable that `own` is in this block's shared memory stands in another block's.
template <class T> inline T* in_block(T* own, unsigned rank, int line = __builtin_LINE())
{
    return (T*)cuda_on_host::in_block((const void*)own, rank, line);
}
