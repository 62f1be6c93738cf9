// y gelu(g), the multiplicative gate of a residual block, and its gradients in one pass each.
// gelu(g) = g s with s = sigmoid(2 sqrt(2/pi) (g + 0.044715 g^3)), the tanh form.

#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t PIECE = 1 << 14;  // elements of a task

template <class T> constexpr T SLOPE = T(1.5957691216057308);
template <class T> constexpr T CUBE = T(0.044715);

template <class T>
void forward(T* out, const T* y, const T* g, int64_t count, int64_t threads) {
    in_parallel((count + PIECE - 1) / PIECE, count, threads, [=](int64_t piece) {
        SIMD for (int64_t n = piece * PIECE; n < std::min((piece + 1) * PIECE, count); ++n)
            out[n] = y[n] * g[n] * sigmoid(SLOPE<T> * (g[n] + CUBE<T> * g[n] * g[n] * g[n]));
    });
}

template <class T>
void backward(T* d_y, T* d_g, const T* d_out, const T* y, const T* g, int64_t count, int64_t threads) {
    in_parallel((count + PIECE - 1) / PIECE, count, threads, [=](int64_t piece) {
        SIMD for (int64_t n = piece * PIECE; n < std::min((piece + 1) * PIECE, count); ++n) {
            const T square = g[n] * g[n], s = sigmoid(SLOPE<T> * g[n] * (T(1) + CUBE<T> * square));
            d_y[n] = d_out[n] * g[n] * s;
            d_g[n] = d_out[n] * y[n] * s * (T(1) + g[n] * (T(1) - s) * SLOPE<T> * (T(1) + T(3) * CUBE<T> * square));
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
