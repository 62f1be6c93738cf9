// G block-diagonal maps of the same rows: z[r, g, kO + o] = bias[g, kO + o] + sum_i v[r, kI + i] W[g, k, i, o].
//
// Blocks are too small to be worth a matrix product each. What the maps make of one block of inputs,
// G O numbers, is one vector instead, and every input is broadcast over it.
//
// Shapes: R rows, G maps, K blocks, I inputs and O outputs of a block, J = G O.

#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t CHUNK = 512;   // rows of a task, each of which sums the gradients of the weights for itself
constexpr int64_t TILE = 64;     // rows taken at once from block to block: what they read and write fits L1 or L2
constexpr int64_t LARGEST = 256;  // inputs, and outputs of all maps, of a block

struct Sizes {
    int64_t R, G, K, I, O;
    int64_t inputs() const { return K * I; }
    int64_t outputs() const { return G * K * O; }
    int64_t chunks() const { return (R + CHUNK - 1) / CHUNK; }
};

// From [G, K, I, O] to [K, I, J].
template <class T>
std::vector<T> packed(const T* weight, Sizes s) {
    std::vector<T> w(s.K * s.I * s.G * s.O);
    for (int64_t g = 0; g < s.G; ++g)
        for (int64_t ki = 0; ki < s.K * s.I; ++ki)
            std::copy_n(weight + (g * s.K * s.I + ki) * s.O, s.O, w.data() + (ki * s.G + g) * s.O);
    return w;
}

// A block's outputs of some rows. Of known size its weights are held in vectors, which stay in registers.
template <class T, int64_t I, int64_t O, int64_t G> struct BlockOutputs {
    static constexpr int64_t J = G * O;
    typedef T Out __attribute__((vector_size(J * sizeof(T)), aligned(alignof(T)), may_alias));

    static void find(T* z, const T* v, const T* weight, const T* bias, const Sizes& s, int64_t k, int64_t first,
                     int64_t end) {
        Out w[I];
        const Out b = *reinterpret_cast<const Out*>(bias);
        for (int64_t i = 0; i < I; ++i) w[i] = *reinterpret_cast<const Out*>(weight + i * J);
        for (int64_t r = first; r < end; ++r) {
            const T* x = v + r * s.inputs() + k * I;
            Out sum = b;
            for (int64_t i = 0; i < I; ++i) sum += x[i] * w[i];
            for (int64_t g = 0; g < G; ++g)
                for (int64_t o = 0; o < O; ++o) z[r * s.outputs() + (g * s.K + k) * O + o] = sum[g * O + o];
        }
    }
};

template <class T> struct BlockOutputs<T, 0, 0, 0> {
    static void find(T* z, const T* v, const T* weight, const T* bias, const Sizes& s, int64_t k, int64_t first,
                     int64_t end) {
        const int64_t I = s.I, O = s.O, G = s.G, J = G * O;
        for (int64_t r = first; r < end; ++r) {
            T sum[LARGEST];
            const T* x = v + r * s.inputs() + k * I;
            std::copy_n(bias, J, sum);
            for (int64_t i = 0; i < I; ++i) SIMD for (int64_t j = 0; j < J; ++j) sum[j] += x[i] * weight[i * J + j];
            for (int64_t g = 0; g < G; ++g) std::copy_n(sum + g * O, O, z + r * s.outputs() + (g * s.K + k) * O);
        }
    }
};

// KNOWN_I, KNOWN_O and KNOWN_G are the sizes of a block if compiled for them, else 0.
template <class T, int64_t KNOWN_I, int64_t KNOWN_O, int64_t KNOWN_G>
void forward(T* z, const T* v, const T* weight, const T* bias, Sizes s, int64_t threads) {
    const int64_t I = s.I, J = s.G * s.O;
    const std::vector<T> w = packed(weight, s), b = packed(bias, {0, s.G, s.K, 1, s.O});
    in_parallel(s.chunks(), s.R * s.outputs(), threads, [=, &w, &b](int64_t chunk) {
        const int64_t end = std::min((chunk + 1) * CHUNK, s.R);
        for (int64_t first = chunk * CHUNK; first < end; first += TILE)
            for (int64_t k = 0; k < s.K; ++k)
                BlockOutputs<T, KNOWN_I, KNOWN_O, KNOWN_G>::find(
                    z, v, w.data() + k * I * J, b.data() + k * J, s, k, first, std::min(first + TILE, end));
    });
}

