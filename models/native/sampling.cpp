// Poolformer one sample at a time: a whole step of all levels in one call, its state preallocated.
//
// Clips do not know each other, so every thread takes some of them through all the steps alone, and
// nothing is waited for in between. Level l runs at every P1 ... Pl-th step. Python (program.py) lays
// the weights out and describes the network in the structures below.
//
// Shapes: B clips, M clips of a thread, V vocabulary, D width of a level, E of the next, P factor,
// H hidden numbers of a recurrence, N its channels.

#include <cstdint>

#include "elementary.h"
#include "parallel.h"

extern "C" {

// y = x W + bias; W packed as [outputs / LANES][inputs][LANES], zero where it is padded.
struct Linear {
    const float *weight, *bias;
    int64_t inputs, outputs;  // outputs is padded, too; 0: there is none
};

// h <- a h + s i v with its gates, as in scan.cpp.
struct Recurrence {
    const float *gate_weight, *gate_bias;  // [blocks][inputs][gates x outputs], [blocks][gates x outputs]
    int64_t blocks, block_inputs, block_outputs, gates;
    int64_t recurrence_gate, input_gate;   // which of the gates, or -1
    const float *log_decay, *phase;        // [N]; no phase: real
    int64_t channels, normalize;
    float* state;                          // [B][H]
    Linear output;
};

struct Residual {
    int64_t norm;  // 0 none, 1 layer, 2 root mean square
    const float *norm_weight, *norm_bias;
    double epsilon;
    Linear layer;                          // the MLP's, or the recurrence's input
    const Recurrence* recurrence;          // or null
    Linear gate, output;
    double scale;
};

struct Level {
    int64_t width, first_down, count_down, first_up, count_up;
    int64_t factor;  // 0: the bottom
    int64_t groups, coarse_width, short_skip, long_skip;
    const float *down, *down_bias, *up, *up_bias;  // [P][G][D/G][E/G], [E], [P][G][E/G][D/G], [P][D]
    float *window, *coarse;                        // [B][E]: the sum of the window so far; the last coarse step
};

struct Network {
    const float* embedding;  // [V][D]
    const Residual* blocks;
    const Level* levels;
    int64_t count_levels, vocabulary, widest;
    Residual head;  // its norm and its layer alone
};

struct Draw {
    int64_t first_step, steps, batch;
    const int64_t* before;   // [B]: the tokens before these steps
    const double* uniforms;  // [B][steps] in [0, 1); null: the tokens are given
    int64_t* tokens;         // [B][steps]
    float* logits;           // [B][steps][V], or null
    double* log_likelihood;  // [B], added to, in nats, whatever the temperature
    double temperature, top_p;
};

}  // extern "C"

namespace {

#define SUM(x) _Pragma(TEXT(omp simd reduction(+ : x)))
#define TEXT(x) #x

constexpr int64_t LANES = 16, ROWS = 4;
constexpr float ABSENT_GATE = 100;  // a logit whose sigmoid is 1
typedef float Vector __attribute__((vector_size(32), aligned(4)));

// R rows of LANES outputs, whose sums stay in registers.
template <int64_t R>
INLINE void tile(float* y, int64_t y_row, const float* x, int64_t x_row, const float* w, const float* bias, int64_t inputs) {
    Vector sum[R][2];
    for (int64_t r = 0; r < R; ++r)
        for (int64_t v = 0; v < 2; ++v) sum[r][v] = *reinterpret_cast<const Vector*>(bias + 8 * v);
    for (int64_t k = 0; k < inputs; ++k) {
        const Vector low = *reinterpret_cast<const Vector*>(w + k * LANES), high = *reinterpret_cast<const Vector*>(w + k * LANES + 8);
        for (int64_t r = 0; r < R; ++r) {
            sum[r][0] += x[r * x_row + k] * low;
            sum[r][1] += x[r * x_row + k] * high;
        }
    }
    for (int64_t r = 0; r < R; ++r)
        for (int64_t v = 0; v < 2; ++v) *reinterpret_cast<Vector*>(y + r * y_row + 8 * v) = sum[r][v];
}

void linear(const Linear& l, float* y, int64_t y_row, const float* x, int64_t x_row, int64_t rows) {
    for (int64_t n = 0; n < l.outputs; n += LANES) {
        const float *w = l.weight + n * l.inputs, *bias = l.bias + n;
        int64_t r = 0;
        for (; r + ROWS <= rows; r += ROWS) tile<ROWS>(y + r * y_row + n, y_row, x + r * x_row, x_row, w, bias, l.inputs);
        for (; r < rows; ++r) tile<1>(y + r * y_row + n, y_row, x + r * x_row, x_row, w, bias, l.inputs);
    }
}

// One thread's clips, and the numbers between layers.
struct Worker {
    const Network& net;
    int64_t first, rows, row;              // its first clip, how many, and floats from one to the next
    std::vector<float> levels, saved, u, y, g, logits;

