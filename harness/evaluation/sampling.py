"""Ancestral sampling: every token is drawn from the model's distribution after those before it.

One uniform number decides a token: the first at which the running sum of probabilities exceeds it.
Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.contracts import Drawer, SequenceModel
from harness.training.average import evaluating


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Drawn clips and how likely the model itself finds them, whatever the temperature."""

    tokens: Tensor  # Long[B, L]
    log_likelihood_bits: Tensor  # Float64[B], log2 p(clip)


class Sampler:
    """Draws clips side by side; it can be stopped and continued anywhere.

    `generator` lives on the device; the same generator state gives the same tokens. `temperature`
    divides the logits; `top_p` below 1 keeps of each distribution the fewest likeliest tokens that
    together are at least as likely.

    Attributes:
        backend: "step", or the name of the model's own faster way (`contracts.Drawer`).
        log_likelihood: Float64[B], nats of all tokens so far in the model's own distribution.
    Raises: ValueError for a temperature that is not above 0 or a top_p outside (0, 1].
    """

    def __init__(
        self,
        model: SequenceModel,
        batch_size: int,
        *,
        generator: torch.Generator,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
        own = getattr(model, "drawer", lambda batch_size: None)(batch_size)
        self._drawer: Drawer = own or StepByStep(model, batch_size)
        self.backend = self._drawer.backend
        self.generator = generator
        self.batch_size = batch_size
        self.options = {"temperature": temperature, "top_p": top_p}
        self.log_likelihood = torch.zeros(batch_size, dtype=torch.float64, device=generator.device)

    def draw(self, steps: int) -> Tensor:
        """The next tokens of every clip, Long[B, steps]. Does not wait for the device."""
        size = steps, self.batch_size  # step by step, so that a cut does not change what is drawn
        device = self.generator.device
        return self.draw_by(torch.rand(size, dtype=torch.float64, generator=self.generator, device=device).T)

    @torch.inference_mode()
    def draw_by(self, uniforms: Tensor) -> Tensor:
        """The same by numbers of the caller's, Float64[B, steps] of [0, 1), in place of the generator's."""
        tokens, log_likelihood = self._drawer.draw(uniforms, **self.options)
        self.log_likelihood += log_likelihood
        return tokens


class StepByStep:
    """Draws through a model's `step`."""

    backend = "step"

    def __init__(self, model: SequenceModel, batch_size: int) -> None:
        self.model = model
        self._token: Tensor | None = None
        self._state = model.initial_state(batch_size)

    def draw(self, uniforms: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
        """See `contracts.Drawer`."""
        tokens = []
        log_likelihood = torch.zeros_like(uniforms[:, 0])
        for uniform in uniforms.unbind(1):
            logits, self._state = self.model.step(self._token, self._state)
            log_p = logits.double().log_softmax(-1)
            self._token = choose((log_p / temperature).softmax(-1), uniform, top_p)
            log_likelihood += log_p.gather(-1, self._token[:, None])[:, 0]
            tokens.append(self._token)
        return torch.stack(tokens, dim=1), log_likelihood


def choose(probabilities: Tensor, uniform: Tensor, top_p: float = 1.0) -> Tensor:
    """Float64[B, V] and numbers of [0, 1), Float64[B] -> tokens Long[B]."""
    if top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        kept = ordered.masked_fill(ordered.cumsum(-1) - ordered >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, kept)
    reached = probabilities.cumsum(-1)
    # The last of them is what they sum to, rounding included, so that some token always exceeds.
    return (reached <= uniform[:, None] * reached[:, -1:]).sum(-1)


def sample(
    model: nn.Module,
    batch_size: int,
    length: int,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Samples:
    """Draw `batch_size` clips of `length` tokens, in evaluation mode, on the generator's device.

    Raises: ValueError, as `Sampler` does.
    """
    with evaluating(model):
        sampler = Sampler(
            model,  # type: ignore[arg-type]
            batch_size,
            generator=generator,
            temperature=temperature,
            top_p=top_p,
        )
        tokens = sampler.draw(length)
    return Samples(tokens=tokens, log_likelihood_bits=sampler.log_likelihood / math.log(2))
