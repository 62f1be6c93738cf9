"""The linear recurrent unit: the RG-LRU without its gates, so that the decay is the same at every step.

    h_t = a h_{t-1} + sqrt(1 - |a|^2) W_in u_t,   a = exp(-c softplus(rate) + i phase),   y = W_out h

Source: Orvieto et al. 2023, eq. 6 to 8, in the form of the Poolformer code, which keeps the factor
c = 8 of the gated unit: decays start at 0.43 to 0.92, so short a memory that c is worth varying.

Shapes: B batch, L length, D width, N channels.
"""

from __future__ import annotations

from torch import Tensor

from harness.contracts import State
from models.initialization import Dense
from models.mixers.recurrence import RingConfig, RingDecay, ScannedMixer
from models.scan import gated_scan


class LRU(ScannedMixer):
    """Linear recurrence without gates, complex decays."""

    Config = RingConfig

    def __init__(self, config: RingConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.config = config
        self.scan = config.scan
        self.hidden = config.hidden or 2 * width
        self.input = Dense(width, self.hidden)
        self.decay = RingDecay(config, self.hidden // 2 if config.complex else self.hidden, stride)
        self.output = Dense(self.hidden, width)

    def log_decays(self, x: Tensor) -> Tensor:
        """Of any step, Float[N]."""
        return self.decay()[0]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        log_decay, phase = self.decay()
        h = gated_scan(
            self.input(x),
            state,
            log_decay=log_decay,
            phase=phase,
            normalize=self.config.normalize_input,
            backend=self.scan,
            check=False,
        )
        return self.output(h.to(x.dtype)), h[:, -1]
