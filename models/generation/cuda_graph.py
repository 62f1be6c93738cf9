"""Drawing by one CUDA graph of a whole pooling period: all of its kernels are launched at once.

Between two periods every tensor of the state has the same shape, so one recording serves for all.
Steps before the next border of a period, and after the last, run one by one.

Shapes: B batch, L length, V vocabulary, P samples of a period.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.poolformer import Poolformer
from models.state import map_tensors, tensors_of


class PeriodDrawer:
    """A `harness.contracts.Drawer` of a Poolformer whose mixers' states do not grow.

    On a CUDA device a period is recorded once and replayed; elsewhere it runs as it is, which is what
    the tests do. The weights may not move in memory as long as it is in use.
    """

    backend = "cuda_graph"

    def __init__(self, model: Poolformer, batch_size: int) -> None:
        self._model = model
        weight = model.head.weight
        state = model.initial_state(batch_size)
        self._token, self._levels = state["last"], state["levels"]
        self._position = 0
        double = torch.zeros((), dtype=torch.float64, device=weight.device)
        # what a recording reads and writes: the state at a border, and one period's numbers
        self._border = tensors_of(self._levels)
        self._uniforms = double.new_zeros(batch_size, model.period)
        self._temperature, self._top_p = double.new_ones(()), double.new_ones(())
        self._tokens = torch.zeros(batch_size, model.period, dtype=torch.long, device=weight.device)
        self._log_likelihood = double.new_zeros(batch_size)
        self._replay = self._recorded() if weight.is_cuda else self._run_period

    @staticmethod
    def fits(model: Poolformer) -> bool:
        """Whether the state has the same shapes at every border."""
        border = [tensor.shape for tensor in tensors_of(model.initial_state(1)["levels"])]
        with torch.no_grad():
            token = torch.zeros(1, model.period, dtype=torch.long, device=model.head.weight.device)
            _, state = model.resume(token, model.initial_state(1))
        return border == [tensor.shape for tensor in tensors_of(state["levels"])]

    @torch.no_grad()
    def draw(self, uniforms: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
        """See `harness.contracts.Drawer`."""
        self._temperature.fill_(temperature)
        self._top_p.fill_(top_p)
        self._log_likelihood.zero_()
        tokens, done, length = [], 0, uniforms.shape[1]
        while done < length:
            if self._position == 0 and length - done >= self._model.period:
                count = self._model.period
                self._uniforms.copy_(uniforms[:, done : done + count])
                self._replay()
                tokens.append(self._tokens.clone())
            else:
                count = 1
                self._step(uniforms[:, done])
                tokens.append(self._token.unsqueeze(1).clone())
                self._position = (self._position + 1) % self._model.period
                if self._position == 0:
                    self._return_to_border()
            done += count
        return torch.cat(tokens, dim=1), self._log_likelihood.clone()

    def _step(self, uniform: Tensor) -> None:
        logits, state = self._model.step(self._token, {"levels": self._levels})
        self._levels = state["levels"]
        log_p = logits.double().log_softmax(-1)
        ordered, order = (log_p / self._temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        kept = ordered.masked_fill(ordered.cumsum(-1) - ordered >= self._top_p, 0.0)
        reached = torch.zeros_like(kept).scatter(-1, order, kept).cumsum(-1)
        token = (reached <= uniform[:, None] * reached[:, -1:]).sum(-1)
        self._token.copy_(token)
        self._log_likelihood += log_p.gather(-1, token[:, None])[:, 0]

    def _run_period(self) -> None:
        for number, uniform in enumerate(self._uniforms.unbind(1)):
            self._step(uniform)
            self._tokens[:, number] = self._token
        self._return_to_border()

    def _return_to_border(self) -> None:
        """The state into the tensors that it had at the last border."""
        border = iter(self._border)
        self._levels = map_tensors(lambda new: next(border).copy_(new), self._levels)

    def _recorded(self) -> Callable[[], None]:
        """Records a period; what was there before is put back."""
        own = [*self._border, self._token, self._log_likelihood]
        before = [tensor.clone() for tensor in own]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            self._run_period()  # libraries set themselves up outside the recording
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), torch.no_grad():
            self._run_period()
        for tensor, value in zip(own, before, strict=True):
            tensor.copy_(value)
        return graph.replay
