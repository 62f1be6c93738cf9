// y gelu(g), the multiplicative gate of a residual block, and its gradients in one pass each.

#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t PIECE = 1 << 14;  // elements of a task

template <class T>
void forward(T* out, const T* y, const T* g, int64_t count, int64_t threads) {
    in_parallel((count + PIECE - 1) / PIECE, count, threads, [=](int64_t piece) {
        SIMD for (int64_t n = piece * PIECE; n < std::min((piece + 1) * PIECE, count); ++n)
            out[n] = y[n] * gelu(g[n]);
    });
}

template <class T>
void backward(T* d_y, T* d_g, const T* d_out, const T* y, const T* g, int64_t count, int64_t threads) {
    in_parallel((count + PIECE - 1) / PIECE, count, threads, [=](int64_t piece) {
        SIMD for (int64_t n = piece * PIECE; n < std::min((piece + 1) * PIECE, count); ++n) {
            const T share = gelu_share(g[n]);
            d_y[n] = d_out[n] * g[n] * share;
            d_g[n] = d_out[n] * y[n] * gelu_derivative(g[n], share);
        }
    });
}

}  // namespace

#define GELU_GATE(NAME, T)                                                                                   \
    extern "C" void forward_##NAME(T* out, const T* y, const T* g, int64_t count, int64_t threads) {         \
        forward<T>(out, y, g, count, threads);                                                               \
    }                                                                                                        \
    extern "C" void backward_##NAME(T* d_y, T* d_g, const T* d_out, const T* y, const T* g, int64_t count,   \
                                    int64_t threads) {                                                       \
        backward<T>(d_y, d_g, d_out, y, g, count, threads);                                                  \
    }

GELU_GATE(float32, float)
GELU_GATE(float64, double)
