// What CUDA has in PTX only, and its headers, which NVRTC has not, wrap. The tests, which run kernels on
// the host, have the same functions in a header of theirs.

#ifdef __CUDA_ARCH__

// Copies to shared memory that go on while the thread does: cp.async, which older GPUs than Ampere do not
// have; there the thread copies. Of BYTES 4, 8 or 16 both addresses are multiples. Copies of 16 bytes
// bypass the first-level cache.
template <int BYTES> __device__ inline void copy_async(void *to, const void *from) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16);
#if __CUDA_ARCH__ >= 800
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                     ::"r"(at), "l"(from), "n"(BYTES) : "memory");
#else
    struct alignas(BYTES) Bytes { int of[BYTES / 4]; };
    *(Bytes *)to = *(const Bytes *)from;
#endif
}

// The thread's copies since the last call are a group.
__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait for the thread's copies, but for those of its last LEFT groups. 0: for all, groups or not.
template <int LEFT = 0> __device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    if constexpr (LEFT == 0)
        asm volatile("cp.async.wait_all;" ::: "memory");
    else
        asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// Have the 128 bytes around an address brought from global memory to the second-level cache.
__device__ inline void prefetch_to_l2(const void *at) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

// Four floats to shared memory in one instruction, which nvcc makes four of where it knows less.
__device__ inline void store_shared(float *to, const float (&of)[4]) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(unsigned(__cvta_generic_to_shared(to))),
                 "f"(of[0]), "f"(of[1]), "f"(of[2]), "f"(of[3]) : "memory");
}

// Add 1 to a counter in global memory, after all that the thread has done, or seen done, to memory.
__device__ inline void count_release(unsigned *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

// Wait until a counter has reached `count`, modulo 2^32, before all that the thread does after.
__device__ inline void wait_for_count(const unsigned *counter, unsigned count) {
    unsigned now;
    do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
    } while (int(now - count) < 0);
}

// The barrier of a cluster of blocks: all its threads arrive, and then wait. What a thread did to memory
// before it arrived, all see that have waited.
#if __CUDA_ARCH__ >= 900
__device__ inline void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ inline void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

// Where the variable that `own` is in this block's shared memory stands in another block's.
template <typename T> __device__ inline T *in_block(T *own, unsigned rank) {
    T *other;
    asm("mapa.u64 %0, %1, %2;" : "=l"(other) : "l"(own), "r"(rank));
    return other;
}
#endif

#endif
