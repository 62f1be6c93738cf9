"""`python -m benchmarks.data_memory`: how much memory a data set takes that is larger than memory.

Tokens of a synthetic set are written to a temporary folder by the token cache, opened, and trained on:
through the training loop, and one whole epoch of batches besides, so that every token is read. Sampled
all the while, told apart by the kernel (Linux):

    private     anonymous memory: what the process really needs
    mapped      pages of files in memory, shared with the page cache and given back when somebody else
                needs them; the tokens are such pages, and so is the code of libraries
    page cache  what the machine keeps of files in memory, in all

Private memory is limited during training (RLIMIT_DATA) to what was in use before the data were opened
and `--limit`: a loader that copied the set into memory would die.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import torch
import typer

from benchmarks import options, output
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness import configuration
from harness.contracts import Provenance, Split
from harness.data import token_cache
from harness.errors import HarnessError
from harness.training.batches import TrainingBatches
from harness.training.config import TrainConfig
from harness.training.loop import train

MODEL = {"name": "poolformer", "width": 8, "layers": 1, "pooling": [4, 4], "dropout": 0.0}
LENGTH = 16_000
CROP = 2_000
VOCABULARY = 256
HELD_OUT = 64
MIB, GIB = 2**20, 2**30

SHOWN = ("name", "seconds", "private_mib", "mapped_mib", "tokens_read_mib", "mib_per_s")
HEADINGS = {
    "seconds": "s",
    "private_mib": "private MiB more",
    "mapped_mib": "mapped MiB more",
    "tokens_read_mib": "MiB read",
    "mib_per_s": "MiB/s",
}

app = options.new_app()


class LargeSet:
    """Random tokens in the token cache, as a data set."""

    vocab_size, sample_rate, length = VOCABULARY, 16_000, LENGTH

    def __init__(self, clips: int) -> None:
        self.clips = clips
        cached = token_cache.open_or_build("data_memory", {"clips": clips}, LENGTH, self.write)
        self.splits: dict[str, Split] = dict(cached.splits)
        self.provenance = Provenance(
            source="random tokens",
            version="1",
            licence="none",
            sha256=cached.sha256,
            clips={name: len(split) for name, split in cached.splits.items()},
        )

    def write(self, writer: token_cache.TokenWriter) -> Sequence[str]:
        chance = np.random.default_rng(0)
        for split, clips in (("train", self.clips), ("validation", HELD_OUT), ("test", HELD_OUT)):
            for _ in range(clips):
                writer.add(split, np.frombuffer(chance.bytes(LENGTH), np.uint8), LENGTH)
        return []

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        return tokens.astype(np.float32) / (VOCABULARY / 2) - 1


class Watch:
    """Samples this process's memory in a thread; peaks are above the level at the start."""

    def __init__(self) -> None:
        self._start = self._peak = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._stop.set()
        self._thread.join()
        self._look()

    def row(self, name: str, read: int) -> dict[str, Any]:
        private, mapped = (peak - start for peak, start in zip(self._peak, self._start, strict=True))
        return {
            "name": name,
            "status": "ok",
            "length": LENGTH,
            "seconds": self.seconds,
            "private_mib": private / MIB,
            "mapped_mib": mapped / MIB,
            "tokens_read_mib": read / MIB,
            "mib_per_s": read / MIB / self.seconds,
        }

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            self._look()

    def _look(self) -> None:
        now = resident()
        self._peak = (max(self._peak[0], now[0]), max(self._peak[1], now[1]))


def resident() -> tuple[int, int]:
    """Bytes in memory: private, mapped from files."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = dict(re.findall(r"(RssAnon|RssFile|RssShmem):\s+(\d+) kB", text))
    return 1024 * int(found["RssAnon"]), 1024 * (int(found["RssFile"]) + int(found["RssShmem"]))


@contextmanager
def limited(extra: int) -> Iterator[None]:
    """Inside the block this process may have so much more private memory than it has now."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmData:\s+(\d+) kB", status)
    assert found is not None  # present on every Linux
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(found[1]) + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def token_cache_below(folder: Path | None) -> Iterator[None]:
    """Inside the block the cache is a temporary folder, which is removed afterwards."""
    before = os.environ.get("HARNESS_CACHE")
    with tempfile.TemporaryDirectory(prefix="data-memory-", dir=folder) as temporary:
        os.environ["HARNESS_CACHE"] = temporary
        try:
            yield
        finally:
            if before is None:
                del os.environ["HARNESS_CACHE"]
            else:
                os.environ["HARNESS_CACHE"] = before


