// Linear recurrences on a CPU: h_t = a_t h_{t-1} + b_t, alone and fused with the gates of an RG-LRU.
//
// A row's channels are neighbours in memory, so one step of all of them is one vectorised loop, and
// the states between two steps stay in the first-level cache: memory is passed over once each way.
//
// Shapes: B batch, L length, N channels. Complex numbers of a plain scan are interleaved (as torch
// stores them); those of a gated one lie apart: all N real parts of a step, then all N imaginary ones.

#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t BLOCK = 128;  // channels that a task takes through time; their states fit L1
constexpr int64_t FLUSH = 64;   // steps after which float sums over time are added up in double

constexpr int64_t AHEAD = 4;    // steps; processors foresee reads towards lower addresses badly

template <class T> INLINE void prefetch(const T* from, int64_t count) {
    for (int64_t n = 0; n < count; n += 64 / sizeof(T)) __builtin_prefetch(from + n);
}

// ------------------------------------------------------------------------------------- plain scans
// States are carried in double: memory is what limits a plain scan, and where decays are slow the
// rounding of thousands of steps would add up.

template <class T, bool COMPLEX>
void scan_forward(const T* a, const T* b, const T* h0, T* h, int64_t B, int64_t L, int64_t N, int64_t reverse,
                  int64_t threads) {
    const int64_t blocks = (N + BLOCK - 1) / BLOCK, parts = COMPLEX ? 2 : 1;
    in_parallel(B * blocks, B * L * N * parts, threads, [=](int64_t task) {
        const int64_t first = task % blocks * BLOCK, count = std::min(BLOCK, N - first);
        const int64_t row = task / blocks * L * N + first;
        alignas(64) double state[2 * BLOCK];
        std::copy_n(h0 + (task / blocks * N + first) * parts, count * parts, state);
        for (int64_t step = 0; step < L; ++step) {
            const int64_t at = (row + (reverse ? L - 1 - step : step) * N) * parts;
            const T *at_a = a + at, *at_b = b + at;
            T* at_h = h + at;
            SIMD for (int64_t n = 0; n < count; ++n) {
                if (COMPLEX) {
                    const double a_re = at_a[2 * n], a_im = at_a[2 * n + 1], re = state[2 * n], im = state[2 * n + 1];
                    state[2 * n] = a_re * re - a_im * im + at_b[2 * n];
                    state[2 * n + 1] = a_re * im + a_im * re + at_b[2 * n + 1];
                    at_h[2 * n] = T(state[2 * n]);
                    at_h[2 * n + 1] = T(state[2 * n + 1]);
                } else {
                    state[n] = at_a[n] * state[n] + at_b[n];
                    at_h[n] = T(state[n]);
                }
            }
        }
    });
}

// The gradient g of b is itself a scan the other way: g_t = dh_t + conj(a_next) g_next. With it,
// da_t = g_t conj(h_before) and dh0 = conj(a_first) g_first.
template <class T, bool COMPLEX>
void scan_backward(const T* a, const T* h, const T* h0, const T* dh, T* da, T* db, T* dh0, int64_t B,
                   int64_t L, int64_t N, int64_t reverse, int64_t threads) {
    const int64_t blocks = (N + BLOCK - 1) / BLOCK, parts = COMPLEX ? 2 : 1;
    in_parallel(B * blocks, B * L * N * parts, threads, [=](int64_t task) {
        const int64_t first = task % blocks * BLOCK, count = std::min(BLOCK, N - first);
        const int64_t row = task / blocks * L * N + first, start = (task / blocks * N + first) * parts;
        alignas(64) double carry[2 * BLOCK] = {};
        for (int64_t step = L - 1; step >= 0; --step) {
            const int64_t at = (row + (reverse ? L - 1 - step : step) * N) * parts;
            const T* before = step == 0 ? h0 + start : h + at + (reverse ? N : -N) * parts;
            const T *at_a = a + at, *at_dh = dh + at;
            T *at_da = da + at, *at_db = db + at;
            for (const T* read : {at_a, at_dh, before}) prefetch(read - (reverse ? -AHEAD : AHEAD) * N * parts, count * parts);
            SIMD for (int64_t n = 0; n < count; ++n) {
                if (COMPLEX) {
                    const double g_re = at_dh[2 * n] + carry[2 * n], g_im = at_dh[2 * n + 1] + carry[2 * n + 1];
                    const double a_re = at_a[2 * n], a_im = at_a[2 * n + 1];
                    const T re = before[2 * n], im = before[2 * n + 1];
                    at_db[2 * n] = T(g_re);
                    at_db[2 * n + 1] = T(g_im);
                    at_da[2 * n] = T(g_re) * re + T(g_im) * im;
                    at_da[2 * n + 1] = T(g_im) * re - T(g_re) * im;
                    carry[2 * n] = a_re * g_re + a_im * g_im;
                    carry[2 * n + 1] = a_re * g_im - a_im * g_re;
                } else {
                    const double g = at_dh[n] + carry[n];
                    at_db[n] = T(g);
                    at_da[n] = T(g) * before[n];
                    carry[n] = at_a[n] * g;
                }
            }
        }
        for (int64_t n = 0; n < count * parts; ++n) dh0[start + n] = T(carry[n]);
    });
}

