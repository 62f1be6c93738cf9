// A recurrence's input and the logits of its gates: v = b + W u, and G block-diagonal maps z of v.
//
// The gates read v, and its two gradients meet, while it is in the caches.
//
// Shapes: R rows, D width, H = K I width of v; the others as in block_diagonal.h. W is [H, D].

#include "block_diagonal.h"
#include "chunks.h"
#include "elementary.h"
#include "matrix.h"
#include "parallel.h"

namespace {

constexpr int64_t ROWS = 48;  // taken at once

struct Sizes {
    int64_t R, D;
    Blocks blocks;
    int64_t work() const { return R * (D + blocks.G * blocks.O) * blocks.inputs() / PRODUCTS_AN_ELEMENT; }
};

// KNOWN_I, KNOWN_O and KNOWN_G are the sizes of a block if compiled for them, else 0.
template <class T, int64_t KNOWN_I, int64_t KNOWN_O, int64_t KNOWN_G>
void forward(T* v, T* z, const T* u, const T* input, const T* input_bias, const T* weight, const T* bias, Sizes s,
             int64_t threads) {
    const Blocks of = s.blocks;
    const int64_t D = s.D, H = of.inputs(), I = of.I, J = of.G * of.O;
    const Packed<T> from_u(input, D, H, 1, D);
    const std::vector<T> w = packed(weight, of), b = packed(bias, {of.G, of.K, 1, of.O});
    const Chunks chunks(s.R);
    in_parallel(chunks.count, s.work(), threads, [=, &from_u, &w, &b](int64_t chunk) {
        const auto [start, end] = chunks.rows(chunk);
        for (int64_t first = start; first < end; first += ROWS) {
            const int64_t rows = std::min(ROWS, end - first);
            product(rows, H, D, {u + first * D, D, 1}, from_u.right(), v + first * H, H, input_bias, false);
            for (int64_t k = 0; k < of.K; ++k)
                BlockOutputs<T, KNOWN_I, KNOWN_O, KNOWN_G>::find(z, v, w.data() + k * I * J, b.data() + k * J, of, k,
                                                                 first, first + rows);
        }
    });
}

// `d_weights` is [H D + H + K I J + K J]: the gradients of W, of its bias, and of the maps' weights and biases.
template <class T, int64_t KNOWN_I, int64_t KNOWN_O, int64_t KNOWN_G>
void backward(T* d_u, T* d_weights, const T* d_v, const T* d_z, const T* u, const T* v, const T* input, const T* weight,
              Sizes s, int64_t threads) {
    const Blocks of = s.blocks;
    const int64_t D = s.D, H = of.inputs(), I = of.I, J = of.G * of.O, near = H + APART, wide = D + APART;
    const Packed<T> to_u(input, H, D, D, 1);
    const std::vector<T> around = turned(weight, of);
    const Chunks chunks(s.R);
    Sums<T> sums(d_weights, chunks, H * D + H + H * J + of.K * J);
    in_parallel(chunks.count, 2 * s.work(), threads, [=, &to_u, &around, &sums](int64_t chunk) {
        T *to_input = sums.of(chunk), *to_input_bias = to_input + H * D, *to_weight = to_input_bias + H,
          *to_bias = to_weight + H * J;
        const auto [start, end] = chunks.rows(chunk);
        const int64_t most = std::min(ROWS, end - start);
        const Buffer<T> of_gates = room_for<T>(most * H), of_v = room_for<T>(most * near),
                        near_u = room_for<T>(most * wide);
        for (int64_t first = start; first < end; first += ROWS) {
            const int64_t rows = std::min(ROWS, end - first);
            for (int64_t k = 0; k < of.K; ++k)
                BlockGradients<T, KNOWN_I, KNOWN_O, KNOWN_G>::add(
                    of_gates.get(), d_z + first * of.outputs(), v + first * H, around.data() + k * J * I,
                    to_weight + k * I * J, to_bias + k * J, of, k, 0, rows);
            for (int64_t r = 0; r < rows; ++r) {
                const T *of_scan = d_v + (first + r) * H, *more = of_gates.get() + r * H;
                T* sum = of_v.get() + r * near;
                SIMD for (int64_t h = 0; h < H; ++h) sum[h] = of_scan[h] + more[h];
                std::copy_n(u + (first + r) * D, D, near_u.get() + r * wide);
            }
            product(rows, D, H, {of_v.get(), near, 1}, to_u.right(), d_u + first * D, D, false);
            product(H, D, rows, {of_v.get(), 1, near}, Right<T>{near_u.get(), 1, wide}, to_input, D, true);
            add_rows(to_input_bias, of_v.get(), rows, near, H);
        }
    });
    sums.add_up();
}

}  // namespace

#define GATED_INPUT(NAME, T)                                                                                 \
    extern "C" void forward_##NAME(T* v, T* z, const T* u, const T* input, const T* input_bias,              \
                                   const T* weight, const T* bias, int64_t R, int64_t D, int64_t G,          \
                                   int64_t K, int64_t I, int64_t O, int64_t threads) {                       \
        (CHOOSE(forward, T))(v, z, u, input, input_bias, weight, bias, {R, D, {G, K, I, O}}, threads);       \
    }                                                                                                        \
    extern "C" void backward_##NAME(T* d_u, T* d_weights, const T* d_v, const T* d_z, const T* u, const T* v,\
                                    const T* input, const T* weight, int64_t R, int64_t D, int64_t G,        \
                                    int64_t K, int64_t I, int64_t O, int64_t threads) {                      \
        (CHOOSE(backward, T))(d_u, d_weights, d_v, d_z, u, v, input, weight, {R, D, {G, K, I, O}}, threads); \
    }

GATED_INPUT(float32, float)
GATED_INPUT(float64, double)
