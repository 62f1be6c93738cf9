// The gated branch of a residual block: out = x + b_o + W_o (y gelu(W_g u + b_g)), where y is given or W_l u + b_l.
//
// A few rows at a time go through all of it, so that what lies between its products stays in the caches.
//
// Shapes: R rows, D width, M width of the branch. W_l and W_g are [M, D], W_o is [D, M].

#include "chunks.h"
#include "elementary.h"
#include "matrix.h"
#include "parallel.h"

namespace {

constexpr int64_t ROWS = 96;  // taken at once

struct Sizes {
    int64_t R, D, M;
    Chunks chunks() const { return Chunks(R); }
    int64_t work() const { return R * D * M / PRODUCTS_AN_ELEMENT; }
    int64_t weights() const { return D * M; }
};

template <class T> struct Weights {
    const T *layer, *layer_bias, *gate, *gate_bias, *output, *output_bias;  // no layer: y is given
};

template <class T>
void forward(T* out, T* y, T* g, const T* x, const T* u, Weights<T> w, Sizes s, int64_t threads) {
    const int64_t D = s.D, M = s.M, apart = M + APART;
    const Packed<T> gate(w.gate, D, M, 1, D), output(w.output, M, D, 1, M);
    const Packed<T> layer(w.layer, w.layer ? D : 0, M, 1, D);
    in_parallel(s.chunks().count, s.work(), threads, [=, &gate, &output, &layer](int64_t chunk) {
        const auto [start, end] = s.chunks().rows(chunk);
        const Buffer<T> gated = room_for<T>(std::min(ROWS, end - start) * apart);
        for (int64_t first = start; first < end; first += ROWS) {
            const int64_t rows = std::min(ROWS, end - first);
            const Left<T> from{u + first * D, D, 1};
            if (w.layer) product(rows, M, D, from, layer.right(), y + first * M, M, w.layer_bias, false);
            product(rows, M, D, from, gate.right(), g + first * M, M, w.gate_bias, false);
            for (int64_t r = 0; r < rows; ++r) {
                const T *of_y = y + (first + r) * M, *of_g = g + (first + r) * M;
                T* to = gated.get() + r * apart;
                SIMD for (int64_t m = 0; m < M; ++m) to[m] = of_y[m] * gelu(of_g[m]);
            }
            T* to = out + first * D;
            if (x)
                for (int64_t r = 0; r < rows; ++r)
                    SIMD for (int64_t d = 0; d < D; ++d) to[r * D + d] = x[(first + r) * D + d] + w.output_bias[d];
            product(rows, D, M, {gated.get(), apart, 1}, output.right(), to, D, w.output_bias, x != nullptr);
        }
    });
}

// Of the weights, one after the other, biases after their weights.
template <class T> struct Gradients {
    T *layer, *layer_bias, *gate, *gate_bias, *output, *output_bias;
    static int64_t count(Sizes s) { return 3 * s.weights() + 2 * s.M + s.D; }
    Gradients(T* at, Sizes s)
        : layer(at), layer_bias(layer + s.weights()), gate(layer_bias + s.M), gate_bias(gate + s.weights()),
          output(gate_bias + s.M), output_bias(output + s.weights()) {}
};

// d_y is written where y was given. `d_weights` is [Gradients::count].
template <class T>
void backward(T* d_u, T* d_y, T* d_weights, const T* d_out, const T* u, const T* y, const T* g, Weights<T> w, Sizes s,
              int64_t threads) {
    const int64_t D = s.D, M = s.M, apart = M + APART, wide = D + APART;
    const Packed<T> gate(w.gate, M, D, D, 1), output(w.output, D, M, M, 1);
    const Packed<T> layer(w.layer, w.layer ? M : 0, D, D, 1);
    Sums<T> sums(d_weights, s.chunks(), Gradients<T>::count(s));
    in_parallel(s.chunks().count, 2 * s.work(), threads, [=, &gate, &output, &layer, &sums](int64_t chunk) {
        const Gradients<T> to(sums.of(chunk), s);
        const auto [start, end] = s.chunks().rows(chunk);
        const int64_t most = std::min(ROWS, end - start);
        const Buffer<T> gated = room_for<T>(most * apart), of_y = room_for<T>(most * apart),
                        of_g = room_for<T>(most * apart), near_u = room_for<T>(most * wide);
        for (int64_t first = start; first < end; first += ROWS) {
            const int64_t rows = std::min(ROWS, end - first);
            const T* d = d_out + first * D;
            product(rows, M, D, {d, D, 1}, output.right(), of_y.get(), apart, false);
            for (int64_t r = 0; r < rows; ++r) {
                const T *from_y = y + (first + r) * M, *from_g = g + (first + r) * M;
                T *a = gated.get() + r * apart, *dy = of_y.get() + r * apart, *dg = of_g.get() + r * apart;
                SIMD for (int64_t m = 0; m < M; ++m) {
                    const T share = gelu_share(from_g[m]), grad = dy[m];
                    a[m] = from_y[m] * from_g[m] * share;
                    dy[m] = grad * from_g[m] * share;
                    dg[m] = grad * from_y[m] * gelu_derivative(from_g[m], share);
                }
                std::copy_n(u + (first + r) * D, D, near_u.get() + r * wide);
            }
            product(rows, D, M, {of_g.get(), apart, 1}, gate.right(), d_u + first * D, D, false);
            if (w.layer) {
                product(rows, D, M, {of_y.get(), apart, 1}, layer.right(), d_u + first * D, D, true);
                product(M, D, rows, {of_y.get(), 1, apart}, Right<T>{near_u.get(), 1, wide}, to.layer, D, true);
                add_rows(to.layer_bias, of_y.get(), rows, apart, M);
            } else {
                for (int64_t r = 0; r < rows; ++r) std::copy_n(of_y.get() + r * apart, M, d_y + (first + r) * M);
            }
            product(M, D, rows, {of_g.get(), 1, apart}, Right<T>{near_u.get(), 1, wide}, to.gate, D, true);
            product(D, M, rows, {d, 1, D}, Right<T>{gated.get(), 1, apart}, to.output, M, true);
            add_rows(to.gate_bias, of_g.get(), rows, apart, M);
            add_rows(to.output_bias, d, rows, D, D);
        }
    });
    sums.add_up();
}

}  // namespace

#define GATED_BRANCH(NAME, T)                                                                                \
    extern "C" void forward_##NAME(T* out, T* y, T* g, const T* x, const T* u, const T* layer,               \
                                   const T* layer_bias, const T* gate, const T* gate_bias, const T* output,  \
                                   const T* output_bias, int64_t R, int64_t D, int64_t M, int64_t threads) { \
        forward<T>(out, y, g, x, u, {layer, layer_bias, gate, gate_bias, output, output_bias}, {R, D, M},    \
                   threads);                                                                                 \
    }                                                                                                        \
    extern "C" void backward_##NAME(T* d_u, T* d_y, T* d_weights, const T* d_out, const T* u, const T* y,    \
                                    const T* g, const T* layer, const T* gate, const T* output, int64_t R,   \
                                    int64_t D, int64_t M, int64_t threads) {                                 \
        backward<T>(d_u, d_y, d_weights, d_out, u, y, g, {layer, nullptr, gate, nullptr, output, nullptr},   \
                    {R, D, M}, threads);                                                                     \
    }

GATED_BRANCH(float32, float)
GATED_BRANCH(float64, double)
