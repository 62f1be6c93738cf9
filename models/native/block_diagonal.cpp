// G block-diagonal maps of the same rows: z[r, g, kO + o] = bias[g, kO + o] + sum_i v[r, kI + i] W[g, k, i, o].
//
// Shapes as in block_diagonal.h.

#include "block_diagonal.h"
#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t CHUNK = 512;   // rows of a task, each of which sums the gradients of the weights for itself
constexpr int64_t TILE = 64;     // rows taken at once from block to block: what they read and write fits L1 or L2

int64_t chunks_of(int64_t R) { return (R + CHUNK - 1) / CHUNK; }

// KNOWN_I, KNOWN_O and KNOWN_G are the sizes of a block if compiled for them, else 0.
template <class T, int64_t KNOWN_I, int64_t KNOWN_O, int64_t KNOWN_G>
void forward(T* z, const T* v, const T* weight, const T* bias, int64_t R, Blocks s, int64_t threads) {
    const int64_t I = s.I, J = s.G * s.O;
    const std::vector<T> w = packed(weight, s), b = packed(bias, {s.G, s.K, 1, s.O});
    in_parallel(chunks_of(R), R * s.outputs(), threads, [=, &w, &b](int64_t chunk) {
        const int64_t end = std::min((chunk + 1) * CHUNK, R);
        for (int64_t first = chunk * CHUNK; first < end; first += TILE)
            for (int64_t k = 0; k < s.K; ++k)
                BlockOutputs<T, KNOWN_I, KNOWN_O, KNOWN_G>::find(
                    z, v, w.data() + k * I * J, b.data() + k * J, s, k, first, std::min(first + TILE, end));
    });
}

// d_weight is [chunks, K, I, J] and d_bias [chunks, K, J]: sums over each chunk's rows.
template <class T, int64_t KNOWN_I, int64_t KNOWN_O, int64_t KNOWN_G>
void backward(T* d_v, const T* d_z, const T* v, const T* weight, T* d_weight, T* d_bias, int64_t R, Blocks s,
              int64_t threads) {
    const int64_t I = s.I, J = s.G * s.O;
    const std::vector<T> around = turned(weight, s);
    in_parallel(chunks_of(R), R * s.outputs(), threads, [=, &around](int64_t chunk) {
        const int64_t end = std::min((chunk + 1) * CHUNK, R);
        for (int64_t first = chunk * CHUNK; first < end; first += TILE)
            for (int64_t k = 0; k < s.K; ++k)
                BlockGradients<T, KNOWN_I, KNOWN_O, KNOWN_G>::add(
                    d_v, d_z, v, around.data() + k * J * I, d_weight + (chunk * s.K + k) * I * J,
                    d_bias + (chunk * s.K + k) * J, s, k, first, std::min(first + TILE, end));
    });
}

}  // namespace

#define BLOCK_DIAGONAL(NAME, T)                                                                              \
    extern "C" void forward_##NAME(T* z, const T* v, const T* weight, const T* bias, int64_t R, int64_t G,   \
                                   int64_t K, int64_t I, int64_t O, int64_t threads) {                       \
        (CHOOSE(forward, T))(z, v, weight, bias, R, {G, K, I, O}, threads);                                  \
    }                                                                                                        \
    extern "C" void backward_##NAME(T* d_v, const T* d_z, const T* v, const T* weight, T* d_weight,          \
                                    T* d_bias, int64_t R, int64_t G, int64_t K, int64_t I, int64_t O,        \
                                    int64_t threads) {                                                       \
        (CHOOSE(backward, T))(d_v, d_z, v, weight, d_weight, d_bias, R, {G, K, I, O}, threads);              \
    }

BLOCK_DIAGONAL(float32, float)
BLOCK_DIAGONAL(float64, double)