// The gradients of a block's rows. Of known size they are held in vectors, which stay in registers.
template <class T, int64_t I, int64_t O, int64_t G> struct BlockGradients {
    static constexpr int64_t J = G * O;
    typedef T In __attribute__((vector_size(I * sizeof(T)), aligned(alignof(T)), may_alias));
    typedef T Out __attribute__((vector_size(J * sizeof(T)), aligned(alignof(T)), may_alias));

    static void add(T* d_v, const T* d_z, const T* v, const T* turned, T* to_dw, T* to_db, const Sizes& s, int64_t k,
                    int64_t first, int64_t end) {
        In w[J];
        Out dw[I], db = *reinterpret_cast<const Out*>(to_db);
        for (int64_t j = 0; j < J; ++j) w[j] = *reinterpret_cast<const In*>(turned + j * I);
        for (int64_t i = 0; i < I; ++i) dw[i] = *reinterpret_cast<const Out*>(to_dw + i * J);
        for (int64_t r = first; r < end; ++r) {
            const T* x = v + r * s.inputs() + k * I;
            Out d;
            In d_x = {};
            for (int64_t g = 0; g < G; ++g)
                for (int64_t o = 0; o < O; ++o) d[g * O + o] = d_z[r * s.outputs() + (g * s.K + k) * O + o];
            for (int64_t j = 0; j < J; ++j) d_x += d[j] * w[j];
            for (int64_t i = 0; i < I; ++i) dw[i] += x[i] * d;
            db += d;
            *reinterpret_cast<In*>(d_v + r * s.inputs() + k * I) = d_x;
        }
        for (int64_t i = 0; i < I; ++i) *reinterpret_cast<Out*>(to_dw + i * J) = dw[i];
        *reinterpret_cast<Out*>(to_db) = db;
    }
};

template <class T> struct BlockGradients<T, 0, 0, 0> {
    static void add(T* d_v, const T* d_z, const T* v, const T* turned, T* dw, T* db, const Sizes& s, int64_t k,
                    int64_t first, int64_t end) {
        const int64_t I = s.I, O = s.O, G = s.G, J = G * O;
        for (int64_t r = first; r < end; ++r) {
            T d[LARGEST], d_x[LARGEST] = {};
            const T* x = v + r * s.inputs() + k * I;
            for (int64_t g = 0; g < G; ++g) std::copy_n(d_z + r * s.outputs() + (g * s.K + k) * O, O, d + g * O);
            for (int64_t j = 0; j < J; ++j) SIMD for (int64_t i = 0; i < I; ++i) d_x[i] += d[j] * turned[j * I + i];
            for (int64_t i = 0; i < I; ++i) SIMD for (int64_t j = 0; j < J; ++j) dw[i * J + j] += x[i] * d[j];
            SIMD for (int64_t j = 0; j < J; ++j) db[j] += d[j];
            std::copy_n(d_x, I, d_v + r * s.inputs() + k * I);
        }
    }
};

// d_weight is [chunks, K, I, J] and d_bias [chunks, K, J]: sums over each chunk's rows.
template <class T, int64_t KNOWN_I, int64_t KNOWN_O, int64_t KNOWN_G>
void backward(T* d_v, const T* d_z, const T* v, const T* weight, T* d_weight, T* d_bias, Sizes s, int64_t threads) {
    const int64_t I = s.I, J = s.G * s.O;
    std::vector<T> turned(s.K * J * I);  // [K, J, I]
    const std::vector<T> w = packed(weight, s);
    for (int64_t k = 0; k < s.K; ++k)
        for (int64_t i = 0; i < I; ++i)
            for (int64_t j = 0; j < J; ++j) turned[(k * J + j) * I + i] = w[(k * I + i) * J + j];
    in_parallel(s.chunks(), s.R * s.outputs(), threads, [=, &turned](int64_t chunk) {
        const int64_t end = std::min((chunk + 1) * CHUNK, s.R);
        for (int64_t first = chunk * CHUNK; first < end; first += TILE)
            for (int64_t k = 0; k < s.K; ++k)
                BlockGradients<T, KNOWN_I, KNOWN_O, KNOWN_G>::add(
                    d_v, d_z, v, turned.data() + k * J * I, d_weight + (chunk * s.K + k) * I * J,
                    d_bias + (chunk * s.K + k) * J, s, k, first, std::min(first + TILE, end));
    });
}

}  // namespace

// Compiled for Poolformer's blocks: eight inputs, and two gates of four (complex) or eight (real) channels.
#define CHOOSE(FUNCTION, T)                                                       \
    (I == 8 && G == 2 && O == 4 ? FUNCTION<T, 8, 4, 2>                            \
     : I == 8 && G == 2 && O == 8 ? FUNCTION<T, 8, 8, 2> : FUNCTION<T, 0, 0, 0>)

#define BLOCK_DIAGONAL(NAME, T)                                                                              \
    extern "C" void forward_##NAME(T* z, const T* v, const T* weight, const T* bias, int64_t R, int64_t G,   \
                                   int64_t K, int64_t I, int64_t O, int64_t threads) {                       \
        (CHOOSE(forward, T))(z, v, weight, bias, {R, G, K, I, O}, threads);                                  \
    }                                                                                                        \
    extern "C" void backward_##NAME(T* d_v, const T* d_z, const T* v, const T* weight, T* d_weight,          \
                                    T* d_bias, int64_t R, int64_t G, int64_t K, int64_t I, int64_t O,        \
                                    int64_t threads) {                                                       \
        (CHOOSE(backward, T))(d_v, d_z, v, weight, d_weight, d_bias, {R, G, K, I, O}, threads);              \
    }

BLOCK_DIAGONAL(float32, float)
BLOCK_DIAGONAL(float64, double)
