"""SampleRNN: recurrent tiers at several frame rates, and a multilayer perceptron that writes the samples.

    tier i, once every n_i samples:   g = W x + u,   x the n_i last amplitudes, u from the tier above
                                      h <- GRU(g, h),   u for the tier below = V_j h + b_j,  j < f_i
    every sample:                     logits = W_3 relu(W_2 relu(W_1 e + u)),   e embeddings of the n_1 last

with n_1 = f_1 and n_i = n_{i-1} f_i: frames of (8, 2, 2) are those of 8, 16 and 32 samples. Before the
start stand start tokens. The first states of the GRUs are learned; W, V and the W's of the perceptron
have weight normalisation (Salimans & Kingma 2016), a gain for each output, for V each input. Amplitudes
are those that the tokens stand for, doubled.

Truncated backpropagation through time: in `forward` and `resume` the states of the GRUs are cut off from
their past every `truncate` samples, counted from where the call begins. Values are as without; gradients
do not pass. All chunks of a clip are one update here, where the original makes one of each chunk and
hands on its last states.

Sources: Mehri et al. 2017 (SampleRNN, arXiv 1612.07837), section 2, in the form that Goel et al. 2022
(SaShiMi) compare with (state-spaces/s4, src/models/baselines/samplernn.py), initial values included.

Shapes: B batch, L length, D width, M frames, n samples of a frame, f frames of the tier below, E embedding,
N samples of the highest tier's frame, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import PlacedMixer, Preset, State, report_flops, require


@dataclass(frozen=True, kw_only=True)
class SampleRNNConfig:
    """Any width works."""

    width: int = 128
    """Of the GRUs and the perceptron."""
    frames: tuple[int, ...] = (8, 2, 2)
    """Samples of the lowest tier's frame, then of each tier how many frames of the one below."""
    layers: int = 1
    """Of each tier's GRU."""
    embedding: int | None = None
    """Of a token in front of the perceptron; null: a quarter of the width."""
    quantization: Literal["mu_law", "linear"] = "mu_law"
    """What amplitudes the tokens stand for."""
    weight_norm: bool = True
    learned_start: bool = True
    """Whether the GRUs' first states are learned; else zero."""
    truncate: int | None = 1024
    """Samples through which gradients pass back, a multiple of the highest frame; null: all."""

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(len(self.frames) >= 1, "frames", "needs at least one tier")
        for factor in self.frames:
            require(factor >= 1, "frames", f"every factor must be at least 1, got {factor}")
        require(self.embedding is None or self.embedding >= 1, "embedding", "must be at least 1, or null")
        highest = self.tiers[-1]
        message = f"must be a multiple of the highest frame, {highest} samples, or null, got {self.truncate}"
        cuts = self.truncate is None or (self.truncate >= 1 and self.truncate % highest == 0)
        require(cuts, "truncate", message)

    @property
    def tiers(self) -> tuple[int, ...]:
        """Samples of each tier's frame, the lowest first."""
        return tuple(itertools.accumulate(self.frames, lambda a, b: a * b))