// ------------------------------------------------------------------------------------- gated scans
// r = sigmoid(recurrence logit), i = sigmoid(input logit)
// a = exp(r (log_decay + i phase)),  s = sqrt(1 - |a|^2), or 1,  h_t = a_t h_{t-1} + s i x_t
//
// An absent gate is one whose logits are a constant row of large numbers, with strides of zero.

template <class T> struct Rows {
    T* values;
    int64_t row, step;  // strides; channels are neighbours
    T* at(int64_t b, int64_t t) const { return values + b * row + t * step; }
};

template <class T> struct Gated {
    const T *x, *h0;
    Rows<const T> recurrence, input;  // logits
    const T *log_decay, *phase;  // [N]; no phase where the numbers are real
    double smallest_scale;        // bounds the derivative of the root, above zero
    int32_t normalize, constant;  // whether s is not 1; whether r is 1 throughout, so that a never changes
};

template <class T, bool COMPLEX>
INLINE void decay_of(T r, T log_decay, T phase, T normalize, T& re, T& im, T& scale) {
    const T e = exp_minus_one(r * log_decay);
    // 1 - |a|^2 = -(|a| - 1) (|a| + 1), or 1
    scale = std::sqrt((T(1) - normalize) - normalize * e * (T(2) + e));
    re = T(1) + e;
    im = T(0);
    if (COMPLEX) {
        T sine, cosine;
        sine_cosine(r * phase, sine, cosine);
        im = re * sine;
        re *= cosine;
    }
}

// The decays of a block of channels, found once where they never change.
template <class T, bool COMPLEX> struct ConstantDecay {
    T re[BLOCK], im[BLOCK], scale[BLOCK];
    ConstantDecay(const Gated<T>& g, int64_t first, int64_t count) {
        for (int64_t n = 0; n < count; ++n)
            decay_of<T, COMPLEX>(T(1), g.log_decay[first + n], COMPLEX ? g.phase[first + n] : T(0), T(g.normalize),
                                 re[n], im[n], scale[n]);
    }
};

