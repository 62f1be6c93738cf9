"""The far end of `together`: a process that trains along with the trial's own, and keeps nothing.

One JSON line a message. In, on stdin: the task and where to meet. Out, on stdout: `ready`, once its model is
built, or `failed` with the reason. It ends with stdin, which closes when the trial's process is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from typing import Any


def main() -> None:
    from harness.execution.worker import die_with_parent
    from harness.heap import keep_freed_memory

    die_with_parent()
    keep_freed_memory()
    out = os.dup(1)  # messages; stdout itself goes where stderr goes, so a stray print harms nothing
    os.dup2(2, 1)
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    logging.basicConfig(format=f"%(asctime)s process {order['rank'] + 1}: %(levelname)s %(message)s")
    try:
        _train(order, out)
    except Exception as failure:
        _say_why(failure, out)
        os._exit(1)
    while True:  # what the others still read from this process is theirs until they end it
        signal.pause()


def _say_why(failure: Exception, out: int) -> None:
    from harness.execution.limits import lift_memory_limit
    from harness.execution.run_trial import explain
    from harness.training.shortage import ran_out_of_memory

    lift_memory_limit()  # whatever has to be said about it, there must be room to say it
    traceback.print_exc()  # into the trial's log
    sys.stderr.flush()
    _send(out, {"failed": explain(failure), "out_of_memory": ran_out_of_memory(failure)})


def _train(order: dict[str, Any], out: int) -> None:
    import torch

    from harness import configuration
    from harness.execution.run_trial import Task, build
    from harness.execution.together import device_of_rank, join
    from harness.training.config import TrainConfig
    from harness.training.loop import train
    from harness.training.ranks import ExchangeFailed, Together

    task = Task.from_payload(order["task"])
    torch.set_num_threads(task.threads)
    device = device_of_rank(torch.device(order["device"]), order["rank"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    task.trial.load_plugins()
    dataset, model = build(task, device)
    config = configuration.parse(TrainConfig, task.trial.config["train"])
    _send(out, {"ready": order["rank"]})
    join(order["rank"], task.workers, device, order["port"])
    with contextlib.suppress(ExchangeFailed):  # the trial's process knows better who failed, and why
        train(
            model,
            dataset,
            config,
            seed=task.trial.seed,
            device=device,
            micro_batches=task.micro_batches,
            ranks=Together(device),
        )


def _end_with_stdin() -> None:
    while os.read(0, 1 << 10):  # not through sys.stdin, whose lock an exit would have to wait for
        pass
    os._exit(0)


def _send(out: int, message: dict[str, Any]) -> None:
    os.write(out, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
