// Mamba's selective scan on a CPU, of which the states, N times as many as anything else, never reach memory.
//
//     h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        y_t = C_t . h_t
//
// A task takes a block of channels of one sequence through time, the states of the block in cache. The
// state in front of every KEEP steps is kept; the backward pass finds the others again from it.
//
// Shapes: B batch, L length, D channels, N states a channel. A is laid out [N, D], states [B, N, D]: the
// channels are neighbours in memory.

#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t BLOCK = 32;  // channels of a task
constexpr int64_t KEEP = 32;   // steps between two states that are kept

template <class T> struct Scan {
    const T *u, *delta, *A, *B, *C;
    int64_t L, D, N;
    int64_t blocks() const { return (D + BLOCK - 1) / BLOCK; }
    int64_t kept() const { return (L + KEEP - 1) / KEEP; }
};

// One step of a block of channels: the decays [N, BLOCK], and the states after it from those before.
template <class T>
INLINE void advance(const Scan<T>& s, int64_t row, int64_t first, int64_t count, const T* before, T* decay, T* after) {
    const T *u = s.u + row * s.D + first, *delta = s.delta + row * s.D + first, *B = s.B + row * s.N;
    alignas(64) T input[BLOCK];
    SIMD for (int64_t d = 0; d < count; ++d) input[d] = delta[d] * u[d];
    for (int64_t n = 0; n < s.N; ++n) {
        const T* A = s.A + n * s.D + first;
        const T B_n = B[n], *from = before + n * BLOCK;
        T *a = decay + n * BLOCK, *to = after + n * BLOCK;
        SIMD for (int64_t d = 0; d < count; ++d) {
            a[d] = exponential(delta[d] * A[d]);
            to[d] = a[d] * from[d] + input[d] * B_n;
        }
    }
}

// y and the last state, and into `kept`, [B, kept, N, D], the state in front of every KEEP steps.
template <class T>
void forward(const Scan<T>& s, T* state, T* kept, T* y, int64_t batch, int64_t threads) {
    in_parallel(batch * s.blocks(), batch * s.L * s.D * s.N, threads, [=, &s](int64_t task) {
        const int64_t b = task / s.blocks(), first = task % s.blocks() * BLOCK, count = std::min(BLOCK, s.D - first);
        std::vector<T> h(s.N * BLOCK), a(s.N * BLOCK);
        T* at_state = state + b * s.N * s.D + first;
        for (int64_t n = 0; n < s.N; ++n) std::copy_n(at_state + n * s.D, count, &h[n * BLOCK]);
        for (int64_t t = 0; t < s.L; ++t) {
            const int64_t row = b * s.L + t;
            if (t % KEEP == 0) {
                T* keep = kept + (b * s.kept() + t / KEEP) * s.N * s.D + first;
                for (int64_t n = 0; n < s.N; ++n) std::copy_n(&h[n * BLOCK], count, keep + n * s.D);
            }
            advance(s, row, first, count, h.data(), a.data(), h.data());
            alignas(64) T sum[BLOCK] = {};
            for (int64_t n = 0; n < s.N; ++n) {
                const T C_n = s.C[row * s.N + n], *from = &h[n * BLOCK];
                SIMD for (int64_t d = 0; d < count; ++d) sum[d] += C_n * from[d];
            }
            std::copy_n(sum, count, y + row * s.D + first);
        }
        for (int64_t n = 0; n < s.N; ++n) std::copy_n(&h[n * BLOCK], count, at_state + n * s.D);
    });
}

// Where the gradients go. Those of B and C are [blocks, B, L, N], a sum over the channels of a block each;
// those of A [B, N, D], a sum over the time of a sequence each. `state` holds the gradient of the last
// state, and in the end that of the first.
template <class T> struct Gradients {
    T *u, *delta, *B, *C, *state;
    double* A;
};

