// Elementary functions in forms that compilers vectorise: branch-free floats, within 2 units in the
// last place; doubles take the library's, as nothing that must be fast is computed in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define SIMD _Pragma("omp simd")
#define INLINE inline __attribute__((always_inline))

INLINE float power_of_two(float n) {  // n a whole number in [-126, 127]
    int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE float nearest(float x) {  // to a whole number, for |x| < 2^22
    const float shift = 12582912.0f;
    return (x + shift) - shift;
}

// To [-limit, limit]; what is not a number stays so.
template <class T> INLINE T cut_off(T x, T limit) { return std::min(std::max(x, -limit), limit); }

// exp(x) = scale (1 + p), p small, for |x| <= 87: beyond, exp leaves the floats.
INLINE float split_exponential(float x, float& scale) {
    const float n = nearest(x * 1.44269504088896341f);
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    scale = power_of_two(n);
    return p * r * r + r;
}

INLINE float exponential(float x) {
    float scale;
    const float p = split_exponential(cut_off(x, 87.0f), scale);
    return scale * p + scale;
}
INLINE double exponential(double x) { return std::exp(x); }

INLINE float exp_minus_one_within(float x) {  // with every digit near zero, for |x| <= 87
    float scale;
    const float p = split_exponential(x, scale);
    return scale * p + (scale - 1.0f);
}
INLINE double exp_minus_one_within(double x) { return std::expm1(x); }

INLINE float exp_minus_one(float x) { return exp_minus_one_within(cut_off(x, 87.0f)); }
INLINE double exp_minus_one(double x) { return std::expm1(x); }

// Cody and Waite's reduction to [-pi/4, pi/4] in three parts, then Taylor's series. |x| < 8000.
INLINE void sine_cosine(float x, float& sine, float& cosine) {
    const float n = nearest(x * 0.636619772367581343f);
    float r = x - n * 1.5703125f;
    r = r - n * 4.8375129699707031e-4f;
    r = r - n * 7.5495082e-8f;
    const float r2 = r * r;
    const float s = r + r * r2 * (-1.6666654611e-1f + r2 * (8.3321608736e-3f + r2 * -1.9515295891e-4f));
    const float c = 1.0f - 0.5f * r2
        + r2 * r2 * (4.166664568298827e-2f + r2 * (-1.388731625493765e-3f + r2 * 2.443315711809948e-5f));
    const int32_t quadrant = static_cast<int32_t>(n);
    const bool swapped = quadrant & 1;
    const float one = swapped ? c : s, other = swapped ? s : c;
    sine = quadrant & 2 ? -one : one;
    cosine = (quadrant + 1) & 2 ? -other : other;
}
INLINE void sine_cosine(double x, double& sine, double& cosine) { sine = std::sin(x); cosine = std::cos(x); }

// Cut off at |x| = 60, far from where its values are subnormal: compilers compute with the limit's value
// in all lanes and choose afterwards, and a product with a subnormal number takes a hundred times as long.
INLINE float sigmoid(float x) { return 1.0f / (2.0f + exp_minus_one_within(cut_off(-x, 60.0f))); }
INLINE double sigmoid(double x) { return 1.0 / (2.0 + std::expm1(-x)); }

// Two of them with one division, which takes as long as a dozen other operations. Cut off at |x| = 43,
// so that the product of both denominators stays a float.
INLINE void two_sigmoids(float x, float y, float& of_x, float& of_y) {
    const float p = 2.0f + exp_minus_one_within(-cut_off(x, 43.0f));
    const float q = 2.0f + exp_minus_one_within(-cut_off(y, 43.0f));
    const float inverse = 1.0f / (p * q);
    of_x = q * inverse;
    of_y = p * inverse;
}
INLINE void two_sigmoids(double x, double y, double& of_x, double& of_y) { of_x = sigmoid(x), of_y = sigmoid(y); }

// The tanh form of GELU is x times this share: sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
template <class T> constexpr T GELU_SLOPE = T(1.5957691216057308);
template <class T> constexpr T GELU_CUBE = T(0.044715);
template <class T> INLINE T gelu_share(T x) {
    return sigmoid(GELU_SLOPE<T> * x * (T(1) + GELU_CUBE<T> * x * x));
}
template <class T> INLINE T gelu(T x) { return x * gelu_share(x); }
template <class T> INLINE T gelu_derivative(T x, T share) {
    return share * (T(1) + x * (T(1) - share) * GELU_SLOPE<T> * (T(1) + T(3) * GELU_CUBE<T> * x * x));
}
