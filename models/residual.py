"""The pre-norm residual block with a multiplicative gate, around any layer.

Poolformer's ResBlock: u = Norm(x), x <- x + Dropout(W_o (Layer(u) * GELU(W_g u))); without the gate
the branch is GELU(Layer(u)). W_o starts with variance scale / fan_in, so that the sum over all
blocks of a level starts with about the variance of one; the first version of the original had the
whole branch multiplied by a constant instead.

Shapes: B batch, L length, D width, M width of the branch.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State
from models.dropout import Dropout
from models.gated_branch import fits_gated_branch, gated_branch
from models.gelu_gate import gelu_gate
from models.initialization import Dense, output_normal_
from models.state import resume

NormName = Literal["layer", "rms", "none"]
EPSILON = 1e-6


def build_norm(name: NormName, width: int) -> nn.Module:
    """LayerNorm (with bias), RMSNorm or the identity."""
    if name == "layer":
        return nn.LayerNorm(width, eps=EPSILON)
    return nn.RMSNorm(width, eps=EPSILON) if name == "rms" else nn.Identity()


class MLP(Dense):
    """One linear layer to the branch's width; the block's gate and output make it a GEGLU MLP.

    Has a mixer's interface, with nothing to remember.
    """

    def initial_state(self, batch_size: int) -> State:
        return ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self(x), state

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self(x), ()

    def state_size(self, batch_size: int, length: int) -> int:
        return 0


class ResBlock(nn.Module):
    """Float[B, L, D] -> Float[B, L, D] around a layer that maps D to M."""

    def __init__(
        self,
        layer: nn.Module,
        *,
        width: int,
        branch: int,
        norm: NormName,
        gating: bool,
        dropout: float,
        output_scale: float | None,
        branch_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.norm = build_norm(norm, width)
        self.layer: Any = layer  # a mixer or an MLP
        self.gate = Dense(width, branch) if gating else None
        self.output = Dense(branch, width)
        self.dropout = Dropout(dropout)
        self.branch_scale = branch_scale
        output_normal_(self.output.weight, fan_in=branch, scale=output_scale)

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(x)
        return self._add_branch(x, u, None if isinstance(self.layer, MLP) else self.layer(u))

    def _add_branch(self, x: Tensor, u: Tensor, y: Tensor | None) -> Tensor:
        """y is what the layer made of u; None: it is an MLP, which may be found with all that follows it."""
        alone = self.branch_scale == 1 and (self.dropout.p == 0 or not self.training)
        if self.gate is not None and fits_gated_branch(u, self.gate, self.output, y):
            layer = self.layer if y is None else None
            added = x if alone else None
            branch = gated_branch(u, self.gate, self.output, layer=layer, y=y, x=added)
            return branch if alone else x.add(self.dropout(branch), alpha=self.branch_scale)
        y = self.layer(u) if y is None else y
        y = F.gelu(y, approximate="tanh") if self.gate is None else gelu_gate(y, self.gate(u))
        return x.add(self.dropout(self.output(y)), alpha=self.branch_scale)

    def initial_state(self, batch_size: int) -> State:
        return self.layer.initial_state(batch_size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]."""
        u = self.norm(x)
        y, state = self.layer.step(u, state)
        return self._add_branch(x, u, y), state

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue a sequence for L more steps."""
        u = self.norm(x)
        y, state = resume(self.layer, u, state)
        return self._add_branch(x, u, y), state

    def state_size(self, batch_size: int, length: int) -> int:
        return self.layer.state_size(batch_size, length)
