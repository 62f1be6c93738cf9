"""The structures that sampling.cpp describes a network with; see there for what the fields mean."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_int64, c_void_p


class Linear(ctypes.Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("inputs", c_int64), ("outputs", c_int64))


class Recurrence(ctypes.Structure):
    _fields_ = (
        ("gate_weight", c_void_p),
        ("gate_bias", c_void_p),
        ("blocks", c_int64),
        ("block_inputs", c_int64),
        ("block_outputs", c_int64),
        ("gates", c_int64),
        ("recurrence_gate", c_int64),
        ("input_gate", c_int64),
        ("log_decay", c_void_p),
        ("phase", c_void_p),
        ("channels", c_int64),
        ("normalize", c_int64),
        ("state", c_void_p),
        ("output", Linear),
    )


class Residual(ctypes.Structure):
    _fields_ = (
        ("norm", c_int64),
        ("norm_weight", c_void_p),
        ("norm_bias", c_void_p),
        ("epsilon", c_double),
        ("layer", Linear),
        ("recurrence", POINTER(Recurrence)),
        ("gate", Linear),
        ("output", Linear),
        ("scale", c_double),
    )


class Level(ctypes.Structure):
    _fields_ = (
        ("width", c_int64),
        ("first_down", c_int64),
        ("count_down", c_int64),
        ("first_up", c_int64),
        ("count_up", c_int64),
        ("factor", c_int64),
        ("groups", c_int64),
        ("coarse_width", c_int64),
        ("short_skip", c_int64),
        ("long_skip", c_int64),
        ("down", c_void_p),
        ("down_bias", c_void_p),
        ("up", c_void_p),
        ("up_bias", c_void_p),
        ("window", c_void_p),
        ("coarse", c_void_p),
    )


class Network(ctypes.Structure):
    _fields_ = (
        ("embedding", c_void_p),
        ("blocks", POINTER(Residual)),
        ("levels", POINTER(Level)),
        ("count_levels", c_int64),
        ("vocabulary", c_int64),
        ("widest", c_int64),
        ("head", Residual),
    )


class Draw(ctypes.Structure):
    _fields_ = (
        ("first_step", c_int64),
        ("steps", c_int64),
        ("batch", c_int64),
        ("before", c_void_p),
        ("uniforms", c_void_p),
        ("tokens", c_void_p),
        ("logits", c_void_p),
        ("log_likelihood", c_void_p),
        ("temperature", c_double),
        ("top_p", c_double),
    )
