"""WaveNet: gated convolutions whose dilation doubles from layer to layer, all summed for the output.

    z = tanh(W_f u) * sigmoid(W_g u),   u = [x_{t-(K-1)d}, .., x_{t-d}, x_t],   d = 1, 2, 4, .., 2^(N-1)
    x <- x + W_r z                      through N layers, and again in every block
    logits = W_2 relu(W_1 relu(sum over all layers of W_s z))

An output sees 1 + M (K - 1)(2^N - 1) samples: 4093 of the published model's, a quarter of a second.
Before the start stand start tokens without end: what each layer then holds is a constant, computed once
a layer, so that nothing is padded (the published model is given 4093 such tokens before every clip).

Generation keeps the last (K - 1) d inputs of each layer in a ring: O(N M) a sample, whatever it sees
(Le Paine et al. 2016, "Fast WaveNet").

Sources: van den Oord et al. 2016 (WaveNet, arXiv 1609.03499), sections 2.2-2.4, in the form that Goel et
al. 2022 (SaShiMi) compare with (state-spaces/s4, src/models/baselines/wavenet.py), with an embedding in
front. Initial values are torch's own, as there.

Shapes: B batch, L length, D residual channels, H channels of z, K kernel, N layers of a block, M blocks,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import PlacedMixer, Preset, State, require


@dataclass(frozen=True, kw_only=True)
class WaveNetConfig:
    """Any width works; the sizes that are null grow with it, in the published model's proportions."""

    width: int = 64
    """Residual channels."""
    hidden: int | None = None
    """Channels of each gate and filter; null: the width."""
    skip: int | None = None
    """Channels of the sum over all layers; null: 16 widths."""
    end: int | None = None
    """Channels between the last layers; null: 8 widths."""
    embedding: int | None = None
    """Of a token; null: 4 widths."""
    layers: int = 10
    """Of a block; the last one's dilation is 2^(layers - 1)."""
    blocks: int = 4
    kernel: int = 2
    readout: bool = False
    """One more linear map after the last, from logits to logits, as the published model has it."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "blocks"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        for name in ("hidden", "skip", "end", "embedding"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, f"must be at least 1, or null, got {value}")
        require(self.kernel >= 2, "kernel", f"must be at least 2, got {self.kernel}")

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of all layers."""
        return tuple(2**layer for layer in range(self.layers)) * self.blocks

    @property
    def receptive_field(self) -> int:
        """Samples before an output that it depends on."""
        return 1 + (self.kernel - 1) * sum(self.dilations)