@app.command()
def data_memory(
    gigabytes: Annotated[float, typer.Option("--gigabytes", min=0.001, help="Size of the set.")] = 2.0,
    limit: Annotated[float, typer.Option("--limit", help="Private GB that training may take more.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates of the tiny model.")] = 20,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Clips an update.")] = 8,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the tokens go meanwhile. Default: a temporary one.")
    ] = None,
    csv: options.OutputOption = None,
) -> None:
    """Memory of making, opening and training on a set of tokens that is larger than its share of memory.

    Example: python -m benchmarks.data_memory --gigabytes 2 --output data_memory.csv
    """
    if not Path("/proc/self/status").exists():
        raise HarnessError("this benchmark reads /proc/self/status, which only Linux has")
    clips = max(1, round(gigabytes * 1e9 / LENGTH))
    device = options.device("cpu")
    new_model()(
        torch.zeros(1, CROP, dtype=torch.long)
    ).sum().backward()  # finds its kernels in the usual cache
    with token_cache_below(folder), options.threads(1):
        rows = measure(clips, limit=round(limit * 1e9), steps=steps, batch=batch)
        say(f"page cache of the machine now: {psutil.virtual_memory().cached / GIB:.1f} GiB")
    table = output.frame([{"batch": batch, **row} for row in rows], circumstances("data_memory", device))
    title = f"{clips:,} clips of {LENGTH:,} tokens ({clips * LENGTH / 1e9:.3g} GB)"
    output.show_plain(table, title, SHOWN, HEADINGS)
    output.write(table, csv)
    for what in ("private_mib", "mapped_mib"):
        worst = max(row[what] for row in rows)
        verdict = "under" if worst * MIB < limit * 1e9 else "over"
        say(f"{HEADINGS[what]}, at most: {worst:.0f}, {verdict} the limit of {limit:g} GB")


def measure(clips: int, *, limit: int, steps: int, batch: int) -> list[dict[str, Any]]:
    """A row for each phase; training on a few clips shows what the model needs, whatever the data."""
    small = LargeSet(2 * batch)
    trained(small, 2, batch)  # whatever a process allocates once is nobody's
    with Watch() as watch:
        result = trained(small, steps, batch)
    rows = [watch.row(f"train on {2 * batch} clips", result.tokens)]
    total = clips * LENGTH
    with Watch() as watch:
        LargeSet(clips)
    rows.append(watch.row("make", total))
    say(f"made {total / 1e9:.3g} GB of tokens")
    with limited(limit):
        with Watch() as watch:
            data = LargeSet(clips)
        rows.append(watch.row("open", 0))
        with Watch() as watch:
            result = trained(data, steps, batch)
        rows.append(watch.row("train on all", result.tokens))
        say(f"trained {steps} steps, {result.history[-1].nll_bits_validation:.3f} bits")
        with Watch() as watch:
            read = epoch(data.splits["train"], batch)
        rows.append(watch.row("an epoch of batches", read))
    return rows


def trained(data: LargeSet, steps: int, batch: int) -> Any:
    config = TrainConfig(
        steps=steps,
        batch_size=batch,
        crop=CROP,
        warmup_steps=0,
        validate_every=steps,
        validation_clips=batch,
    )
    return train(new_model(), data, config, seed=0, device="cpu")


def new_model() -> Any:
    return configuration.build("models", MODEL, vocab_size=VOCABULARY)


def epoch(split: Split, batch: int) -> int:
    """Read every clip once, as training does. Returns the bytes of tokens read."""
    batches = TrainingBatches(split, batch_size=batch, crop=None, seed=0)
    read = 0
    for number in range(-(-len(split) // batch)):
        tokens, lengths = batches[number]
        assert int(tokens[0, 0]) < VOCABULARY
        read += int(lengths.sum())
    return read


if __name__ == "__main__":
    torch.manual_seed(0)
    options.main(app, "data_memory")