    Worker(const Network& network, int64_t first_clip, int64_t clips)
        : net(network), first(first_clip), rows(clips), row(network.widest), levels(net.count_levels * rows * row),
          saved(net.count_levels * rows * row), u(rows * row), y(rows * row), g(rows * row), logits(2 * row) {}

    float* x_of(int64_t level) { return levels.data() + level * rows * row; }
    float* skip_of(int64_t level) { return saved.data() + level * rows * row; }

    void normalize(const Residual& b, const float* x, int64_t width) {
        for (int64_t r = 0; r < rows; ++r) {
            const float* in = x + r * row;
            float *out = u.data() + r * row, mean = 0, square = 0;
            if (b.norm == 1) {
                SUM(mean) for (int64_t n = 0; n < width; ++n) mean += in[n];
                mean /= width;
            }
            SUM(square) for (int64_t n = 0; n < width; ++n) square += (in[n] - mean) * (in[n] - mean);
            const float scale = b.norm ? 1 / std::sqrt(square / width + float(b.epsilon)) : 1;
            for (int64_t n = 0; n < width; ++n) {
                out[n] = (in[n] - mean) * scale;
                if (b.norm) out[n] *= b.norm_weight[n];
                if (b.norm_bias) out[n] += b.norm_bias[n];
            }
        }
    }

    // From the recurrence's inputs in y to its outputs in y.
    void recur(const Recurrence& c) {
        const int64_t N = c.channels, H = c.phase ? 2 * N : N, J = c.gates * c.block_outputs;
        for (int64_t r = 0; r < rows; ++r) {
            float *v = y.data() + r * row, *h = c.state + (first + r) * H, *by_block = g.data() + r * row;
            float *zr = logits.data(), *zi = zr + N;
            if (c.recurrence_gate < 0) std::fill_n(zr, N, ABSENT_GATE);
            if (c.input_gate < 0) std::fill_n(zi, N, ABSENT_GATE);
            for (int64_t k = 0; k < c.blocks; ++k) {
                float* z = by_block + k * J;
                const float *in = v + k * c.block_inputs, *w = c.gate_weight + k * c.block_inputs * J;
                if (J == 8) {  // Poolformer's: two gates of four channels
                    Vector sum = *reinterpret_cast<const Vector*>(c.gate_bias + 8 * k);
                    for (int64_t i = 0; i < c.block_inputs; ++i) sum += in[i] * *reinterpret_cast<const Vector*>(w + 8 * i);
                    *reinterpret_cast<Vector*>(z) = sum;
                } else {
                    std::copy_n(c.gate_bias + k * J, J, z);
                    for (int64_t i = 0; i < c.block_inputs; ++i)
                        SIMD for (int64_t j = 0; j < J; ++j) z[j] += in[i] * w[i * J + j];
                }
                const int64_t O = c.block_outputs;
                if (c.recurrence_gate >= 0) std::copy_n(z + c.recurrence_gate * O, O, zr + k * O);
                if (c.input_gate >= 0) std::copy_n(z + c.input_gate * O, O, zi + k * O);
            }
            SIMD for (int64_t n = 0; n < N; ++n) {
                float gate, gain, sine, cosine;
                two_sigmoids(zr[n], zi[n], gate, gain);
                const float e = exp_minus_one(gate * c.log_decay[n]);
                if (c.normalize) gain *= std::sqrt(-e * (2.0f + e));
                if (c.phase) {
                    sine_cosine(gate * c.phase[n], sine, cosine);
                    const float re = (1 + e) * cosine, im = (1 + e) * sine, next = re * h[n] - im * h[N + n] + gain * v[n];
                    h[N + n] = re * h[N + n] + im * h[n] + gain * v[N + n];
                    h[n] = next;
                } else {
                    h[n] = (1 + e) * h[n] + gain * v[n];
                }
            }
            std::copy_n(h, H, by_block);
        }
        linear(c.output, y.data(), row, g.data(), row, rows);
    }

