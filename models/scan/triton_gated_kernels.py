# mypy: ignore-errors
# ruff: noqa: RUF005
"""Triton kernels of the gated recurrence: gates and scan in one pass over memory.

    r = sigmoid(recurrence logit), i = sigmoid(input logit)          1 without logits
    a = exp(r (log_decay + i phase)),  s = sqrt(1 - |a|^2), or 1     h_t = a_t h_{t-1} + s_t i_t x_t

    G_t = dh_t + q_{t+1},  q_t = conj(a_t) G_t       G: the whole gradient of h_t; q: what it hands on
    dx = s i G,  dgain = Re(conj(x) G),  di = dgain s,  ds = dgain i
    d log|a| = Re(conj(h_{t-1}) q_t) - ds |a|^2 / max(s, s_min),  d arg a = Im(conj(h_{t-1}) q_t)
    dr = d log|a| log_decay + d arg a phase,  dlog_decay = sum r d log|a|,  dphase = sum r d arg a

The backward walk scans q, so that a decay is needed at its own step alone. Complex arrays have the
real parts of all channels first, then the imaginary ones. For tiles, chunks and numbers see
triton_kernels.py. Imported only where triton is: see triton_gated.py.

Shapes: G chunks, K steps of a chunk, C channels of a tile; L length, N channels in all.
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.scan.triton_kernels import affine, conj, last_state, states_before, time_of, times


@triton.jit
def exponential(y, SERIES: tl.constexpr, TERMS: tl.constexpr):
    """exp(-y) and 1 - exp(-y) for y >= 0, without loss of digits where y is small.

    SERIES: 1, 1/2!, 1/3!, ..., of (1 - exp(-y)) / y = 1 - y/2! + y^2/3! - ... for y below 1, last first.
    """
    series = tl.zeros_like(y)
    for k in tl.static_range(TERMS):
        series = SERIES[k] - y * series
    far = tl.exp(-y)
    complement = tl.where(y < 1.0, y * series, 1.0 - far)
    return tl.where(y < 1.0, 1.0 - complement, far), complement


@triton.jit
def turn(angle):
    """cos and sin of an angle; in float32 to 1e-7 up to some thousands.

    Those of CUDA's library each reduce the angle, and carry a slow path for huge ones that is longer
    than all the rest of a kernel. Here the nearest multiple of pi/2 is taken off, in three parts whose
    products with small integers are exact, and short Taylor series do the rest.
    """
    if angle.dtype == tl.float64:
        cosine, sine = tl.cos(angle), tl.sin(angle)
    else:
        quarters = tl.floor(angle * 0.6366197723675814 + 0.5)
        y = angle - quarters * 1.5703125 - quarters * 4.837512969970703125e-4 - quarters * 7.54978995489188e-8
        z = y * y
        even = 1.0 - z * (1 / 2 - z * (1 / 24 - z * (1 / 720 - z * (1 / 40320))))
        odd = y * (1.0 - z * (1 / 6 - z * (1 / 120 - z * (1 / 5040 - z * (1 / 362880)))))
        quadrant = quarters.to(tl.int32)
        swapped = (quadrant & 1) == 1
        cosine, sine = tl.where(swapped, odd, even), tl.where(swapped, even, odd)
        cosine = tl.where(((quadrant + 1) & 2) == 2, -cosine, cosine)
        sine = tl.where((quadrant & 2) == 2, -sine, sine)
    return cosine, sine


@triton.jit
def inner(a, b, COMPLEX: tl.constexpr):
    """Re(conj(a) b)"""
    return a[0] * b[0] + a[1] * b[1] if COMPLEX else a[0] * b[0]


@triton.jit
def choose(condition, a, b, COMPLEX: tl.constexpr):
    re = tl.where(condition, a[0], b[0])
    return (re, tl.where(condition, a[1], b[1])) if COMPLEX else (re,)


@triton.jit
def load_gate(logits, at, inside, DTYPE: tl.constexpr):
    """sigmoid of the logits, or 1 where there are none."""
    if logits is None:
        gate = tl.full([1, 1], 1.0, DTYPE)
    else:
        gate = tl.sigmoid(tl.load(logits + at, mask=inside, other=0.0).to(DTYPE))
    return gate


@triton.jit
def load_number(x, at, channels, inside, COMPLEX: tl.constexpr, DTYPE: tl.constexpr):
    re = tl.load(x + at, mask=inside, other=0.0).to(DTYPE)
    return (re, tl.load(x + at + channels, mask=inside, other=0.0).to(DTYPE)) if COMPLEX else (re,)


@triton.jit
def store_number(x, at, channels, inside, value, COMPLEX: tl.constexpr):
    tl.store(x + at, value[0], mask=inside)
    if COMPLEX:
        tl.store(x + at + channels, value[1], mask=inside)


@triton.jit
def transition(
    r, log_decay, phase,
    COMPLEX: tl.constexpr, NORMALIZE: tl.constexpr, SERIES: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """a, |a| and s, the last as sqrt((1 - |a|) (1 + |a|))."""
    magnitude, complement = exponential(-r * log_decay, SERIES, TERMS)
    scale = tl.sqrt(complement * (1.0 + magnitude)) if NORMALIZE else tl.full([1, 1], 1.0, r.dtype)
    if COMPLEX:
        cosine, sine = turn(r * phase)
        a = (magnitude * cosine, magnitude * sine)
    else:
        a = (magnitude,)
    return a, magnitude, scale


@triton.jit(do_not_specialize=["length"])
def gated_forward(
    length, channels, x, recurrence_logits, input_logits, log_decay, phase, h0, h,
    x_batch, x_time, recurrence_batch, recurrence_time, input_batch, input_time,
    NORMALIZE: tl.constexpr, SERIES: tl.constexpr, TERMS: tl.constexpr,
    G: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Writes h, [B, L, N] or with a phase [B, L, 2N], contiguous."""
    COMPLEX: tl.constexpr = phase is not None
    DTYPE: tl.constexpr = h.dtype.element_ty
    columns = 2 * channels if COMPLEX else channels
    blocks = tl.cdiv(channels, C)
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks * C + tl.arange(0, C))[None, :]
    exists = channel < channels
    x += sequence * x_batch
    h += sequence * length * columns
    decay_rate = load_number(log_decay, channel, 0, exists, False, DTYPE)[0]
    turn_rate = load_number(phase, channel, 0, exists, False, DTYPE)[0] if COMPLEX else None
    state = load_number(h0, sequence * columns + channel, channels, exists, COMPLEX, DTYPE)

    for start in tl.range(0, length, G * K, num_stages=2):
        chunk = start + K * tl.arange(0, G)[:, None]
        a_of, b_of = (), ()
        for k in tl.static_range(K):
            t = time_of(chunk + k, length, False)
            inside = (chunk + k < length) & exists
            r_at = sequence * recurrence_batch + t * recurrence_time + channel
            i_at = sequence * input_batch + t * input_time + channel
            r = load_gate(recurrence_logits, r_at, inside, DTYPE)
            i = load_gate(input_logits, i_at, inside, DTYPE)
            a_k, _, scale = transition(r, decay_rate, turn_rate, COMPLEX, NORMALIZE, SERIES, TERMS)
            x_k = load_number(x, t * x_time + channel, channels, inside, COMPLEX, DTYPE)
            b_k = (scale * i * x_k[0], scale * i * x_k[1]) if COMPLEX else (scale * i * x_k[0],)
            if k == 0:
                decay, end = a_k, b_k
            else:
                decay, end = times(a_k, decay, COMPLEX), affine(a_k, end, b_k, COMPLEX)
            a_of, b_of = a_of + (a_k,), b_of + (b_k,)

        h_k = states_before(decay, end, state, COMPLEX)
        for k in tl.static_range(K):
            t = time_of(chunk + k, length, False)
            inside = (chunk + k < length) & exists
            h_k = affine(a_of[k], h_k, b_of[k], COMPLEX)
            store_number(h, t * columns + channel, channels, inside, h_k, COMPLEX)
        state = last_state(h_k, COMPLEX, G)


