// Rows in chunks, each of which sums the gradients of the weights for itself: whoever computes them, they are added
// up in one order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "elementary.h"
#include "matrix.h"

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

// Sums of gradients: each chunk's own, and then the total of all, which a single chunk adds to directly.
template <class T> class Sums {
public:
    Sums(T* total, const Chunks& chunks, int64_t count)
        : total_(total), chunks_(chunks.count), count_(count), each_(room_for<T>(chunks.count > 1 ? chunks.count * count : 0)) {}
    T* of(int64_t chunk) {
        T* const own = chunks_ > 1 ? each_.get() + chunk * count_ : total_;
        std::fill_n(own, count_, T(0));
        return own;
    }
    void add_up() const {
        if (chunks_ == 1) return;
        std::fill_n(total_, count_, T(0));
        for (int64_t chunk = 0; chunk < chunks_; ++chunk)
            SIMD for (int64_t n = 0; n < count_; ++n) total_[n] += each_[chunk * count_ + n];
    }

private:
    T* total_;
    int64_t chunks_, count_;
    Buffer<T> each_;
};

template <class T> void add_rows(T* sum, const T* values, int64_t rows, int64_t row, int64_t count) {
    for (int64_t r = 0; r < rows; ++r) SIMD for (int64_t n = 0; n < count; ++n) sum[n] += values[r * row + n];
}
