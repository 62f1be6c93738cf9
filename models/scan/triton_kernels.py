# mypy: ignore-errors
# ruff: noqa: RUF005
"""Triton kernels of the linear scan, and the parts that any scan over time is made of.

    h_t = a_t h_{t-1} + b_t                              forward
    g_t = dh_t + conj(a_{t+1}) g_{t+1}                   backward: g, the gradient of b, is a scan
    da_t = g_t conj(h_{t-1})                             that walks the other way

A tile of time is G chunks of K steps. A chunk maps the state before it to the state after it by
h -> A h + E; a thread finds A and E of its own chunks, step after step, the maps of the G chunks
are composed across threads, and every chunk runs once more from its true initial state.

Numbers are tuples, (x,) or (re, im). Step s of a walk is time s or, backwards, time L - 1 - s.
Imported only where triton is: see triton_scan.py.

Shapes: G chunks, K steps of a chunk, C channels of a tile; L length, N channels in all.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def times(a, b, COMPLEX: tl.constexpr):
    """a b"""
    return (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]) if COMPLEX else (a[0] * b[0],)


@triton.jit
def affine(a, h, b, COMPLEX: tl.constexpr):
    """a h + b, in an order that makes every operation a fused multiply-add"""
    if COMPLEX:
        found = (b[0] + a[0] * h[0] - a[1] * h[1], b[1] + a[0] * h[1] + a[1] * h[0])
    else:
        found = (b[0] + a[0] * h[0],)
    return found


@triton.jit
def conj(a, COMPLEX: tl.constexpr):
    return (a[0], -a[1]) if COMPLEX else a


@triton.jit
def compose(a, b, p, q, c, d, r, s):
    """The map (a, b) of some chunks and then (c, d) of others; (p, q), (r, s): of all but their last."""
    return c * a, d + c * b, r * a, s + r * b


@triton.jit
def compose_complex(
    a_re, a_im, b_re, b_im, p_re, p_im, q_re, q_im, c_re, c_im, d_re, d_im, r_re, r_im, s_re, s_im
):  # fmt: skip
    """The same of complex numbers."""
    return (
        c_re * a_re - c_im * a_im,
        c_re * a_im + c_im * a_re,
        d_re + c_re * b_re - c_im * b_im,
        d_im + c_re * b_im + c_im * b_re,
        r_re * a_re - r_im * a_im,
        r_re * a_im + r_im * a_re,
        s_re + r_re * b_re - r_im * b_im,
        s_im + r_re * b_im + r_im * b_re,
    )


@triton.jit
def last_row(x, G: tl.constexpr):
    """[G, C] -> [1, C]"""
    row = tl.arange(0, G)[:, None]
    return tl.sum(tl.where(row == G - 1, x, 0.0), axis=0, keep_dims=True)


@triton.jit
def states_before(decay, end, state, COMPLEX: tl.constexpr):
    """States before each chunk, [G, C], from that before the first, [1, C], and the chunks' maps."""
    zero = tl.zeros_like(end[0])
    one, re = zero + 1.0, zero + decay[0]  # a decay that never changes is one row
    if COMPLEX:
        maps = (re, zero + decay[1], end[0], end[1], one, zero, zero, zero)
        maps = tl.associative_scan(maps, 0, compose_complex)
        before = affine((maps[4], maps[5]), state, (maps[6], maps[7]), True)
    else:
        maps = tl.associative_scan((re, end[0], one, zero), 0, compose)
        before = affine((maps[2],), state, (maps[3],), False)
    return before


@triton.jit
def last_state(h, COMPLEX: tl.constexpr, G: tl.constexpr):
    return (last_row(h[0], G), last_row(h[1], G)) if COMPLEX else (last_row(h[0], G),)


@triton.jit
def time_of(step, length, BACKWARDS: tl.constexpr):
    """In 64 bits: a long sequence of many channels has more numbers than 32 can count."""
    return (length - 1 - step if BACKWARDS else step).to(tl.int64)


@triton.jit
def as_number(x, COMPLEX: tl.constexpr, G: tl.constexpr, C: tl.constexpr):
    """Floats [..., C] or, of complex numbers, pairs of neighbours [..., 2C]."""
    return tl.split(tl.reshape(x, [G, C, 2])) if COMPLEX else (x,)


@triton.jit
def as_floats(x, COMPLEX: tl.constexpr, G: tl.constexpr, C: tl.constexpr):
    """The inverse, of [G, C]."""
    return tl.reshape(tl.join(x[0], x[1]), [G, 2 * C]) if COMPLEX else x[0]


