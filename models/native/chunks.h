// Rows in chunks, each of which sums the gradients of the weights for itself: whoever computes them, they are added
// up in one order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "elementary.h"

constexpr int64_t MOST_CHUNKS = 16, SMALLEST_CHUNK = 160;  // rows
constexpr int64_t PRODUCTS_AN_ELEMENT = 64;  // multiplications of a product that take as long as an element elsewhere

// Depends on the number of rows alone, not on the number of threads.
struct Chunks {
    int64_t total, size, count;
    explicit Chunks(int64_t rows)
        : total(rows), size(divided(rows, std::max(std::min(rows / SMALLEST_CHUNK, MOST_CHUNKS), int64_t(1)))),
          count(divided(rows, std::max(size, int64_t(1)))) {}
    std::pair<int64_t, int64_t> rows(int64_t chunk) const {
        return {chunk * size, std::min((chunk + 1) * size, total)};
    }

private:
    static int64_t divided(int64_t whole, int64_t by) { return (whole + by - 1) / by; }
};

extern "C" int64_t chunks(int64_t rows) { return Chunks(rows).count; }

// To the first of several rows of sums, all others.
template <class T> void add_up(T* sums, int64_t rows, int64_t count) {
    for (int64_t r = 1; r < rows; ++r) SIMD for (int64_t n = 0; n < count; ++n) sums[n] += sums[r * count + n];
}

template <class T> void add_rows(T* sum, const T* values, int64_t rows, int64_t row, int64_t count) {
    for (int64_t r = 0; r < rows; ++r) SIMD for (int64_t n = 0; n < count; ++n) sum[n] += values[r * row + n];
}
