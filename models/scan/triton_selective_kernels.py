# mypy: ignore-errors
# ruff: noqa: RUF005
"""Triton kernels of the selective scan, with the step sizes, the direct path and the gate.

    delta = softplus(x + bias), or x        a = exp(delta A)        h_t = a_t h_{t-1} + (delta_t u_t) B_t
    o_t = C_t . h_t + D u_t                 y_t = o_t silu(z_t), or o_t

    g_t = C_t do_t + q_{t+1},  q_t = a_t g_t      g: the whole gradient of h_t; q: what it hands on
    do = dy silu(z),  dz = dy o silu'(z),  dD = sum do u,  du = delta (B . g) + D do
    ddelta = u (B . g) + A . (h_{t-1} q_t),  dA = sum delta h_{t-1} q_t
    dB = sum over channels of g delta u,  dC = sum over channels of do h

The states, N times as many as anything else, stay in registers: forward keeps the one in front of each
tile of time, and backward, tile by tile from the last, finds the others again (Gu and Dao 2023, section
3.3.2). There the states run forwards and q backwards over the same chunks, which keep their states at
hand. For tiles, chunks and composed maps see triton_kernels.py. Imported only where triton is: see
triton_selective.py.

Shapes: G chunks, K steps of a chunk, C channels of a tile, S its states, N rounded up to a power of two;
L length, D channels in all, N states a channel, T tiles. A tile's numbers are [G, C, S].
"""

from __future__ import annotations

import triton
import triton.language as tl

from models.scan.triton_kernels import compose


@triton.jit
def softplus(x, TERMS: tl.constexpr):
    """log(1 + exp(x)), to the last digits where it is small: 2 artanh(e / (2 + e)) as a series."""
    e = tl.exp(-tl.abs(x))
    s = e / (2.0 + e)
    square = s * s
    series = tl.zeros_like(x)
    for k in tl.static_range(TERMS):
        series = 1.0 / (2 * (TERMS - k) - 1) + square * series
    return tl.maximum(x, 0.0) + 2.0 * s * series


@triton.jit
def load_step(delta, bias, inside, DTYPE: tl.constexpr, TERMS: tl.constexpr):
    """The step size, 0 outside of the sequence, and its slope: without bias it is a step as it is."""
    x = tl.load(delta, mask=inside, other=0.0).to(DTYPE)
    if bias is None:
        step, slope = x, tl.full([1, 1, 1], 1.0, DTYPE)
    else:
        x += bias
        step, slope = tl.where(inside, softplus(x, TERMS), 0.0), tl.sigmoid(x)
    return step, slope


@triton.jit
def states_in_front(decay, end, state, REVERSE: tl.constexpr):
    """Of each chunk, [G, C, S], from that of the first one (in reverse: the last), [1, C, S]."""
    zero = tl.zeros_like(end)
    maps = tl.associative_scan((decay, end, zero + 1.0, zero), 0, compose, REVERSE)
    return maps[3] + maps[2] * state


@triton.jit
def row_of(x, wanted, G: tl.constexpr):
    """[G, C, S] -> [1, C, S]"""
    row = tl.arange(0, G)[:, None, None]
    return tl.sum(tl.where(row == wanted, x, 0.0), axis=0, keep_dims=True)