class SampleRNN(nn.Module):
    """Tiers of GRUs over frames of 32, 16 and 8 samples, and a perceptron a sample (Mehri et al. 2017)."""

    Config: ClassVar[type] = SampleRNNConfig
    complexity: ClassVar[tuple[str, str]] = ("D², in part in sequence", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 12, "frames": [4, 2, 2], "truncate": 32},
        {
            "width": 7,
            "frames": [3],
            "layers": 2,
            "embedding": 5,
            "quantization": "linear",
            "weight_norm": False,
            "learned_start": False,
            "truncate": None,
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 1024},
            source="Goel et al. 2022 (SaShiMi, arXiv 2202.09729), table 4: SampleRNN, 35.0M; "
            "state-spaces/s4, configs/experiment/audio/samplernn-sc09.yaml",
            parameters=35_000_000,
            train={"batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 0},
            note="There every chunk of 1024 samples is an update, gradients are clipped to 1 element by "
            "element, and the learning rate is cut to a fifth where the validation loss stands still.",
        )
    }

    def __init__(self, config: SampleRNNConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.start_token = vocab_size // 2  # silence
        self.tiers: Any = nn.ModuleList(
            Tier(config, samples, parts) for samples, parts in zip(config.tiers, config.frames, strict=True)
        )
        self.perceptron = Perceptron(config, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        return self.resume(tokens, self.initial_state(len(tokens)))[0]

    def mixers(self) -> list[PlacedMixer]:
        """The GRUs, the fastest tier's first."""
        return [
            PlacedMixer(layer=tier.rnn, level=level, stride=tier.samples, resume=tier.remember)
            for level, tier in enumerate(self.tiers)
        ]

    @property
    def period(self) -> int:
        """Samples of the highest tier's frame: `resume` begins with one."""
        return self.config.tiers[-1]

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        That state is None unless L is a multiple of `period`.
        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        if "last" not in state:
            raise ValueError("a state of `step` lacks the last token; resume from a state of `resume`")
        length, highest = tokens.shape[1], self.period
        known = torch.cat((state["past"], state["last"].unsqueeze(1), tokens), dim=1)
        hidden: list[Tensor] = [*state["hidden"]]
        above: Any = None
        for index in reversed(range(len(self.tiers))):
            tier = self.tiers[index]
            frames = -(-length // tier.samples)
            first = highest - tier.samples
            x = self._amplitudes(known[:, first : first + frames * tier.samples]).unflatten(1, (frames, -1))
            above, hidden[index] = tier(x, None if above is None else above[:, :frames], hidden[index])
        lowest = self.tiers[0].samples
        logits = self.perceptron(known[:, highest - lowest : -1], above[:, :length])
        if length % highest:
            return logits, None
        return logits, {
            "last": tokens[:, -1].clone(),
            "past": known[:, -highest:-1].clone(),
            "steps": 0,
            "hidden": hidden,
            "held": self._held(len(tokens)),
        }

    def initial_state(self, batch_size: int) -> State:
        """The last tokens, the steps made, and of each tier its GRU's state and what it gives the tier below.

        last: Long[B], the token before the next one; past: Long[B, N - 1], those before it.
        hidden: Float[layers, B, D] each; held: Float[B, f, D] each.
        """
        device = self.perceptron.embedding.weight.device
        window = torch.full((batch_size, self.period), self.start_token, device=device)
        return {
            "last": window[:, -1].clone(),
            "past": window[:, 1:].clone(),
            "steps": 0,
            "hidden": [tier.first(batch_size) for tier in self.tiers],
            "held": self._held(batch_size),
        }

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next.

        A tier runs where one of its frames begins, and gives what it held otherwise.
        """
        last, steps = state["last"] if token is None else token, state["steps"]
        window = torch.cat((state["past"], last.unsqueeze(1)), dim=1)
        hidden, held = [*state["hidden"]], [*state["held"]]
        above = None
        for index in reversed(range(len(self.tiers))):
            tier = self.tiers[index]
            if steps % tier.samples == 0:
                x = self._amplitudes(window[:, -tier.samples :]).unsqueeze(1)
                held[index], hidden[index] = tier(x, above, hidden[index])
            part = steps % tier.samples // (tier.samples // tier.parts)
            above = held[index][:, part : part + 1]
        logits = self.perceptron(window[:, -self.tiers[0].samples :], above).squeeze(1)
        steps = (steps + 1) % self.period
        return logits, {"past": window[:, 1:].clone(), "steps": steps, "hidden": hidden, "held": held}

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        config = self.config
        tokens = self.period if length == 0 else self.period - 1
        values = config.width * (len(config.tiers) * config.layers + sum(config.frames))
        itemsize = self.perceptron.embedding.weight.element_size()
        return batch_size * (tokens * torch.long.itemsize + values * itemsize)

    def _held(self, batch_size: int) -> list[Tensor]:
        weight = self.perceptron.embedding.weight
        return [weight.new_zeros(batch_size, parts, self.config.width) for parts in self.config.frames]

    def _amplitudes(self, tokens: Tensor) -> Tensor:
        """Long[...] -> Float[...] in [-2, 2)."""
        x = tokens.to(self.perceptron.embedding.weight.dtype) * (2 / self.vocab_size) - 1
        if self.config.quantization == "mu_law":
            x = x.sign() * torch.expm1(x.abs() * math.log(self.vocab_size)) / (self.vocab_size - 1)
        return 2 * x


class Tier(nn.Module):
    """A GRU once a frame, and its upsampling to the frames of the tier below."""

    def __init__(self, config: SampleRNNConfig, samples: int, parts: int) -> None:
        super().__init__()
        width = config.width
        self.samples, self.parts, self.layers, self.width = samples, parts, config.layers, width
        self.truncate = None if config.truncate is None else config.truncate // samples
        self.input = Weight((width, samples), math.sqrt(6 / samples), normalised=config.weight_norm)
        self.input_bias = nn.Parameter(torch.zeros(width))
        self.rnn = nn.GRU(width, width, config.layers, batch_first=True)
        _initialise_gru(self.rnn)
        start = torch.zeros(config.layers, 1, width)
        self.start = nn.Parameter(start) if config.learned_start else None
        self.output = Weight((width, parts * width), math.sqrt(6 / width), normalised=config.weight_norm)
        self.output_bias = nn.Parameter(torch.zeros(parts * width))

    def forward(self, x: Tensor, above: Tensor | None, h: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitudes Float[B, M, n], and Float[B, M, D] of the tier above -> Float[B, M f, D], last state."""
        g = F.linear(x, self.input(), self.input_bias)
        g = g if above is None else g + above
        if x.device.type == "cuda":  # torch's counter does not look into cuDNN
            report_flops(self.layers * 12 * g.numel() * self.width)
        whole = self.truncate is None or not torch.is_grad_enabled()
        states: list[Tensor] = []
        for piece in (g,) if whole else g.split(self.truncate, dim=1):
            y, h = self.rnn(piece, h.detach() if states else h)
            states.append(y)
        y = torch.cat(states, dim=1) @ self.output() + self.output_bias
        return y.unflatten(-1, (self.parts, -1)).flatten(1, 2), h

    def remember(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """The GRU by itself after a state (None: the start), Float[B, M, D] -> Float[B, M, D]."""
        return nn.GRU.forward(self.rnn, x, self.first(len(x)) if h is None else h)

    def first(self, batch_size: int) -> Tensor:
        if self.start is None:
            return self.output_bias.new_zeros(self.layers, batch_size, self.width)
        return self.start.repeat(1, batch_size, 1)


class Perceptron(nn.Module):
    """The n last tokens and the tiers -> logits of the next."""

    def __init__(self, config: SampleRNNConfig, vocab_size: int) -> None:
        super().__init__()
        width, taps = config.width, config.frames[0]
        embedding = config.embedding or max(1, width // 4)
        self.embedding = nn.Embedding(vocab_size, embedding)
        bound, normalised = math.sqrt(6 / (taps * embedding)), config.weight_norm
        self.input = Weight((width, embedding, taps), bound, normalised=normalised)
        self.hidden = Weight((width, width), math.sqrt(6 / width), normalised=normalised)
        self.hidden_bias = nn.Parameter(torch.zeros(width))
        self.output = Weight((vocab_size, width), math.sqrt(3 / width), normalised=normalised)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Tensor, above: Tensor) -> Tensor:
        """Long[B, L + n - 1] and Float[B, L, D] -> Float[B, L, V]."""
        e = self.embedding(tokens).mT
        if above.shape[1] == 1:  # for which a convolution takes longer to set up than to run
            x = F.linear(e.flatten(1), self.input().flatten(1)).unsqueeze(1)
        else:
            x = F.conv1d(e, self.input()).mT
        x = F.relu(x + above)
        x = F.relu(F.linear(x, self.hidden(), self.hidden_bias))
        return F.linear(x, self.output(), self.output_bias)


class Weight(nn.Module):
    """A weight whose rows (all that belongs to an index of the first axis) have a learned norm each."""

    def __init__(self, shape: tuple[int, ...], bound: float, *, normalised: bool) -> None:
        """bound: of the uniform initial values, which the first norms are those of."""
        super().__init__()
        self.direction = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        # a vector, which optimisers know not to decay
        self.gain = nn.Parameter(self._norms().detach().flatten()) if normalised else None

    def forward(self) -> Tensor:
        if self.gain is None:
            return self.direction
        norms = self._norms()
        return self.direction * (self.gain.view_as(norms) / norms)

    def _norms(self) -> Tensor:
        return self.direction.square().sum(tuple(range(1, self.direction.ndim)), keepdim=True).sqrt()


def _initialise_gru(rnn: nn.GRU) -> None:
    """Uniform with variance 1 / fan-in; the candidate's recurrent weights orthogonal; biases zero."""
    bound = math.sqrt(3 / rnn.hidden_size)
    for name, parameter in rnn.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        nn.init.uniform_(parameter, -bound, bound)
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter[2 * rnn.hidden_size :].detach())