// The gradient of h_t is g_t = C_t dy_t + a_{t+1} g_{t+1}.
template <class T>
void backward(const Scan<T>& s, const T* kept, const T* dy, const Gradients<T>& out, int64_t batch, int64_t threads) {
    in_parallel(batch * s.blocks(), batch * s.L * s.D * s.N, threads, [=, &s, &out](int64_t task) {
        const int64_t b = task / s.blocks(), block = task % s.blocks();
        const int64_t first = block * BLOCK, count = std::min(BLOCK, s.D - first), size = s.N * BLOCK;
        std::vector<T> h((KEEP + 1) * size), a(KEEP * size), carry(size), sum_A(size);
        T* at_state = out.state + b * s.N * s.D + first;
        for (int64_t n = 0; n < s.N; ++n) std::copy_n(at_state + n * s.D, count, &carry[n * BLOCK]);
        for (int64_t part = s.kept() - 1; part >= 0; --part) {
            const int64_t start = part * KEEP, steps = std::min(KEEP, s.L - start);
            const T* keep = kept + (b * s.kept() + part) * s.N * s.D + first;
            for (int64_t n = 0; n < s.N; ++n) std::copy_n(keep + n * s.D, count, &h[n * BLOCK]);
            for (int64_t k = 0; k < steps; ++k)
                advance(s, b * s.L + start + k, first, count, &h[k * size], &a[k * size], &h[(k + 1) * size]);
            for (int64_t k = steps - 1; k >= 0; --k) {
                const int64_t row = b * s.L + start + k, at = row * s.D + first;
                const T *u = s.u + at, *delta = s.delta + at, *at_dy = dy + at;
                const T *B = s.B + row * s.N, *C = s.C + row * s.N;
                const int64_t sums = (block * batch * s.L + row) * s.N;
                alignas(64) T input[BLOCK], d_input[BLOCK] = {}, d_delta[BLOCK] = {};
                SIMD for (int64_t d = 0; d < count; ++d) input[d] = delta[d] * u[d];
                for (int64_t n = 0; n < s.N; ++n) {
                    const T *A = s.A + n * s.D + first, *before = &h[k * size + n * BLOCK], *after = before + size;
                    const T *decay = &a[k * size + n * BLOCK], B_n = B[n], C_n = C[n];
                    T *g = &carry[n * BLOCK], *to_A = &sum_A[n * BLOCK], dB = T(0), dC = T(0);
                    _Pragma("omp simd reduction(+ : dB, dC)") for (int64_t d = 0; d < count; ++d) {
                        const T grad = g[d] + C_n * at_dy[d];
                        dC += after[d] * at_dy[d];
                        dB += grad * input[d];
                        d_input[d] += grad * B_n;
                        g[d] = grad * decay[d];
                        const T d_exponent = g[d] * before[d];  // of delta A
                        d_delta[d] += d_exponent * A[d];
                        to_A[d] += d_exponent * delta[d];
                    }
                    out.B[sums + n] = dB;
                    out.C[sums + n] = dC;
                }
                SIMD for (int64_t d = 0; d < count; ++d) {
                    out.u[at + d] = d_input[d] * delta[d];
                    out.delta[at + d] = d_input[d] * u[d] + d_delta[d];
                }
            }
            for (int64_t n = 0; n < s.N; ++n)
                for (int64_t d = 0; d < count; ++d) {
                    out.A[(b * s.N + n) * s.D + first + d] += sum_A[n * BLOCK + d];
                    sum_A[n * BLOCK + d] = T(0);
                }
        }
        for (int64_t n = 0; n < s.N; ++n) std::copy_n(&carry[n * BLOCK], count, at_state + n * s.D);
    });
}

}  // namespace

#define SELECTIVE(NAME, T)                                                                                       \
    extern "C" void selective_forward_##NAME(T* y, T* state, T* kept, const T* u, const T* delta, const T* A,    \
                                             const T* B, const T* C, int64_t batch, int64_t L, int64_t D,        \
                                             int64_t N, int64_t threads) {                                       \
        forward<T>({u, delta, A, B, C, L, D, N}, state, kept, y, batch, threads);                                \
    }                                                                                                            \
    extern "C" void selective_backward_##NAME(                                                                   \
        const T* dy, const T* kept, const T* u, const T* delta, const T* A, const T* B, const T* C, T* du,       \
        T* ddelta, double* dA, T* dB, T* dC, T* dstate, int64_t batch, int64_t L, int64_t D, int64_t N,          \
        int64_t threads) {                                                                                       \
        backward<T>({u, delta, A, B, C, L, D, N}, kept, dy, {du, ddelta, dB, dC, dstate, dA}, batch, threads);   \
    }

SELECTIVE(float32, float)
SELECTIVE(float64, double)