    void residual(const Residual& b, float* x, int64_t width) {
        normalize(b, x, width);
        linear(b.layer, y.data(), row, u.data(), row, rows);
        int64_t branch = b.layer.outputs;
        if (b.recurrence) recur(*b.recurrence), branch = b.recurrence->output.outputs;
        if (b.gate.outputs) linear(b.gate, g.data(), row, u.data(), row, rows);
        for (int64_t r = 0; r < rows; ++r) {
            float *out = y.data() + r * row, *gate = g.data() + r * row;
            if (b.gate.outputs) SIMD for (int64_t n = 0; n < branch; ++n) out[n] *= gelu(gate[n]);
            else SIMD for (int64_t n = 0; n < branch; ++n) out[n] = gelu(out[n]);
        }
        linear(b.output, u.data(), row, y.data(), row, rows);
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t n = 0; n < width; ++n) x[r * row + n] += float(b.scale) * u[r * row + n];
    }

    // to[e] += sum_d x[d] W[d, e] in each group
    void grouped(float* to, const float* x, const float* w, int64_t groups, int64_t inputs, int64_t outputs) {
        const int64_t I = inputs / groups, O = outputs / groups;
        if (I == 1 && O == 1) {
            for (int64_t n = 0; n < groups; ++n) to[n] += x[n] * w[n];
            return;
        }
        for (int64_t k = 0; k < groups; ++k)
            for (int64_t i = 0; i < I; ++i)
                for (int64_t o = 0; o < O; ++o) to[k * O + o] += x[k * I + i] * w[(k * I + i) * O + o];
    }

    // The level's step of index t, whose inputs are in x_of(level), in place.
    void step(int64_t level, int64_t t) {
        const Level& l = net.levels[level];
        float* x = x_of(level);
        const int64_t D = l.width, E = l.coarse_width;
        if (l.long_skip) std::copy_n(x, rows * row, skip_of(level));
        for (int64_t b = 0; b < l.count_down; ++b) residual(net.blocks[l.first_down + b], x, D);
        if (l.factor) {
            const int64_t phase = t % l.factor;
            for (int64_t r = 0; r < rows; ++r) {
                float* window = l.window + (first + r) * E;
                if (phase == 0) std::copy_n(l.down_bias, E, window);
                grouped(window, x + r * row, l.down + phase * D * E / l.groups, l.groups, D, E);
            }
            if (phase == l.factor - 1) {
                float* inner = x_of(level + 1);
                for (int64_t r = 0; r < rows; ++r) std::copy_n(l.window + (first + r) * E, E, inner + r * row);
                step(level + 1, t / l.factor);
                for (int64_t r = 0; r < rows; ++r) std::copy_n(inner + r * row, E, l.coarse + (first + r) * E);
            }
            const int64_t offset = (t + 1) % l.factor;
            for (int64_t r = 0; r < rows; ++r) {
                float *up = u.data() + r * row, *at = x + r * row;
                std::fill_n(up, D, 0.0f);
                if (t + 1 >= l.factor) {  // before, the delay lets nothing through, not even the bias
                    std::copy_n(l.up_bias + offset * D, D, up);
                    grouped(up, l.coarse + (first + r) * E, l.up + offset * D * E / l.groups, l.groups, E, D);
                }
                for (int64_t n = 0; n < D; ++n) at[n] = l.short_skip ? at[n] + up[n] : up[n];
            }
        }
        for (int64_t b = 0; b < l.count_up; ++b) residual(net.blocks[l.first_up + b], x, D);
        if (l.long_skip)
            for (int64_t n = 0; n < rows * row; ++n) x[n] += skip_of(level)[n];
    }

