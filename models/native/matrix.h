// Products of small matrices that stay in the caches, for kernels that do several of them on the same rows.
//
// Sums over the inner index are taken in its order, whatever the number of rows: a row of a product does not
// depend on the others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#if defined(__AVX512VBMI2__)  // as in build.py: where the full width pays
constexpr int64_t VECTOR_BYTES = 64;
#else
constexpr int64_t VECTOR_BYTES = 32;
#endif

template <class T> constexpr int64_t LANES = VECTOR_BYTES / sizeof(T);
template <class T> constexpr int64_t PANEL = 2 * LANES<T>;  // columns of a tile, which with six rows fills the registers
constexpr int64_t TILE_ROWS = 6;
constexpr int64_t APART = 16;  // elements between the rows of a buffer, whose columns would share a cache line's place

// Room for numbers that are written before they are read.
template <class T> using Buffer = std::unique_ptr<T[]>;
template <class T> Buffer<T> room_for(int64_t count) { return Buffer<T>(new T[count]); }

// A matrix whose element (i, k) is at values[i * row + k * column].
template <class T> struct Left {
    const T* values;
    int64_t row, column;
};

// A matrix whose row k, of the columns from n on, is at values[n * panel + k * row].
template <class T> struct Right {
    const T* values;
    int64_t panel, row;
};

// A K x N matrix, whose element (k, n) is at values[k * row + n * column], in panels of neighbouring columns.
template <class T> class Packed {
public:
    Packed(const T* values, int64_t K, int64_t N, int64_t row, int64_t column)
        : K_(K), values_(room_for<T>((N + PANEL<T> - 1) / PANEL<T> * PANEL<T> * K)) {
        T* to = values_.get();
        for (int64_t first = 0; first < N; first += PANEL<T>, to += K * PANEL<T>) {
            const int64_t count = std::min(N - first, PANEL<T>);
            if (column == 1)
                for (int64_t k = 0; k < K; ++k) std::copy_n(values + k * row + first, count, to + k * PANEL<T>);
            else
                for (int64_t n = 0; n < count; ++n)
                    for (int64_t k = 0; k < K; ++k) to[k * PANEL<T> + n] = values[k * row + (first + n) * column];
        }
    }
    Right<T> right() const { return {values_.get(), K_, PANEL<T>}; }

private:
    int64_t K_;
    Buffer<T> values_;
};

template <class T, int64_t ROWS, int64_t VECTORS>
inline void tile(Left<T> a, Right<T> b, int64_t K, T* c, int64_t c_row, const T* first_row, bool add) {
    typedef T Vector __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(T)), may_alias));
    Vector sum[ROWS][VECTORS];
    for (int64_t i = 0; i < ROWS; ++i)
        for (int64_t v = 0; v < VECTORS; ++v) {
            const T* start = add ? c + i * c_row : first_row;
            sum[i][v] = start ? *reinterpret_cast<const Vector*>(start + v * LANES<T>) : Vector{};
        }
    for (int64_t k = 0; k < K; ++k) {
        Vector right[VECTORS];
        for (int64_t v = 0; v < VECTORS; ++v)
            right[v] = *reinterpret_cast<const Vector*>(b.values + k * b.row + v * LANES<T>);
        for (int64_t i = 0; i < ROWS; ++i) {
            const T left = a.values[i * a.row + k * a.column];
            for (int64_t v = 0; v < VECTORS; ++v) sum[i][v] += left * right[v];
        }
    }
    for (int64_t i = 0; i < ROWS; ++i)
        for (int64_t v = 0; v < VECTORS; ++v) *reinterpret_cast<Vector*>(c + i * c_row + v * LANES<T>) = sum[i][v];
}

template <class T, int64_t VECTORS>
void tile_of(int64_t rows, Left<T> a, Right<T> b, int64_t K, T* c, int64_t c_row, const T* first_row, bool add) {
    switch (rows) {
        case 1: return tile<T, 1, VECTORS>(a, b, K, c, c_row, first_row, add);
        case 2: return tile<T, 2, VECTORS>(a, b, K, c, c_row, first_row, add);
        case 3: return tile<T, 3, VECTORS>(a, b, K, c, c_row, first_row, add);
        case 4: return tile<T, 4, VECTORS>(a, b, K, c, c_row, first_row, add);
        case 5: return tile<T, 5, VECTORS>(a, b, K, c, c_row, first_row, add);
        default: return tile<T, 6, VECTORS>(a, b, K, c, c_row, first_row, add);
    }
}

// c = a b, for M x K and K x N matrices, N a multiple of LANES; on top of c if `add`, else of `bias` [N] if there is
// one. Row i of c is at c + i * c_row.
template <class T>
void product(int64_t M, int64_t N, int64_t K, Left<T> a, Right<T> b, T* c, int64_t c_row, const T* bias, bool add) {
    for (int64_t n = 0; n < N; n += PANEL<T>) {
        const Right<T> panel{b.values + n * b.panel, b.panel, b.row};
        for (int64_t i = 0; i < M; i += TILE_ROWS) {
            const Left<T> rows{a.values + i * a.row, a.row, a.column};
            const auto run = N - n >= PANEL<T> ? tile_of<T, 2> : tile_of<T, 1>;
            run(std::min(M - i, TILE_ROWS), rows, panel, K, c + i * c_row + n, c_row, bias ? bias + n : nullptr, add);
        }
    }
}

template <class T>
void product(int64_t M, int64_t N, int64_t K, Left<T> a, Right<T> b, T* c, int64_t c_row, bool add) {
    product<T>(M, N, K, a, b, c, c_row, nullptr, add);
}