template <class T, bool COMPLEX, bool CONSTANT>
void gated_forward(const Gated<T>& g, T* h, int64_t B, int64_t L, int64_t N, int64_t threads) {
    const int64_t blocks = (N + BLOCK - 1) / BLOCK, width = COMPLEX ? 2 * N : N;
    in_parallel(B * blocks, B * L * width, threads, [=, &g](int64_t task) {
        const int64_t first = task % blocks * BLOCK, count = std::min(BLOCK, N - first), b = task / blocks;
        const T *log_decay = g.log_decay + first, *phase = COMPLEX ? g.phase + first : g.log_decay;
        const T normalize = T(g.normalize);
        alignas(64) T state_re[BLOCK], state_im[BLOCK];
        std::copy_n(g.h0 + b * width + first, count, state_re);
        if (COMPLEX) std::copy_n(g.h0 + b * width + N + first, count, state_im);
        const ConstantDecay<T, COMPLEX> constant(g, first, CONSTANT ? count : 0);
        for (int64_t t = 0; t < L; ++t) {
            const int64_t at = (b * L + t) * width + first;
            const T *x_re = g.x + at, *x_im = x_re + N;
            const T *zr = g.recurrence.at(b, t) + first, *zi = g.input.at(b, t) + first;
            T *h_re = h + at, *h_im = h_re + N;
            SIMD for (int64_t n = 0; n < count; ++n) {
                T re = constant.re[n], im = constant.im[n], scale = constant.scale[n];
                T r = T(1), i;
                if (CONSTANT) {
                    i = sigmoid(zi[n]);
                } else {
                    two_sigmoids(zr[n], zi[n], r, i);
                    decay_of<T, COMPLEX>(r, log_decay[n], phase[n], normalize, re, im, scale);
                }
                const T gain = scale * i;
                if (COMPLEX) {
                    const T next = re * state_re[n] - im * state_im[n] + gain * x_re[n];
                    state_im[n] = re * state_im[n] + im * state_re[n] + gain * x_im[n];
                    state_re[n] = next;
                    h_im[n] = state_im[n];
                } else {
                    state_re[n] = re * state_re[n] + gain * x_re[n];
                }
                h_re[n] = state_re[n];
            }
        }
    });
}

// Where the gradients go. Those of log_decay and phase are [B, N]: a sum over time for each row.
template <class T> struct GatedGradients {
    T *x, *h0;
    Rows<T> recurrence, input;
    double *log_decay, *phase;
};

template <class T, bool COMPLEX, bool CONSTANT>
void gated_backward(const Gated<T>& g, const T* h, const T* dh, const GatedGradients<T>& out, int64_t B,
                    int64_t L, int64_t N, int64_t threads) {
    const int64_t blocks = (N + BLOCK - 1) / BLOCK, width = COMPLEX ? 2 * N : N;
    in_parallel(B * blocks, B * L * width, threads, [=, &g, &out](int64_t task) {
        const int64_t first = task % blocks * BLOCK, count = std::min(BLOCK, N - first), b = task / blocks;
        const T *log_decay = g.log_decay + first, *phase = COMPLEX ? g.phase + first : g.log_decay;
        const T normalize = T(g.normalize), smallest_scale = T(g.smallest_scale);
        alignas(64) T carry_re[BLOCK] = {}, carry_im[BLOCK] = {}, sum_decay[BLOCK] = {}, sum_phase[BLOCK] = {};
        const ConstantDecay<T, COMPLEX> constant(g, first, CONSTANT ? count : 0);
        for (int64_t t = L - 1; t >= 0; --t) {
            const int64_t at = (b * L + t) * width + first;
            const T *x_re = g.x + at, *x_im = x_re + N, *dh_re = dh + at, *dh_im = dh_re + N;
            const T *before_re = t ? h + at - width : g.h0 + b * width + first, *before_im = before_re + N;
            const T *zr = g.recurrence.at(b, t) + first, *zi = g.input.at(b, t) + first;
            T *dx_re = out.x + at, *dx_im = dx_re + N;
            T *dzr = out.recurrence.at(b, t) + first, *dzi = out.input.at(b, t) + first;
            for (const T* read : {x_re, dh_re, before_re}) {
                prefetch(read - AHEAD * width, count);
                if (COMPLEX) prefetch(read - AHEAD * width + N, count);
            }
            prefetch(zr - AHEAD * g.recurrence.step, count);
            prefetch(zi - AHEAD * g.input.step, count);
            SIMD for (int64_t n = 0; n < count; ++n) {
                T re = constant.re[n], im = constant.im[n], scale = constant.scale[n];
                T r = T(1), i;
                if (CONSTANT) {
                    i = sigmoid(zi[n]);
                } else {
                    two_sigmoids(zr[n], zi[n], r, i);
                    decay_of<T, COMPLEX>(r, log_decay[n], phase[n], normalize, re, im, scale);
                }
                const T gain = scale * i;
                const T grad_re = dh_re[n] + carry_re[n], grad_im = COMPLEX ? dh_im[n] + carry_im[n] : T(0);
                dx_re[n] = gain * grad_re;
                T d_gain = x_re[n] * grad_re;
                T past_re = re * before_re[n], past_im = T(0);  // a h_before
                if (COMPLEX) {
                    dx_im[n] = gain * grad_im;
                    d_gain += x_im[n] * grad_im;
                    past_re -= im * before_im[n];
                    past_im = re * before_im[n] + im * before_re[n];
                }
                // d(s^2) / d log|a| = 2 (s^2 - 1), which is 0 without it, and d s / d(s^2) = 1 / (2 s), bounded
                const T slope = T(0.5) / std::max(scale, smallest_scale);
                const T d_log = grad_re * past_re + grad_im * past_im
                    + d_gain * i * slope * T(2) * normalize * (scale * scale - T(1));
                const T d_angle = grad_im * past_re - grad_re * past_im;
                dzi[n] = d_gain * gain * (T(1) - i);
                if (!CONSTANT) dzr[n] = (d_log * log_decay[n] + (COMPLEX ? d_angle * phase[n] : T(0))) * r * (T(1) - r);
                sum_decay[n] += d_log * r;
                if (COMPLEX) sum_phase[n] += d_angle * r;
                carry_re[n] = re * grad_re + im * grad_im;
                if (COMPLEX) carry_im[n] = re * grad_im - im * grad_re;
            }
            if (t % FLUSH == 0)
                for (int64_t n = 0; n < count; ++n) {
                    out.log_decay[b * N + first + n] += sum_decay[n], sum_decay[n] = T(0);
                    if (COMPLEX) out.phase[b * N + first + n] += sum_phase[n], sum_phase[n] = T(0);
                }
        }
        std::copy_n(carry_re, count, out.h0 + b * width + first);
        if (COMPLEX) std::copy_n(carry_im, count, out.h0 + b * width + N + first);
    });
}

}  // namespace

