"""A Poolformer's weights and its state for a batch, laid out for sampling.cpp.

Shapes: B batch, D width, E coarse width, P pooling factor, G groups, H hidden, N channels, V vocabulary.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from models.generation.structures import Level, Linear, Network, Recurrence, Residual
from models.mixers.lru import LRU
from models.mixers.rg_lru import RGLRU
from models.poolformer import Poolformer
from models.pooling import (
    AverageDownPool,
    DownPool,
    LinearDownPool,
    LinearUpPool,
    SubsampleDownPool,
    UpPool,
)
from models.residual import MLP, ResBlock
from models.skip_block import SkipBlock, TemporalStack

LANES = 16
"""Outputs that the kernel computes together; matrices are padded to a multiple."""


class CannotTranslate(Exception):
    """The kernel does not know this layer; the message names it."""


class Program:
    """The structures, and the tensors that they point into.

    The weights are copies: a change of the model's is not seen.
    Raises: CannotTranslate
    """

    def __init__(self, model: Poolformer, batch_size: int) -> None:
        self.batch_size = batch_size
        self._kept: list[object] = []
        self._blocks: list[Residual] = []
        self._levels: list[Level] = []
        self._widest = 0
        vocabulary = model.head.out_features
        embedding = model.embedding(torch.arange(vocabulary, device=model.head.weight.device))
        self._level(model.body, model.config.width)
        head = self._normed(model.norm)
        head.layer = self._linear(model.head)
        self.network = Network(
            embedding=self._keep(embedding),
            blocks=(Residual * len(self._blocks))(*self._blocks),
            levels=(Level * len(self._levels))(*self._levels),
            count_levels=len(self._levels),
            vocabulary=vocabulary,
            widest=self._widest,
            head=head,
        )

    # ------------------------------------------------------------------------------- levels

    def _level(self, body: SkipBlock | TemporalStack, width: int) -> None:
        number = len(self._levels)
        if isinstance(body, TemporalStack):
            first, count = self._stack(body, width)
            self._levels.append(Level(width=width, first_up=first, count_up=count))
            return
        self._levels.append(Level())
        first_down, count_down = self._stack(body.down, width)
        first_up, count_up = self._stack(body.up, width)
        down, down_bias = _down_maps(body.down_pool, width)
        up, up_bias = _up_maps(body.up_pool)
        coarse_width, zeros = down.shape[1] * down.shape[3], self._zeros
        self._levels[number] = Level(
            width=width,
            first_down=first_down,
            count_down=count_down,
            first_up=first_up,
            count_up=count_up,
            factor=body.down_pool.factor,
            groups=down.shape[1],
            coarse_width=coarse_width,
            short_skip=body.skip in ("short", "both"),
            long_skip=body.skip in ("long", "both"),
            down=self._keep(down),
            down_bias=self._keep(down_bias),
            up=self._keep(up),
            up_bias=self._keep(up_bias),
            window=zeros(coarse_width),
            coarse=zeros(coarse_width),
        )
        self._level(body.inner, coarse_width)

    def _stack(self, stack: TemporalStack, width: int) -> tuple[int, int]:
        """The place of its first block among all, and how many there are."""
        first = len(self._blocks)
        for block in stack:
            self._blocks.append(self._residual(block, width))
        return first, len(stack)

    # ------------------------------------------------------------------------------- blocks

    def _residual(self, block: ResBlock, width: int) -> Residual:
        found = self._normed(block.norm)
        self._widest = max(self._widest, width)
        if isinstance(block.layer, MLP):
            found.layer = self._linear(block.layer)
        elif type(block.layer) in (RGLRU, LRU):
            found.layer = self._linear(block.layer.input)
            found.recurrence = ctypes.pointer(self._recurrence(block.layer))
        else:
            raise CannotTranslate(f"no kernel steps through {type(block.layer).__name__}")
        if block.gate is not None:
            found.gate = self._linear(block.gate)
        found.output = self._linear(block.output)
        found.scale = block.branch_scale
        return found

    def _normed(self, norm: nn.Module) -> Residual:
        if isinstance(norm, nn.LayerNorm):
            weight, bias = self._keep(norm.weight), self._keep(norm.bias)
            return Residual(norm=1, norm_weight=weight, norm_bias=bias, epsilon=norm.eps)
        if isinstance(norm, nn.RMSNorm):
            return Residual(norm=2, norm_weight=self._keep(norm.weight), epsilon=norm.eps)
        return Residual(norm=0)

    def _recurrence(self, layer: RGLRU | LRU) -> Recurrence:
        log_decay, phase = layer.decay()
        channels, hidden = log_decay.numel(), layer.hidden
        self._widest = max(self._widest, hidden, 2 * channels)
        found = Recurrence(
            recurrence_gate=-1,
            input_gate=-1,
            log_decay=self._keep(log_decay),
            phase=None if phase is None else self._keep(phase),
            channels=channels,
            normalize=layer.config.normalize_input,
            state=self._zeros(hidden),
            output=self._linear(layer.output),
        )
        if isinstance(layer, RGLRU):
            gates, blocks, inputs, outputs = layer.gates.weight.shape
            found.gate_weight = self._keep(layer.gates.weight.permute(1, 2, 0, 3))
            found.gate_bias = self._keep(layer.gates.bias.unflatten(1, (blocks, -1)).transpose(0, 1))
            found.gates, found.blocks, found.block_inputs, found.block_outputs = (
                gates,
                blocks,
                inputs,
                outputs,
            )
            found.recurrence_gate = 0 if layer.config.recurrence_gate else -1
            found.input_gate = gates - 1 if layer.config.input_gate else -1
        return found

    def _linear(self, layer: nn.Linear) -> Linear:
        """From torch's [outputs, inputs] to [outputs / LANES, inputs, LANES], padded with zeros."""
        padded = -(-layer.out_features // LANES) * LANES
        self._widest = max(self._widest, padded)
        weight = layer.weight.new_zeros(padded, layer.in_features)
        weight[: layer.out_features] = layer.weight
        bias = layer.weight.new_zeros(padded)
        bias[: layer.out_features] = layer.bias
        packed = weight.unflatten(0, (-1, LANES)).transpose(1, 2)
        return Linear(self._keep(packed), self._keep(bias), layer.in_features, padded)

    # ------------------------------------------------------------------------------ tensors

    def _keep(self, tensor: Tensor) -> int:
        """The address of a copy that lives as long as the program."""
        copy = tensor.detach().to(torch.float32).contiguous().clone()
        self._kept.append(copy)
        return copy.data_ptr()

    def _zeros(self, width: int) -> int:
        return self._keep(torch.zeros(self.batch_size, width))


def _down_maps(pool: DownPool, width: int) -> tuple[Tensor, Tensor]:
    """As linear maps [P, G, D/G, E/G] and a bias [E]."""
    if isinstance(pool, LinearDownPool):
        return pool.weight, pool.bias
    each = torch.zeros(pool.factor, width, 1, 1)
    if isinstance(pool, AverageDownPool):
        each[:] = 1 / pool.factor
    elif isinstance(pool, SubsampleDownPool):
        each[-1] = 1
    else:
        raise CannotTranslate(f"no kernel steps through {type(pool).__name__}")
    return each, torch.zeros(width)


def _up_maps(pool: UpPool) -> tuple[Tensor, Tensor]:
    """As linear maps [P, G, E/G, D/G] and a bias of each offset [P, D]."""
    if isinstance(pool, LinearUpPool):
        return pool.weight, pool.bias.expand(pool.factor, -1)
    return torch.ones(pool.factor, pool.width, 1, 1), torch.zeros(pool.factor, pool.width)
