"""Ancestral sampling through `step`. Shapes: B batch, L length, V vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.contracts import SequenceModel
from harness.training.average import evaluating


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Drawn clips and how likely the model itself finds them, whatever the temperature."""

    tokens: Tensor  # Long[B, L]
    log_likelihood_bits: Tensor  # Float64[B], log2 p(clip)


class Sampler:
    """Draws token after token; it can be stopped and continued anywhere.

    `generator` lives on the device; the same generator state gives the same tokens.
    """

    def __init__(
        self,
        model: SequenceModel,
        batch_size: int,
        *,
        generator: torch.Generator,
        temperature: float = 1.0,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.model = model
        self.generator = generator
        self.temperature = temperature
        self.log_likelihood = torch.zeros(batch_size, dtype=torch.float64, device=generator.device)
        self._token: Tensor | None = None
        self._state = model.initial_state(batch_size)

    @torch.inference_mode()
    def next(self) -> Tensor:
        """The next token of every clip, Long[B]. Does not wait for the device."""
        logits, self._state = self.model.step(self._token, self._state)
        log_p = logits.double().log_softmax(-1)
        # argmax p_v / e_v with exponential e_v is a draw from p (the Gumbel-max trick); unlike
        # torch.multinomial it never waits for a GPU. In float32 one e_v in 2^24 would be zero.
        noise = torch.empty_like(log_p).exponential_(generator=self.generator)
        self._token = (log_p / self.temperature - noise.log()).argmax(-1)
        self.log_likelihood += log_p.gather(-1, self._token[:, None])[:, 0]
        return self._token


def sample(
    model: nn.Module,
    batch_size: int,
    length: int,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Samples:
    """Draw `batch_size` clips of `length` tokens, in evaluation mode, on the generator's device.

    Raises: ValueError for a temperature that is not above 0.
    """
    with evaluating(model):
        sampler = Sampler(model, batch_size, generator=generator, temperature=temperature)  # type: ignore[arg-type]
        tokens = torch.stack([sampler.next() for _ in range(length)], dim=1)
    return Samples(tokens=tokens, log_likelihood_bits=sampler.log_likelihood / math.log(2))
