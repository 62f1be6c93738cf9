"""Order-k Markov chain with Witten-Bell smoothing: what a short memory can know.

The distribution after a context c of k tokens is interpolated with the one after its last k - 1:

    P(x | c) = (n(c, x) + T(c) P(x | c')) / (N(c) + T(c))

N(c) occurrences of the context, T(c) different tokens seen after it (Witten & Bell 1991; Chen &
Goodman 1998, section 2.5). The recursion ends at the uniform distribution, so an unseen context
falls back to a shorter one, and every token is always possible.

Shapes: B batch, L length, V vocabulary, C contexts, R = V + 1 symbols: the tokens and "before the
start". A context is the number that its symbols spell in base R.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import require

PENDING = 1 << 23
"""N-grams collected before they are sorted and merged: bounds the memory of counting."""


@dataclass(frozen=True, kw_only=True)
class MarkovConfig:
    order: int = 1
    """Tokens of context, 1 to 3."""

    def __post_init__(self) -> None:
        require(1 <= self.order <= 3, "order", f"must be 1, 2 or 3, got {self.order}")

    def check_data(self, vocab_size: int, length: int) -> None:
        """Raises: ConfigError where an n-gram has no 64-bit number."""
        require(
            (vocab_size + 1) ** (self.order + 1) < 2**63,
            "order",
            f"order {self.order} is too high for a vocabulary of {vocab_size}",
        )


class Markov(nn.Module):
    """Order-k Markov chain with Witten-Bell smoothing; counted, not trained."""

    Config = MarkovConfig
    complexity: ClassVar[tuple[str, str]] = ("V", "V")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"order": 2}, {"order": 3})

    def __init__(self, config: MarkovConfig, vocab_size: int = 256) -> None:
        super().__init__()
        config.check_data(vocab_size, 1)
        self.config = config
        self.vocab_size = vocab_size
        self.radix = vocab_size + 1
        for order in range(config.order + 1):  # sorted n-grams of order + 1 symbols that were seen
            self.register_buffer(f"ngrams_{order}", torch.empty(0, dtype=torch.long))
            self.register_buffer(f"counts_{order}", torch.empty(0, dtype=torch.long))

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Count (tokens Long[B, L], true lengths Long[B]) afresh; padding does not count.

        Raises: ValueError for a token outside the vocabulary.
        """
        ngrams = counts = torch.empty(0, dtype=torch.long)
        pending: list[Tensor] = []
        for tokens, lengths in batches:
            pending.append(self._ngrams(tokens.cpu(), lengths.cpu()))
            if sum(map(len, pending)) >= PENDING:
                ngrams, counts = merge([ngrams, *pending], counts)
                pending = []
        ngrams, counts = merge([ngrams, *pending], counts)
        for order in reversed(range(self.config.order + 1)):  # a shorter one's count is a marginal
            ngrams, counts = total(ngrams % self.radix ** (order + 1), counts)
            device = self.get_buffer(f"counts_{order}").device
            setattr(self, f"ngrams_{order}", ngrams.to(device))
            setattr(self, f"counts_{order}", counts.to(device))

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> log-probabilities Float[B, L, V]."""
        if tokens.is_meta:  # shapes only; how many contexts differ depends on the data
            return torch.empty(*tokens.shape, self.vocab_size, device="meta")
        order, length = self.config.order, tokens.shape[1]
        padded = F.pad(tokens, (order, 0), value=self.vocab_size)
        contexts = sum(padded[:, i : i + length] * self.radix ** (order - 1 - i) for i in range(order))
        different, row = torch.unique(contexts, return_inverse=True)
        return self._distribution(different, order).log()[row]

    def initial_state(self, batch_size: int) -> Tensor:
        """Contexts Long[B] of nothing but "before the start"."""
        nothing = self.radix**self.config.order - 1
        return torch.full((batch_size,), nothing, device=self.get_buffer("counts_0").device)

    def step(self, token: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        """Previous token Long[B] (None at the start) -> log-probabilities Float[B, V]."""
        if token is not None:
            state = (state * self.radix + token) % self.radix**self.config.order
        return self._distribution(state, self.config.order).log(), state

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the contexts."""
        return 8 * batch_size

    def _ngrams(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Every token behind its context, Long[total length]."""
        order, length = self.config.order, tokens.shape[1]
        clip = torch.arange(length) < lengths[:, None]
        if clip.any() and not 0 <= tokens[clip].min() <= tokens[clip].max() < self.vocab_size:
            raise ValueError(f"a token is outside the vocabulary of {self.vocab_size}")
        padded = F.pad(tokens.long(), (order, 0), value=self.vocab_size)
        ngrams = torch.zeros_like(tokens, dtype=torch.long)
        for i in range(order + 1):
            ngrams = ngrams * self.radix + padded[:, i : i + length]
        return ngrams[clip]

    def _distribution(self, contexts: Tensor, order: int) -> Tensor:
        """Probabilities of the next token, Float[C, V], after contexts Long[C] of `order` symbols."""
        if order < 0:
            return torch.full((len(contexts), self.vocab_size), 1 / self.vocab_size, device=contexts.device)
        lower = self._distribution(contexts % self.radix ** max(order - 1, 0), order - 1)
        seen = self._counts(contexts, order)
        different = (seen > 0).sum(-1, keepdim=True)
        known = seen.sum(-1, keepdim=True) + different
        return torch.where(known > 0, (seen + different * lower) / known.clamp(min=1), lower)

    def _counts(self, contexts: Tensor, order: int) -> Tensor:
        """How often each token followed, Float[C, V]: a context's n-grams are neighbours."""
        ngrams, counts = self.get_buffer(f"ngrams_{order}"), self.get_buffer(f"counts_{order}")
        first = torch.searchsorted(ngrams, contexts * self.radix)
        found = torch.searchsorted(ngrams, (contexts + 1) * self.radix) - first
        row = torch.arange(len(contexts), device=contexts.device).repeat_interleave(found)
        within = torch.arange(len(row), device=row.device) - (found.cumsum(0) - found)[row]
        entry = first[row] + within
        seen = torch.zeros(len(contexts), self.vocab_size, device=contexts.device)
        seen[row, ngrams[entry] % self.radix] = counts[entry].float()
        return seen

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """The buffers are as long as there are n-grams in the checkpoint."""
        for name, buffer in list(self.named_buffers(recurse=False)):
            if prefix + name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def merge(ngrams: list[Tensor], counts: Tensor) -> tuple[Tensor, Tensor]:
    """Counted n-grams (the first part) and single ones (the others) -> sorted, with their counts."""
    joined = torch.cat(ngrams)
    return total(joined, F.pad(counts, (0, len(joined) - len(counts)), value=1))


def total(ngrams: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted, without repetition, the counts of equal ones added."""
    different, place = torch.unique(ngrams, return_inverse=True)
    return different, torch.zeros_like(different).index_add_(0, place, counts)
