"""Sampling by the C++ kernel: a whole step of all levels, for many steps, in one call.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from models.generation.program import CannotTranslate, Program
from models.generation.structures import Draw
from models.native.build import library
from models.native.call import address, reason_against
from models.poolformer import Poolformer


class NativeDrawer:
    """A `harness.contracts.Drawer` of a Poolformer on a CPU, in float32.

    Raises: CannotTranslate for a model, or a machine, that the kernel does not fit, with the reason.
    """

    backend = "native"

    def __init__(self, model: Poolformer, batch_size: int) -> None:
        weight = model.head.weight
        reason = reason_against("sampling")
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            reason = f"the kernel computes in float32 on a CPU, not in {weight.dtype} on {weight.device}"
        if reason is not None:
            raise CannotTranslate(reason)
        self._program = Program(model, batch_size)
        self._vocabulary = model.head.out_features
        self._before = torch.full((batch_size,), model.start_token)
        self._steps = 0

    def draw(self, uniforms: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
        """See `harness.contracts.Drawer`."""
        tokens = torch.empty(uniforms.shape, dtype=torch.long)
        return tokens, self._run(tokens, uniforms.contiguous(), temperature=temperature, top_p=top_p)

    def read(self, tokens: Tensor) -> Tensor:
        """The logits Float[B, L, V] of given tokens Long[B, L], after which drawing goes on."""
        logits = torch.empty(*tokens.shape, self._vocabulary)
        self._run(tokens.contiguous(), logits=logits)
        return logits

    def _run(
        self,
        tokens: Tensor,
        uniforms: Tensor | None = None,
        logits: Tensor | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> Tensor:
        batch, steps = tokens.shape
        if batch != self._program.batch_size:
            raise ValueError(f"must be {self._program.batch_size} clips, as the state is of, got {batch}")
        log_likelihood = torch.zeros(batch, dtype=torch.float64)
        what = Draw(
            first_step=self._steps,
            steps=steps,
            batch=batch,
            before=address(self._before),
            uniforms=address(uniforms),
            tokens=address(tokens),
            logits=address(logits),
            log_likelihood=address(log_likelihood),
            temperature=temperature,
            top_p=top_p,
        )
        threads = ctypes.c_int64(torch.get_num_threads())
        library("sampling").draw(ctypes.byref(self._program.network), ctypes.byref(what), threads)
        if steps:
            self._before, self._steps = tokens[:, -1].clone(), self._steps + steps
        return log_likelihood