// ------------------------------------------------------------------------------------ entry points

#define SCAN(NAME, T, COMPLEX)                                                                                    \
    extern "C" void scan_forward_##NAME(const T* a, const T* b, const T* h0, T* h, int64_t B, int64_t L,      \
                                        int64_t N, int64_t reverse, int64_t threads) {                                \
        scan_forward<T, COMPLEX>(a, b, h0, h, B, L, N, reverse, threads);                                              \
    }                                                                                                         \
    extern "C" void scan_backward_##NAME(const T* a, const T* h, const T* h0, const T* dh, T* da, T* db,      \
                                         T* dh0, int64_t B, int64_t L, int64_t N, int64_t reverse, int64_t threads) { \
        scan_backward<T, COMPLEX>(a, h, h0, dh, da, db, dh0, B, L, N, reverse, threads);                               \
    }

#define GATED(NAME, T)                                                                                        \
    extern "C" void gated_forward_##NAME(T* h, const Gated<T>* g, int64_t B, int64_t L, int64_t N,            \
                                         int64_t threads) {                                                       \
        auto run = g->phase ? (g->constant ? gated_forward<T, true, true> : gated_forward<T, true, false>)    \
                            : (g->constant ? gated_forward<T, false, true> : gated_forward<T, false, false>); \
        run(*g, h, B, L, N, threads);                                                                         \
    }                                                                                                         \
    extern "C" void gated_backward_##NAME(const T* h, const T* dh, const Gated<T>* g,                         \
                                          const GatedGradients<T>* out, int64_t B, int64_t L, int64_t N,      \
                                          int64_t threads) {                                                      \
        auto run = g->phase ? (g->constant ? gated_backward<T, true, true> : gated_backward<T, true, false>)    \
                            : (g->constant ? gated_backward<T, false, true> : gated_backward<T, false, false>); \
        run(*g, h, dh, *out, B, L, N, threads);                                                               \
    }

SCAN(float32, float, false)
SCAN(float64, double, false)
SCAN(complex64, float, true)
SCAN(complex128, double, true)
GATED(float32, float)
GATED(float64, double)