@triton.jit(do_not_specialize=["length"])
def selective_forward(
    length, channels, states, u, delta, A, B, C_, D, z, bias, h0, y, last, starts,
    u_batch, u_time, delta_batch, delta_time, B_batch, B_time, C_batch, C_time, z_batch, z_time,
    S: tl.constexpr, TERMS: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Writes y [B, L, D], the last state [B, D, N] and, unless it is None, starts [B, T, D, N]."""
    DTYPE: tl.constexpr = last.dtype.element_ty
    blocks = tl.cdiv(channels, C)
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks * C + tl.arange(0, C))[None, :, None]
    number = tl.arange(0, S)[None, None, :]
    exists, remembers = channel < channels, number < states
    both = exists & remembers
    at = channel * states + number
    of_state = sequence * channels * states + at
    tiles = tl.cdiv(length, G * K)
    rate = tl.load(A + at, mask=both, other=0.0)
    state = tl.load(h0 + of_state, mask=both, other=0.0)
    offset = None if bias is None else tl.load(bias + channel, mask=exists, other=0.0)
    direct = None if D is None else tl.load(D + channel, mask=exists, other=0.0)

    for start in tl.range(0, length, G * K, num_stages=2):
        if starts is not None:
            tile = sequence * tiles + start // (G * K)
            tl.store(starts + tile * channels * states + at, state, mask=both)
        chunk = start + K * tl.arange(0, G)[:, None, None]
        a_of, b_of, u_of = (), (), ()
        for k in tl.static_range(K):
            within = chunk + k < length
            inside, t = within & exists, (chunk + k).to(tl.int64)
            delta_at = delta + sequence * delta_batch + t * delta_time + channel
            step, _ = load_step(delta_at, offset, inside, DTYPE, TERMS)
            u_k = tl.load(u + sequence * u_batch + t * u_time + channel, mask=inside, other=0.0).to(DTYPE)
            B_at = B + sequence * B_batch + t * B_time + number
            B_k = tl.load(B_at, mask=within & remembers, other=0.0).to(DTYPE)
            a_k, b_k = tl.exp(step * rate), step * u_k * B_k
            if k == 0:
                decay, end = a_k, b_k
            else:
                decay, end = a_k * decay, b_k + a_k * end
            a_of, b_of, u_of = a_of + (a_k,), b_of + (b_k,), u_of + (u_k,)

        h = states_in_front(decay, end, state, False)
        for k in tl.static_range(K):
            within = chunk + k < length
            inside, t = within & exists, (chunk + k).to(tl.int64)
            C_at = C_ + sequence * C_batch + t * C_time + number
            C_k = tl.load(C_at, mask=within & remembers, other=0.0).to(DTYPE)
            h = b_of[k] + a_of[k] * h
            y_k = tl.sum(h * C_k, axis=2, keep_dims=True)
            if D is not None:
                y_k += direct * u_of[k]
            if z is not None:
                z_k = tl.load(z + sequence * z_batch + t * z_time + channel, mask=inside, other=0.0).to(DTYPE)
                y_k *= z_k * tl.sigmoid(z_k)
            tl.store(y + (sequence * length + t) * channels + channel, y_k, mask=inside)
        state = row_of(h, G - 1, G)
    tl.store(last + of_state, state, mask=both)


@triton.jit(do_not_specialize=["length"])
def selective_backward(
    length, channels, states, u, delta, A, B, C_, D, z, bias, starts, grad_y, grad_last,
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias, grad_h0,
    u_batch, u_time, delta_batch, delta_time, B_batch, B_time, C_batch, C_time, z_batch, z_time,
    grad_y_batch, grad_y_time,
    S: tl.constexpr, TERMS: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Writes all gradients, contiguous; those of A [B, D, N], D and bias [B, D] for each sequence, those
    of B and C for each sequence and block of channels, [B, blocks, L, N]."""
    DTYPE: tl.constexpr = grad_h0.dtype.element_ty
    blocks = tl.cdiv(channels, C)
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks * C + tl.arange(0, C))[None, :, None]
    number = tl.arange(0, S)[None, None, :]
    exists, remembers = channel < channels, number < states
    both = exists & remembers
    at = channel * states + number
    of_state = sequence * channels * states + at
    of_channel = sequence * channels + channel
    tiles = tl.cdiv(length, G * K)
    rate = tl.load(A + at, mask=both, other=0.0)
    offset = None if bias is None else tl.load(bias + channel, mask=exists, other=0.0)
    direct = None if D is None else tl.load(D + channel, mask=exists, other=0.0)
    q_state = tl.load(grad_last + of_state, mask=both, other=0.0)
    sum_A = tl.zeros([G, C, S], DTYPE)
    sum_D = tl.zeros([G, C, 1], DTYPE)
    sum_bias = tl.zeros([G, C, 1], DTYPE)

    for back in tl.range(0, tiles, num_stages=2):
        tile = tiles - 1 - back
        chunk = tile * G * K + K * tl.arange(0, G)[:, None, None]
        in_front = starts + (sequence * tiles + tile) * channels * states + at
        a_of, b_of = (), ()
        for k in tl.static_range(K):
            within = chunk + k < length
            inside, t = within & exists, (chunk + k).to(tl.int64)
            delta_at = delta + sequence * delta_batch + t * delta_time + channel
            step, _ = load_step(delta_at, offset, inside, DTYPE, TERMS)
            u_k = tl.load(u + sequence * u_batch + t * u_time + channel, mask=inside, other=0.0).to(DTYPE)
            B_at = B + sequence * B_batch + t * B_time + number
            B_k = tl.load(B_at, mask=within & remembers, other=0.0).to(DTYPE)
            a_k, b_k = tl.exp(step * rate), step * u_k * B_k
            if k == 0:
                decay, end = a_k, b_k
            else:
                decay, end = a_k * decay, b_k + a_k * end
            a_of, b_of = a_of + (a_k,), b_of + (b_k,)

        h = states_in_front(decay, end, tl.load(in_front, mask=both, other=0.0), False)
        before_of, force_of, grad_o_of = (), (), ()
        for k in tl.static_range(K):
            within = chunk + k < length
            inside, t = within & exists, (chunk + k).to(tl.int64)
            here = (sequence * length + t) * channels + channel
            C_at = C_ + sequence * C_batch + t * C_time + number
            C_k = tl.load(C_at, mask=within & remembers, other=0.0).to(DTYPE)
            before_of = before_of + (h,)
            h = b_of[k] + a_of[k] * h
            grad_at = grad_y + sequence * grad_y_batch + t * grad_y_time + channel
            grad_o = tl.load(grad_at, mask=inside, other=0.0).to(DTYPE)
            if z is not None:
                z_k = tl.load(z + sequence * z_batch + t * z_time + channel, mask=inside, other=0.0).to(DTYPE)
                gate = tl.sigmoid(z_k)
                o_k = tl.sum(h * C_k, axis=2, keep_dims=True)
                if D is not None:
                    u_at = u + sequence * u_batch + t * u_time + channel
                    o_k += direct * tl.load(u_at, mask=inside, other=0.0).to(DTYPE)
                tl.store(grad_z + here, grad_o * o_k * gate * (1.0 + z_k * (1.0 - gate)), mask=inside)
                grad_o *= z_k * gate
            of_block = (sequence * blocks + tl.program_id(0) % blocks) * length + t
            grad_C_k = tl.sum(grad_o * h, axis=1, keep_dims=True)
            tl.store(grad_C + of_block * states + number, grad_C_k, mask=within & remembers)
            grad_o_of, force_of = grad_o_of + (grad_o,), force_of + (grad_o * C_k,)

        for k in tl.static_range(K - 1, -1, -1):
            if k == K - 1:
                decay, end = a_of[k], a_of[k] * force_of[k]
            else:
                decay, end = a_of[k] * decay, a_of[k] * (force_of[k] + end)
        q = states_in_front(decay, end, q_state, True)
        for k in tl.static_range(K - 1, -1, -1):
            within = chunk + k < length
            inside, t = within & exists, (chunk + k).to(tl.int64)
            here = (sequence * length + t) * channels + channel
            delta_at = delta + sequence * delta_batch + t * delta_time + channel
            step, slope = load_step(delta_at, offset, inside, DTYPE, TERMS)
            u_k = tl.load(u + sequence * u_batch + t * u_time + channel, mask=inside, other=0.0).to(DTYPE)
            B_at = B + sequence * B_batch + t * B_time + number
            B_k = tl.load(B_at, mask=within & remembers, other=0.0).to(DTYPE)
            g = force_of[k] + q
            q = a_of[k] * g

            of_block = (sequence * blocks + tl.program_id(0) % blocks) * length + t
            grad_B_k = tl.sum(g * (step * u_k), axis=1, keep_dims=True)
            tl.store(grad_B + of_block * states + number, grad_B_k, mask=within & remembers)
            grad_scaled = tl.sum(g * B_k, axis=2, keep_dims=True)  # of delta u
            grad_u_k = grad_scaled * step
            if D is not None:
                grad_u_k += direct * grad_o_of[k]
                sum_D += grad_o_of[k] * u_k
            tl.store(grad_u + here, grad_u_k, mask=inside)
            grad_rate = before_of[k] * q  # of delta A
            sum_A += step * grad_rate
            grad_step = grad_scaled * u_k + tl.sum(grad_rate * rate, axis=2, keep_dims=True)
            grad_step *= slope
            tl.store(grad_delta + here, grad_step, mask=inside)
            if bias is not None:
                sum_bias += tl.where(inside, grad_step, 0.0)
        q_state = row_of(q, 0, G)

    tl.store(grad_h0 + of_state, q_state, mask=both)
    tl.store(grad_A + of_state, tl.sum(sum_A, axis=0, keep_dims=True), mask=both)
    if D is not None:
        tl.store(grad_D + of_channel, tl.sum(sum_D, axis=0, keep_dims=True), mask=exists)
    if bias is not None:
        tl.store(grad_bias + of_channel, tl.sum(sum_bias, axis=0, keep_dims=True), mask=exists)
