// Matrix products by small tiles that stay in registers.
//
// The right factor is in panels: PANEL columns of it, row by row, so that a tile reads memory as it
// stands. Weights are kept so for the time of a call; then each step reads and writes them once.
// Each number is a sum over the depth in one order, whatever tile it is in: it has the same bits
// however rows are shared out among threads.

#pragma once
#include "job.h"

#if defined(__GNUC__) || defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT
#endif

namespace {  // each instruction set has its own

#if defined(__AVX512F__)
constexpr Index VECTOR_BYTES = 64, TILE_ROWS = 12;  // 32 registers: 24 sums
#elif defined(__AVX2__)
constexpr Index VECTOR_BYTES = 32, TILE_ROWS = 6;   // 16 registers: 12 sums
#elif defined(__aarch64__) || defined(_M_ARM64)
constexpr Index VECTOR_BYTES = 16, TILE_ROWS = 12;  // 32 registers
#else
constexpr Index VECTOR_BYTES = 16, TILE_ROWS = 6;   // 16 registers
#endif

constexpr Index ROWS_TOGETHER = 48;  // that go through all layers together; their values stay in the cache
constexpr Index DEPTH = 512;  // of a sum in registers; long ones are sums of such

template <typename T> struct Simd {            // numbers that are computed with together
    static constexpr Index WIDTH = VECTOR_BYTES / (Index)sizeof(T), PANEL = 2 * WIDTH;
#if defined(__GNUC__)
    typedef T Vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
#else
    struct Vector {
        T of[WIDTH];
        Vector operator*(T b) const { Vector c; for (int i = 0; i < WIDTH; ++i) c.of[i] = of[i] * b; return c; }
        Vector &operator+=(const Vector &b) { for (int i = 0; i < WIDTH; ++i) of[i] += b.of[i]; return *this; }
    };
#endif
};

template <typename T> Index panels_of(Index columns) {
    return (columns + Simd<T>::PANEL - 1) / Simd<T>::PANEL;
}

// So many columns, filled up to whole vectors. What is past a matrix's own columns counts nowhere: in
// outputs it is whatever the zeros there of weights and biases make of it, and in dL/ds it is 0.
template <typename T> Index whole_vectors(Index columns) {
    return (columns + Simd<T>::WIDTH - 1) / Simd<T>::WIDTH * Simd<T>::WIDTH;
}

// R rows of C = A B, for V vectors of a panel's columns. A's number for row r and depth k is
// a[r * step + k] where its rows are ALONG the depth, else a[k * step + r].
template <typename T, int R, int V, bool ALONG>
void tile(Index depth, const T *a, Index step, const T *b, Index b_step, T *c, Index c_step) {
    typedef typename Simd<T>::Vector Vector;
    for (Index k0 = 0; k0 < depth || k0 == 0; k0 += DEPTH) {
        const Index stop = depth - k0 < DEPTH ? depth - k0 : DEPTH;
        const T *aa = a + (ALONG ? k0 : k0 * step), *bb = b + k0 * b_step;
        Vector sums[R][V] = {};
        for (Index k = 0; k < stop; ++k) {
            const Vector *row = (const Vector *)bb;
            Vector right[V];
            for (int v = 0; v < V; ++v) right[v] = row[v];
            for (int r = 0; r < R; ++r) {
                const T left = ALONG ? aa[r * step + k] : aa[r];
                for (int v = 0; v < V; ++v) sums[r][v] += right[v] * left;
            }
            bb += b_step;
            if (!ALONG) aa += step;
        }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) {
                Vector *to = (Vector *)(c + r * c_step) + v;
                if (k0 == 0) *to = sums[r][v];
                else *to += sums[r][v];
            }
    }
}

template <typename T, int V, bool ALONG>
void tile_of(Index rows, Index depth, const T *a, Index step, const T *b, Index b_step, T *c, Index c_step) {
#define TILE(R) case R: if (R <= TILE_ROWS) tile<T, (R <= TILE_ROWS ? R : 1), V, ALONG>(depth, a, step, b, b_step, c, c_step); break;
    switch (rows) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) }
#undef TILE
}

// A panel's columns of C = A B, of which `columns` count, for up to TILE_ROWS rows.
template <typename T, bool ALONG>
void panel_tile(Index rows, Index columns, Index depth, const T *a, Index step, const T *b, Index b_step, T *c,
                Index c_step) {
    if (columns > Simd<T>::WIDTH) tile_of<T, 2, ALONG>(rows, depth, a, step, b, b_step, c, c_step);
    else tile_of<T, 1, ALONG>(rows, depth, a, step, b, b_step, c, c_step);
}

// C = A B for rows of A along the depth, and packed B.
template <typename T>
void multiply(Index rows, Index columns, Index depth, const T *a, Index step, const T *b, T *c, Index c_step) {
    constexpr Index PANEL = Simd<T>::PANEL;
    for (Index j = 0; j < columns; j += PANEL)
        for (Index r = 0; r < rows; r += TILE_ROWS) {
            const Index some = rows - r < TILE_ROWS ? rows - r : TILE_ROWS;
            panel_tile<T, true>(some, columns - j, depth, a + r * step, step, b + j * depth, PANEL, c + r * c_step + j,
                                c_step);
    }
}

// (rows, columns) as panels, which begin at zero, and back.
template <typename T> void pack(const T *from, Index rows, Index columns, T *panels) {
    constexpr Index PANEL = Simd<T>::PANEL;
    for (Index j = 0; j < columns; j += PANEL) {
        const Index some = columns - j < PANEL ? columns - j : PANEL;
        for (Index i = 0; i < rows; ++i) {
            T *to = panels + j * rows + i * PANEL;
            for (Index q = 0; q < some; ++q) to[q] = from[i * columns + j + q];
            for (Index q = some; q < PANEL; ++q) to[q] = T(0);
        }
    }
}

template <typename T> void unpack(const T *panels, Index rows, Index columns, T *to) {
    constexpr Index PANEL = Simd<T>::PANEL;
    for (Index j = 0; j < columns; j += PANEL) {
        const Index some = columns - j < PANEL ? columns - j : PANEL;
        for (Index i = 0; i < rows; ++i)
            for (Index q = 0; q < some; ++q) to[i * columns + j + q] = panels[j * rows + i * PANEL + q];
    }
}

// Rows from first to stop - 1 of packed (rows, columns) as columns of its packed transpose; first is
// a panel's.
template <typename T>
void transpose(const T *panels, Index rows, Index columns, Index first, Index stop, T *transposed) {
    constexpr Index PANEL = Simd<T>::PANEL;
    for (Index i = first; i < stop; i += PANEL) {
        const Index some = rows - i < PANEL ? rows - i : PANEL;
        T *to = transposed + i * columns;
        for (Index j = 0; j < columns; ++j, to += PANEL) {
            const T *from = panels + (j / PANEL) * PANEL * rows + i * PANEL + j % PANEL;
            for (Index q = 0; q < some; ++q) to[q] = from[q * PANEL];
            for (Index q = some; q < PANEL; ++q) to[q] = T(0);
        }
    }
}

}