@triton.jit(do_not_specialize=["length"])
def gated_backward(
    length, channels, x, recurrence_logits, input_logits, log_decay, phase, h0, h, grad_h,
    grad_x, grad_recurrence, grad_input, grad_log_decay, grad_phase, grad_h0,
    x_batch, x_time, recurrence_batch, recurrence_time, input_batch, input_time, grad_h_batch, grad_h_time,
    NORMALIZE: tl.constexpr, SMALLEST_SCALE: tl.constexpr, SERIES: tl.constexpr, TERMS: tl.constexpr,
    G: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Writes all gradients, contiguous; those of log_decay and phase for each sequence, [B, N]."""
    COMPLEX: tl.constexpr = phase is not None
    DTYPE: tl.constexpr = h.dtype.element_ty
    columns = 2 * channels if COMPLEX else channels
    blocks = tl.cdiv(channels, C)
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks * C + tl.arange(0, C))[None, :]
    exists = channel < channels
    x += sequence * x_batch
    grad_h += sequence * grad_h_batch
    h += sequence * length * columns
    grad_x += sequence * length * columns
    decay_rate = load_number(log_decay, channel, 0, exists, False, DTYPE)[0]
    turn_rate = load_number(phase, channel, 0, exists, False, DTYPE)[0] if COMPLEX else None
    first = load_number(h0, sequence * columns + channel, channels, exists, COMPLEX, DTYPE)
    zero = tl.zeros([1, C], DTYPE)
    one = (zero + 1.0, zero)
    q_state = (zero, zero) if COMPLEX else (zero,)
    sum_log = tl.zeros([G, C], DTYPE)
    sum_turn = tl.zeros([G, C], DTYPE)

    for start in tl.range(0, length, G * K, num_stages=2):
        chunk = start + K * tl.arange(0, G)[:, None]
        r_of, a_of, magnitude_of, scale_of, dh_of = (), (), (), (), ()
        for k in tl.static_range(K):
            t = time_of(chunk + k, length, True)
            inside = (chunk + k < length) & exists
            r_at = sequence * recurrence_batch + t * recurrence_time + channel
            r = load_gate(recurrence_logits, r_at, inside, DTYPE)
            a_k, magnitude, scale = transition(r, decay_rate, turn_rate, COMPLEX, NORMALIZE, SERIES, TERMS)
            # a walk that goes on past the first step keeps its q, as a = 1 there
            a_k = conj(choose(inside, a_k, one, COMPLEX), COMPLEX)
            dh_k = load_number(grad_h, t * grad_h_time + channel, channels, inside, COMPLEX, DTYPE)
            end_k = times(a_k, dh_k, COMPLEX)
            if k == 0:
                decay, end = a_k, end_k
            else:
                decay, end = times(a_k, decay, COMPLEX), affine(a_k, end, end_k, COMPLEX)
            r_of, magnitude_of, scale_of = r_of + (r,), magnitude_of + (magnitude,), scale_of + (scale,)
            a_of, dh_of = a_of + (a_k,), dh_of + (dh_k,)

        q = states_before(decay, end, q_state, COMPLEX)
        for k in tl.static_range(K):
            t = time_of(chunk + k, length, True)
            inside = (chunk + k < length) & exists
            i_at = sequence * input_batch + t * input_time + channel
            logit_at = (sequence * length + t) * channels + channel
            r, magnitude, scale = r_of[k], magnitude_of[k], scale_of[k]
            i = load_gate(input_logits, i_at, inside, DTYPE)
            x_k = load_number(x, t * x_time + channel, channels, inside, COMPLEX, DTYPE)
            h_k = load_number(h, (t - 1) * columns + channel, channels, inside & (t > 0), COMPLEX, DTYPE)
            h_k = choose(t == 0, first, h_k, COMPLEX)
            dh_k = dh_of[k]
            g = (dh_k[0] + q[0], dh_k[1] + q[1]) if COMPLEX else (dh_k[0] + q[0],)
            q = times(a_of[k], g, COMPLEX)

            grad_x_k = (scale * i * g[0], scale * i * g[1]) if COMPLEX else (scale * i * g[0],)
            store_number(grad_x, t * columns + channel, channels, inside, grad_x_k, COMPLEX)
            grad_gain = inner(x_k, g, COMPLEX)
            if input_logits is not None:
                tl.store(grad_input + logit_at, grad_gain * scale * i * (1.0 - i), mask=inside)
            grad_log = inner(h_k, q, COMPLEX)
            if NORMALIZE:
                grad_log -= grad_gain * i * magnitude * magnitude / tl.maximum(scale, SMALLEST_SCALE)
            sum_log += r * grad_log
            grad_r = grad_log * decay_rate
            if COMPLEX:
                grad_turn = h_k[0] * q[1] - h_k[1] * q[0]
                sum_turn += r * grad_turn
                grad_r += grad_turn * turn_rate
            if recurrence_logits is not None:
                tl.store(grad_recurrence + logit_at, grad_r * r * (1.0 - r), mask=inside)
        q_state = last_state(q, COMPLEX, G)

    at = sequence * channels + channel
    tl.store(grad_log_decay + at, tl.sum(sum_log, axis=0, keep_dims=True), mask=exists)
    if COMPLEX:
        tl.store(grad_phase + at, tl.sum(sum_turn, axis=0, keep_dims=True), mask=exists)
    store_number(grad_h0, sequence * columns + channel, channels, exists, q_state, COMPLEX)