class WaveNet(nn.Module):
    """Stacked dilated causal convolutions with gates and skips (van den Oord et al. 2016)."""

    Config: ClassVar[type] = WaveNetConfig
    complexity: ClassVar[tuple[str, str]] = ("D²", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 3, "blocks": 2},
        {
            "width": 6,
            "hidden": 5,
            "skip": 9,
            "end": 7,
            "embedding": 4,
            "layers": 2,
            "blocks": 1,
            "kernel": 3,
            "readout": True,
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"readout": True},
            source="Goel et al. 2022 (SaShiMi, arXiv 2202.09729), table 4: WaveNet, 4.24M; "
            "state-spaces/s4, configs/experiment/audio/wavenet-sc09.yaml",
            parameters=4_240_000,
            train={"batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 0},
            note="The learning rate was cut to a fifth where the validation loss stood still; here it is "
            "constant. The last layer's residual map, which nothing reads, is left out.",
        )
    }

    def __init__(self, config: WaveNetConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.start_token = vocab_size // 2  # silence, in mu-law and in linear audio
        width, hidden = config.width, config.hidden or config.width
        skip, end = config.skip or 16 * width, config.end or 8 * width
        embedding = config.embedding or 4 * width
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.start = nn.Linear(embedding, width, bias=False)
        count = len(config.dilations)
        self.gates: Any = nn.ModuleList(
            GatedConvolution(width, hidden, config.kernel, dilation) for dilation in config.dilations
        )
        self.residuals: Any = nn.ModuleList(nn.Linear(hidden, width, bias=False) for _ in range(count - 1))
        self.skip = nn.Linear(count * hidden, skip, bias=False)  # all layers' W_s: their sum in one product
        self.end = nn.Sequential(nn.ReLU(), nn.Linear(skip, end), nn.ReLU(), nn.Linear(end, vocab_size))
        if config.readout:
            self.end.append(nn.Linear(vocab_size, vocab_size))
        bound = hidden**-0.5  # as of one map a layer
        nn.init.uniform_(self.skip.weight, -bound, bound)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        return self.resume(tokens, self.initial_state(len(tokens)))[0]

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        last, rings, steps = state
        if last is None:
            raise ValueError("a state of `step` lacks the token before the next ones; resume one of `resume`")
        x = self.start(self.embedding(torch.cat((last.unsqueeze(1), tokens[:, :-1]), dim=1)))
        after, gated = [], []
        for index, (gate, ring) in enumerate(zip(self.gates, rings, strict=True)):
            past = ring.roll(-(steps % ring.shape[1]), dims=1) if steps else ring  # the oldest first
            z, ring_after = gate.resume(x, past)
            after.append(ring_after)
            gated.append(z)
            x = self._add(index, x, gated[-1])
        return self.end(self.skip(torch.cat(gated, dim=-1))), (tokens[:, -1].clone(), after, 0)

    def mixers(self) -> list[PlacedMixer]:
        """The dilated convolutions, each of a layer; a cut one reads start tokens before the cut."""
        with torch.no_grad():
            _, rings, _ = self.initial_state(1)
        return [
            PlacedMixer(layer=gate, level=level, resume=partial(gate.from_start, ring))
            for level, (gate, ring) in enumerate(zip(self.gates, rings, strict=True))
        ]

    def initial_state(self, batch_size: int) -> State:
        """The token before the next one, Long[B], the layers' rings, and the steps made since their start.

        Every ring Float[B, (K - 1) d, D] holds what the layer's input is after start tokens without end.
        """
        token = torch.full((batch_size,), self.start_token, device=self.skip.weight.device)
        x = self.start(self.embedding(token))
        rings = []
        for index, gate in enumerate(self.gates):
            rings.append(x.unsqueeze(1).repeat(1, gate.reach, 1))
            x = self._add(index, x, gate.gated(x.repeat(1, self.config.kernel)))
        return token, rings, 0

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next.

        Writes into the rings of the state it is given: a state is good for one continuation.
        """
        last, rings, steps = state
        x = self.start(self.embedding(last if token is None else token))
        gated = []
        for index, (gate, ring) in enumerate(zip(self.gates, rings, strict=True)):
            gated.append(gate.step(x, ring, steps))
            x = self._add(index, x, gated[-1])
        return self.end(self.skip(torch.cat(gated, dim=-1))), (None, rings, steps + 1)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        last = batch_size * torch.long.itemsize if length == 0 else 0
        steps = self.config.receptive_field - 1
        return last + batch_size * steps * self.config.width * self.skip.weight.element_size()

    def _add(self, index: int, x: Tensor, z: Tensor) -> Tensor:
        """The next layer's input; nothing reads the last one's."""
        return x + self.residuals[index](z) if index < len(self.residuals) else x


class GatedConvolution(nn.Module):
    """tanh(W_f u) * sigmoid(W_g u) of K inputs, d steps apart, both maps in one product, without biases."""

    def __init__(self, width: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.kernel, self.dilation, self.reach = kernel, dilation, (kernel - 1) * dilation
        self.weight = nn.Parameter(
            torch.empty(2 * hidden, kernel * width)
        )  # filter and gate; the oldest tap first
        bound = (kernel * width) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def resume(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Float[B, L, D] after the (K - 1) d inputs before -> Float[B, L, H] and those before the next."""
        length = x.shape[1]
        window = torch.cat((past, x), dim=1)
        taps = [window[:, tap * self.dilation :][:, :length] for tap in range(self.kernel)]
        return self.gated(torch.cat(taps, dim=-1)), window[:, length:].clone()  # a view would keep all

    def from_start(self, start: Tensor, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """`resume`, where None stands for a start whose inputs before are Float[1, (K - 1) d, D]."""
        return GatedConvolution.resume(self, x, start.expand(len(x), -1, -1) if past is None else past)

    def step(self, x: Tensor, ring: Tensor, steps: int) -> Tensor:
        """Float[B, D] -> Float[B, H]; it takes the place of the ring's oldest."""
        before = [ring[:, (steps + tap * self.dilation) % self.reach] for tap in range(self.kernel - 1)]
        z = self.gated(torch.cat((*before, x), dim=-1))
        ring[:, steps % self.reach] = x
        return z

    def gated(self, taps: Tensor) -> Tensor:
        """Float[..., K D] -> Float[..., H]."""
        values, gates = F.linear(taps, self.weight).chunk(2, dim=-1)
        return torch.tanh(values) * torch.sigmoid(gates)