    void run(const Draw& draw) {
        const int64_t V = net.vocabulary, D = net.levels[0].width;
        std::vector<int64_t> token(draw.before + first, draw.before + first + rows);
        for (int64_t t = 0; t < draw.steps; ++t) {
            float* x = x_of(0);
            for (int64_t r = 0; r < rows; ++r) std::copy_n(net.embedding + token[r] * D, D, x + r * row);
            step(0, draw.first_step + t);
            normalize(net.head, x, D);
            linear(net.head.layer, y.data(), row, u.data(), row, rows);
            for (int64_t r = 0; r < rows; ++r) {
                const float* logits = y.data() + r * row;
                const int64_t at = (first + r) * draw.steps + t;
                if (draw.logits) std::copy_n(logits, V, draw.logits + at * V);
                if (draw.uniforms) draw.tokens[at] = choose(logits, draw.uniforms[at], draw);
                token[r] = draw.tokens[at];
                draw.log_likelihood[first + r] += log_probability(logits, token[r]);
            }
        }
    }

    double log_probability(const float* logits, int64_t token) {
        const float largest = *std::max_element(logits, logits + net.vocabulary);
        return logits[token] - largest - std::log(sum_of_exponentials(logits, largest, 1.0f));
    }

    // Writes exp((logit - largest) / temperature) into g.
    double sum_of_exponentials(const float* logits, float largest, float temperature) {
        float* p = g.data();
        const float inverse = 1 / temperature;
        SIMD for (int64_t v = 0; v < net.vocabulary; ++v) p[v] = 1 + exp_minus_one((logits[v] - largest) * inverse);
        double sum = 0;
        SUM(sum) for (int64_t v = 0; v < net.vocabulary; ++v) sum += p[v];
        return sum;
    }

    // The token at which the running sum of probabilities exceeds a uniform number.
    int64_t choose(const float* logits, double uniform, const Draw& draw) {
        const int64_t V = net.vocabulary;
        const float largest = *std::max_element(logits, logits + V);
        double sum = sum_of_exponentials(logits, largest, float(draw.temperature));
        float* p = g.data();
        if (draw.top_p < 1) sum = keep_most_likely(p, draw.top_p * sum);
        const double wanted = uniform * sum;
        double reached = 0;
        int64_t last = 0;
        for (int64_t v = 0; v < V; ++v) {
            if (p[v] > 0) last = v;
            reached += p[v];
            if (reached > wanted) return v;
        }
        return last;  // the sum fell short by rounding
    }

    // Zeroes all but the fewest most likely tokens whose mass reaches `mass`; returns what they have.
    double keep_most_likely(float* p, double mass) {
        std::vector<int64_t> order(net.vocabulary);
        for (size_t v = 0; v < order.size(); ++v) order[v] = int64_t(v);
        std::stable_sort(order.begin(), order.end(), [p](int64_t a, int64_t b) { return p[a] > p[b]; });
        double sum = 0;
        for (int64_t v : order) {
            if (sum >= mass) p[v] = 0;
            sum += p[v];
        }
        return sum;
    }
};

}  // namespace

extern "C" void draw(const Network* net, const Draw* what, int64_t threads) {
    threads = std::max<int64_t>(1, std::min(threads, what->batch));
    in_parallel(threads, SMALL_WORK, threads, [=](int64_t part) {
        const int64_t first = part * what->batch / threads, last = (part + 1) * what->batch / threads;
        Worker(*net, first, last - first).run(*what);
    });
}
