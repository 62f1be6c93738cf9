"""A training by several processes that are forked for it, without the harness's own way to start them."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import configuration
from harness.conformance.toy import ToyConfig, ToyData
from harness.contracts import Split
from harness.execution.together import LOOPBACK, join
from harness.training import ranks as ranks_module
from harness.training.config import TrainConfig
from harness.training.loop import train
from harness.training.ranks import Ranks, Together
from harness.training.resume import ResumeFile
from harness.training.seeds import seed_everything
from harness.training.stopping import Stopped

PRELOAD = ["harness.training.loop", "harness.execution.together", "torch._dynamo", "models.poolformer"]


def together(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work`, which can be pickled, returns in each of the processes; an exception as it is."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    # The first one, which listens, says where.
    asking, telling = context.Pipe(duplex=False)
    results, processes, port = [], [], telling
    for rank in range(count):
        receiving, sending = context.Pipe(duplex=False)
        if rank == 1:
            port = asking.recv()
        process = context.Process(target=_run, args=(rank, count, port, work, sending), daemon=True)
        process.start()
        sending.close()
        results.append(receiving)
        processes.append(process)
    found = [_received(result) for result in results]
    for process in processes:
        process.join()
    return found


def _received(result: Any) -> Any:
    try:
        return pickle.loads(result.recv_bytes())
    except EOFError:
        return None


def _run(rank: int, count: int, port: Any, work: Callable[[Ranks], Any], sending: Any) -> None:
    torch.set_num_threads(1)
    listening = None
    if rank == 0:
        server = socket.create_server((LOOPBACK, 0))
        port.send(server.getsockname()[1])
        port, listening = server.getsockname()[1], server.detach()
    join(rank, count, torch.device("cpu"), port, listening)
    try:
        found = work(Together(torch.device("cpu")))
    except (Exception, Stopped) as failure:
        found = failure
    sending.send_bytes(pickle.dumps(found))  # whole: `send` would leave tensors in this process's memory


class Ragged(ToyData):
    """Clips of different lengths: a mean of the ranks' means would be another loss."""

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        lengths = np.array([48, 3, 20, 48, 1, 7, 30, 11])
        split = Split(tokens=self.splits["train"].tokens, lengths=lengths)
        self.splits = dict.fromkeys(self.splits, split)


def trained(ranks, *, model, config, double=False, parts=1, path=None, stop=None):
    """Losses, curve, weights and columns of one training; it stops after `stop` updates."""
    dataset = Ragged()
    seed_everything("initialisation", ranks.rank)  # so that the first one's weights must become everybody's
    built = configuration.build("models", model, vocab_size=dataset.vocab_size)
    losses: list[float] = []
    result = train(
        built.double() if double else built,
        dataset,
        config,
        seed=0,
        device="cpu",
        micro_batches=parts,
        on_progress=lambda step, steps, bits: losses.append(bits),
        resume=ResumeFile(path, identity={}, every=math.inf) if ranks.is_first and path else None,
        should_stop=lambda: ranks.is_first and len(losses) == stop,
        ranks=ranks,
    )
    return {
        "losses": losses,
        "curve": [[row.nll_bits_train, row.nll_bits_validation] for row in result.history],
        "weights": {name: value.detach() for name, value in built.state_dict().items()},
        "columns": result.columns(),
        "resumes": result.resumes,
    }


class Counting(nn.Module):
    """Keeps a mean of what it has seen, as a norm over batches does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.table = nn.Parameter(torch.zeros(16))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += tokens.float().mean()
        return self.table.expand(*tokens.shape, 16)


def drifted(ranks):
    config = TrainConfig(steps=4, batch_size=2, validate_every=2, warmup_steps=0)
    return train(Counting(), Ragged(), config, seed=0, device="cpu", ranks=ranks)


def summed(ranks):
    """Gradients of many types, some of which only one rank has, in small messages; and the losses' sum."""
    ranks_module.BUCKET = 5
    shapes = [(3,), (2, 2), (), (7,), (1,)]
    draw = torch.Generator().manual_seed(ranks.rank)
    parameters = [
        nn.Parameter(torch.zeros(shape, dtype=dtype).T)
        for dtype in (torch.float32, torch.float64, torch.complex64)
        for shape in shapes
    ]
    for number, parameter in enumerate(parameters):
        if number % 5 != 3 or (ranks.rank == 1 and number % 2):
            parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
    before = [None if p.grad is None else p.grad.clone() for p in parameters]
    loss = ranks.add_up(parameters, torch.tensor(1.5 + ranks.rank))
    return before, [p.grad for p in parameters], loss


def drawn(ranks):
    """A random number of step 1, one of step 2, and one of step 1 again."""
    seed_everything("training", 0)
    found = []
    for step in (1, 2, 1):
        ranks.seed(0, step)
        found.append(float(torch.rand(())))
    return found


def dies(ranks):
    """The second process is gone before the first asks for it."""
    if ranks.rank:
        os._exit(3)
    ranks.wait()
