// Block-diagonal maps of a few rows: their outputs, and their gradients.
//
// Blocks are too small to be worth a matrix product each. What the maps make of one block of inputs,
// G O numbers, is one vector instead, and every input is broadcast over it.
//
// Shapes: R rows, G maps, K blocks, I inputs and O outputs of a block, J = G O.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "elementary.h"

constexpr int64_t LARGEST = 256;  // inputs, and outputs of all maps, of a block

struct Blocks {
    int64_t G, K, I, O;
    int64_t inputs() const { return K * I; }
    int64_t outputs() const { return G * K * O; }
};

// From [G, K, I, O] to [K, I, J].
template <class T>
std::vector<T> packed(const T* weight, Blocks s) {
    std::vector<T> w(s.K * s.I * s.G * s.O);
    for (int64_t g = 0; g < s.G; ++g)
        for (int64_t ki = 0; ki < s.K * s.I; ++ki)
            std::copy_n(weight + (g * s.K * s.I + ki) * s.O, s.O, w.data() + (ki * s.G + g) * s.O);
    return w;
}

// To [K, J, I].
template <class T>
std::vector<T> turned(const T* weight, Blocks s) {
    const int64_t J = s.G * s.O;
    const std::vector<T> w = packed(weight, s);
    std::vector<T> found(s.K * J * s.I);
    for (int64_t k = 0; k < s.K; ++k)
        for (int64_t i = 0; i < s.I; ++i)
            for (int64_t j = 0; j < J; ++j) found[(k * J + j) * s.I + i] = w[(k * s.I + i) * J + j];
    return found;
}

// A block's outputs of some rows. Of known size its weights are held in vectors, which stay in registers.
template <class T, int64_t I, int64_t O, int64_t G> struct BlockOutputs {
    static constexpr int64_t J = G * O;
    typedef T Out __attribute__((vector_size(J * sizeof(T)), aligned(alignof(T)), may_alias));

    static void find(T* z, const T* v, const T* weight, const T* bias, const Blocks& s, int64_t k, int64_t first,
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
    static void find(T* z, const T* v, const T* weight, const T* bias, const Blocks& s, int64_t k, int64_t first,
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

// The gradients of a block's rows. Of known size they are held in vectors, which stay in registers.
template <class T, int64_t I, int64_t O, int64_t G> struct BlockGradients {
    static constexpr int64_t J = G * O;
    typedef T In __attribute__((vector_size(I * sizeof(T)), aligned(alignof(T)), may_alias));
    typedef T Out __attribute__((vector_size(J * sizeof(T)), aligned(alignof(T)), may_alias));

    static void add(T* d_v, const T* d_z, const T* v, const T* turned, T* to_dw, T* to_db, const Blocks& s, int64_t k,
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
    static void add(T* d_v, const T* d_z, const T* v, const T* turned, T* dw, T* db, const Blocks& s, int64_t k,
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

// Compiled for Poolformer's blocks: eight inputs, and two gates of four (complex) or eight (real) channels.
#define CHOOSE(FUNCTION, T)                                                       \
    (I == 8 && G == 2 && O == 4 ? FUNCTION<T, 8, 4, 2>                            \
     : I == 8 && G == 2 && O == 8 ? FUNCTION<T, 8, 8, 2> : FUNCTION<T, 0, 0, 0>)
