// Impulse responses of D systems whose transition is diagonal plus rank one: y_l = c . T^l b, where
//
//     T x = e x - (w . x) q        e x: of complex numbers, x's parts side by side; all else of real vectors
//
// by taking the steps. A few channels go side by side, as lanes of a vector. The backward pass takes the
// adjoint steps in the other direction, z_l = g_l c + T* z_{l+1}, beside the states x_l = T^l b, which it makes
// again from those kept at the start of each chunk of steps.
//
// Shapes: D channels, N real numbers in a state, L steps; e, w, q, b, c [D, N], y and g [D, L].

#include "elementary.h"
#include "parallel.h"

namespace {

constexpr int64_t LANES = 8;
constexpr int64_t CHUNK = 128;  // steps between kept states: those of one chunk stay in the cache

struct Sizes {
    int64_t D, N, L;
    int64_t groups() const { return (D + LANES - 1) / LANES; }
    int64_t chunks() const { return (L + CHUNK - 1) / CHUNK; }
    int64_t rows() const { return N * LANES; }
};

// A group's channels of an array [D, N] as [N, LANES]; lanes without a channel are zero.
template <class T>
std::vector<T> lanes_of(const T* array, int64_t group, Sizes s) {
    std::vector<T> found(s.rows(), T(0));
    const int64_t first = group * LANES, count = std::min(LANES, s.D - first);
    for (int64_t j = 0; j < count; ++j)
        for (int64_t n = 0; n < s.N; ++n) found[n * LANES + j] = array[(first + j) * s.N + n];
    return found;
}

template <class T>
void put_lanes(const std::vector<T>& lanes, T* array, int64_t group, Sizes s) {
    const int64_t first = group * LANES, count = std::min(LANES, s.D - first);
    for (int64_t j = 0; j < count; ++j)
        for (int64_t n = 0; n < s.N; ++n) array[(first + j) * s.N + n] = lanes[n * LANES + j];
}

template <class T>
void dot(const T* a, const T* x, T* sum, int64_t N) {
    T even[LANES] = {}, odd[LANES] = {};
    for (int64_t n = 0; n < N * LANES; n += 2 * LANES) {
        SIMD for (int64_t j = 0; j < LANES; ++j) even[j] += a[n + j] * x[n + j];
        SIMD for (int64_t j = 0; j < LANES; ++j) odd[j] += a[n + LANES + j] * x[n + LANES + j];
    }
    SIMD for (int64_t j = 0; j < LANES; ++j) sum[j] = even[j] + odd[j];
}

// x <- T x into `next`, given s = w . x; leaves s = w . next and y = c . next.
template <class T>
void advance(const T* e, const T* w, const T* q, const T* c, const T* x, T* next, T* s, T* y, int64_t N) {
    T s_re[LANES] = {}, s_im[LANES] = {}, y_re[LANES] = {}, y_im[LANES] = {};
    for (int64_t re = 0; re < N * LANES; re += 2 * LANES) {
        const int64_t im = re + LANES;
        SIMD for (int64_t j = 0; j < LANES; ++j) {
            const T a = e[re + j] * x[re + j] - e[im + j] * x[im + j] - s[j] * q[re + j];
            const T b = e[re + j] * x[im + j] + e[im + j] * x[re + j] - s[j] * q[im + j];
            next[re + j] = a;
            next[im + j] = b;
            s_re[j] += w[re + j] * a;
            s_im[j] += w[im + j] * b;
            y_re[j] += c[re + j] * a;
            y_im[j] += c[im + j] * b;
        }
    }
    SIMD for (int64_t j = 0; j < LANES; ++j) s[j] = s_re[j] + s_im[j];
    SIMD for (int64_t j = 0; j < LANES; ++j) y[j] = y_re[j] + y_im[j];
}

// kept: [groups, chunks, N, LANES], the states at the start of each chunk; null if not wanted.
template <class T>
void forward(T* y, T* kept, const T* e, const T* w, const T* q, const T* b, const T* c, Sizes s, int64_t threads) {
    in_parallel(s.groups(), s.D * s.L, threads, [=](int64_t group) {
        const auto el = lanes_of(e, group, s), wl = lanes_of(w, group, s), ql = lanes_of(q, group, s);
        const auto cl = lanes_of(c, group, s);
        auto x = lanes_of(b, group, s);
        const int64_t first = group * LANES, count = std::min(LANES, s.D - first);
        T projection[LANES], out[LANES];
        dot(wl.data(), x.data(), projection, s.N);
        dot(cl.data(), x.data(), out, s.N);
        for (int64_t l = 0; l < s.L; ++l) {
            if (kept && l % CHUNK == 0)
                std::copy_n(x.data(), s.rows(), kept + (group * s.chunks() + l / CHUNK) * s.rows());
            for (int64_t j = 0; j < count; ++j) y[(first + j) * s.L + l] = out[j];
            advance(el.data(), wl.data(), ql.data(), cl.data(), x.data(), x.data(), projection, out, s.N);
        }
    });
}

template <class T>
struct Gradients {
    std::vector<T> e, w, q, c;
    explicit Gradients(int64_t rows) : e(rows), w(rows), q(rows), c(rows) {}
};

// One adjoint step: z = z_{l+1} becomes z_l, and t = q . z; what x_l contributes is added to the gradients.
template <class T>
void step_back(const T* e, const T* w, const T* q, const T* c, const T* x, const T* s, const T* g, T* z, T* t,
               Gradients<T>& d, int64_t N) {
    T t_re[LANES] = {}, t_im[LANES] = {};
    T *de = d.e.data(), *dw = d.w.data(), *dq = d.q.data(), *dc = d.c.data();
    for (int64_t re = 0; re < N * LANES; re += 2 * LANES) {
        const int64_t im = re + LANES;
        SIMD for (int64_t j = 0; j < LANES; ++j) {
            const T zr = z[re + j], zi = z[im + j], xr = x[re + j], xi = x[im + j];
            de[re + j] += zr * xr + zi * xi;
            de[im + j] += zi * xr - zr * xi;
            dq[re + j] -= s[j] * zr;
            dq[im + j] -= s[j] * zi;
            dw[re + j] -= t[j] * xr;
            dw[im + j] -= t[j] * xi;
            dc[re + j] += g[j] * xr;
            dc[im + j] += g[j] * xi;
            const T a = e[re + j] * zr + e[im + j] * zi - t[j] * w[re + j] + g[j] * c[re + j];
            const T b = e[re + j] * zi - e[im + j] * zr - t[j] * w[im + j] + g[j] * c[im + j];
            z[re + j] = a;
            z[im + j] = b;
            t_re[j] += q[re + j] * a;
            t_im[j] += q[im + j] * b;
        }
    }
    SIMD for (int64_t j = 0; j < LANES; ++j) t[j] = t_re[j] + t_im[j];
}

template <class T>
void backward(T* d_e, T* d_w, T* d_q, T* d_b, T* d_c, const T* g, const T* kept, const T* e, const T* w, const T* q,
              const T* c, Sizes s, int64_t threads) {
    in_parallel(s.groups(), s.D * s.L, threads, [=](int64_t group) {
        const auto el = lanes_of(e, group, s), wl = lanes_of(w, group, s), ql = lanes_of(q, group, s);
        const auto cl = lanes_of(c, group, s);
        const int64_t first = group * LANES, count = std::min(LANES, s.D - first);
        Gradients<T> d(s.rows());
        std::vector<T> x(CHUNK * s.rows()), projections(CHUNK * LANES), z(s.rows());
        T t[LANES] = {}, here[LANES] = {}, unused[LANES];
        for (int64_t chunk = s.chunks() - 1; chunk >= 0; --chunk) {
            const int64_t start = chunk * CHUNK, steps = std::min(CHUNK, s.L - start);
            std::copy_n(kept + (group * s.chunks() + chunk) * s.rows(), s.rows(), x.data());
            dot(wl.data(), x.data(), projections.data(), s.N);
            for (int64_t i = 1; i < steps; ++i) {
                std::copy_n(projections.data() + (i - 1) * LANES, LANES, projections.data() + i * LANES);
                advance(el.data(), wl.data(), ql.data(), cl.data(), x.data() + (i - 1) * s.rows(),
                        x.data() + i * s.rows(), projections.data() + i * LANES, unused, s.N);
            }
            for (int64_t i = steps - 1; i >= 0; --i) {
                for (int64_t j = 0; j < count; ++j) here[j] = g[(first + j) * s.L + start + i];
                step_back(el.data(), wl.data(), ql.data(), cl.data(), x.data() + i * s.rows(),
                          projections.data() + i * LANES, here, z.data(), t, d, s.N);
            }
        }
        put_lanes(d.e, d_e, group, s);
        put_lanes(d.w, d_w, group, s);
        put_lanes(d.q, d_q, group, s);
        put_lanes(d.c, d_c, group, s);
        put_lanes(z, d_b, group, s);
    });
}

}  // namespace

#define KRYLOV(NAME, T)                                                                                       \
    extern "C" void forward_##NAME(T* y, T* kept, const T* e, const T* w, const T* q, const T* b, const T* c, \
                                   int64_t D, int64_t N, int64_t L, int64_t threads) {                        \
        forward<T>(y, kept, e, w, q, b, c, {D, N, L}, threads);                                               \
    }                                                                                                         \
    extern "C" void backward_##NAME(T* d_e, T* d_w, T* d_q, T* d_b, T* d_c, const T* g, const T* kept,        \
                                    const T* e, const T* w, const T* q, const T* c, int64_t D, int64_t N,     \
                                    int64_t L, int64_t threads) {                                             \
        backward<T>(d_e, d_w, d_q, d_b, d_c, g, kept, e, w, q, c, {D, N, L}, threads);                        \
    }

KRYLOV(float32, float)
KRYLOV(float64, double)