@triton.jit(do_not_specialize=["length"])
def linear_forward(
    length, columns, a, b, h0, h,
    a_batch, a_time, b_batch, b_time,
    BACKWARDS: tl.constexpr, COMPLEX: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Writes h [B, L, columns], contiguous; columns are N numbers or the 2N floats of complex ones."""
    WIDTH: tl.constexpr = 2 * C if COMPLEX else C
    blocks = tl.cdiv(columns, WIDTH)
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks * WIDTH + tl.arange(0, WIDTH))[None, :]
    exists = column < columns
    a += sequence * a_batch + column
    b += sequence * b_batch + column
    h += sequence * length * columns + column
    first = tl.load(h0 + sequence * columns + column, mask=exists, other=0.0)
    state = as_number(first, COMPLEX, 1, C)

    for start in tl.range(0, length, G * K, num_stages=2):
        chunk = start + K * tl.arange(0, G)[:, None]
        a_of, b_of = (), ()
        for k in tl.static_range(K):
            t = time_of(chunk + k, length, BACKWARDS)
            inside = (chunk + k < length) & exists
            a_k = as_number(tl.load(a + t * a_time, mask=inside, other=0.0), COMPLEX, G, C)
            b_k = as_number(tl.load(b + t * b_time, mask=inside, other=0.0), COMPLEX, G, C)
            if k == 0:
                decay, end = a_k, b_k
            else:
                decay, end = times(a_k, decay, COMPLEX), affine(a_k, end, b_k, COMPLEX)
            a_of, b_of = a_of + (a_k,), b_of + (b_k,)

        h_k = states_before(decay, end, state, COMPLEX)
        for k in tl.static_range(K):
            t = time_of(chunk + k, length, BACKWARDS)
            h_k = affine(a_of[k], h_k, b_of[k], COMPLEX)
            tl.store(h + t * columns, as_floats(h_k, COMPLEX, G, C), mask=(chunk + k < length) & exists)
        state = last_state(h_k, COMPLEX, G)


@triton.jit(do_not_specialize=["length"])
def linear_backward(
    length, columns, a, h0, h, grad_h, grad_a, grad_b,
    a_batch, a_time, grad_h_batch, grad_h_time,
    BACKWARDS: tl.constexpr, COMPLEX: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Writes grad_b and, unless it is None, grad_a. BACKWARDS: this walk, not the one that found h."""
    WIDTH: tl.constexpr = 2 * C if COMPLEX else C
    blocks = tl.cdiv(columns, WIDTH)
    sequence = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks * WIDTH + tl.arange(0, WIDTH))[None, :]
    exists = column < columns
    a += sequence * a_batch + column
    grad_h += sequence * grad_h_batch + column
    here = sequence * length * columns + column
    first = tl.load(h0 + sequence * columns + column, mask=exists, other=0.0)
    state = as_number(tl.zeros_like(first), COMPLEX, 1, C)

    for start in tl.range(0, length, G * K, num_stages=2):
        chunk = start + K * tl.arange(0, G)[:, None]
        a_of, dh_of = (), ()
        for k in tl.static_range(K):
            step = chunk + k
            inside = (step < length) & exists
            # what h met after t, this walk met before
            after, t = time_of(step - 1, length, BACKWARDS), time_of(step, length, BACKWARDS)
            a_k = tl.load(a + after * a_time, mask=inside & (step > 0), other=0.0)
            a_k = conj(as_number(a_k, COMPLEX, G, C), COMPLEX)
            dh_k = tl.load(grad_h + t * grad_h_time, mask=inside, other=0.0)
            dh_k = as_number(dh_k, COMPLEX, G, C)
            if k == 0:
                decay, end = a_k, dh_k
            else:
                decay, end = times(a_k, decay, COMPLEX), affine(a_k, end, dh_k, COMPLEX)
            a_of, dh_of = a_of + (a_k,), dh_of + (dh_k,)

        g = states_before(decay, end, state, COMPLEX)
        for k in tl.static_range(K):
            step = chunk + k
            inside = (step < length) & exists
            before, t = time_of(step + 1, length, BACKWARDS), time_of(step, length, BACKWARDS)
            g = affine(a_of[k], g, dh_of[k], COMPLEX)
            tl.store(grad_b + here + t * columns, as_floats(g, COMPLEX, G, C), mask=inside)
            if grad_a is not None:
                h_k = tl.load(h + here + before * columns, mask=inside & (step < length - 1), other=0.0)
                h_k = as_number(tl.where(step == length - 1, first, h_k), COMPLEX, G, C)
                grad_k = times(g, conj(h_k, COMPLEX), COMPLEX)
                tl.store(grad_a + here + t * columns, as_floats(grad_k, COMPLEX, G, C), mask=inside)
        state = last_state(g, COMPLEX, G)
