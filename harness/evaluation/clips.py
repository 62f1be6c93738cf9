"""Drawing a model's clips into a folder: in batches, and at any later time more of them.

Clip i is decided by random numbers of its own, which depend on the trial's seed and i alone. So it
is the same however many clips are drawn and whenever; in batches of another size, or on another
device, up to the rounding of the model's arithmetic. A last batch is drawn whole and only what is
wanted of it kept.

Shapes: B clips side by side, L tokens of a clip.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.contracts import Dataset
from harness.errors import HarnessError
from harness.evaluation.clip_folder import LOCK, Clip, ClipFolder, Drawing
from harness.evaluation.sampling import Sampler
from harness.training.average import evaluating
from harness.training.precision import precision
from harness.training.seeds import derive_seed, generator

CLIPS = "samples"
"""The folder, below a trial's, of clips in the model's own distribution: the only ones that count as its."""

BATCH = 32
"""Clips side by side where nobody says. A GPU takes many more in hardly more time."""

PARTS = 50
"""Reports of progress within a batch."""

Progress = Callable[[float, str], None]


def clips_folder(trial_folder: Path, *, temperature: float = 1.0, top_p: float = 1.0) -> Path:
    """Where a trial's clips lie: tempered ones apart, so that nobody takes them for the model's own."""
    if temperature == 1.0 and top_p == 1.0:
        return trial_folder / CLIPS
    return trial_folder / f"{CLIPS}-temperature{temperature:g}-top_p{top_p:g}"


def draw_clips(
    model: nn.Module,
    dataset: Dataset,
    folder: Path,
    *,
    count: int,
    seed: int,
    device: torch.device | str,
    batch: int = BATCH,
    temperature: float = 1.0,
    top_p: float = 1.0,
    progress: Progress = lambda fraction, text: None,
) -> ClipFolder:
    """At least `count` clips in the folder: those that are there already, and what is missing.

    Clips of other weights are removed first. What is drawn is written batch by batch.
    Raises: DataError for a damaged folder, HarnessError when another process is drawing into it,
    ValueError for a temperature or top_p out of range.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    drawing = Drawing(
        weights=weights_sha256(model),
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        length=dataset.length,
        sample_rate=dataset.sample_rate,
    )
    try:
        with FileLock(folder / LOCK, timeout=0):
            clips = ClipFolder(folder)
            if removed := clips.start(drawing):
                progress(0.0, f"{removed} clips of other weights removed")
            missing = count - len(clips)
            while len(clips) < count:
                done = 1 - (count - len(clips)) / missing
                share = min(batch - len(clips) % batch, count - len(clips)) / missing

                def part(fraction: float, done: float = done, share: float = share) -> None:
                    progress(done + share * fraction, f"{len(clips)} of {count} clips drawn")

                _draw_batch(model, dataset, clips, count, batch, torch.device(device), part)
    except Timeout:
        raise HarnessError(f"{folder}: another process is drawing clips there; wait for it") from None
    progress(1.0, f"{len(clips)} clips drawn")
    return clips


def _draw_batch(
    model: nn.Module,
    dataset: Dataset,
    clips: ClipFolder,
    count: int,
    batch: int,
    device: torch.device,
    progress: Callable[[float], None],
) -> None:
    """The batch that holds the next clip, of which those are kept that are not there yet."""
    assert clips.drawing is not None
    drawing, have = clips.drawing, len(clips)
    first = have - have % batch
    seeds = [derive_seed("clip", drawing.seed, number) for number in range(first, first + batch)]
    uniforms = np.stack([np.random.default_rng(each).random(drawing.length) for each in seeds])
    with evaluating(model), precision("float32"):
        sampler = Sampler(
            model,  # type: ignore[arg-type]
            batch,
            generator=generator("sampling", drawing.seed, device),
            temperature=drawing.temperature,
            top_p=drawing.top_p,
        )
        tokens = []
        for start in range(0, drawing.length, step := _chunk(drawing.length, model)):
            part = torch.from_numpy(uniforms[:, start : start + step]).to(device)
            tokens.append(sampler.draw_by(part).cpu())
            progress(min(start + step, drawing.length) / drawing.length)
    bits = (sampler.log_likelihood / math.log(2)).tolist()
    kept = slice(have - first, min(batch, count - first))
    drawn = torch.cat(tokens, dim=1).numpy()[kept].astype(dataset.splits["train"].tokens.dtype)
    clips.append(
        drawn if drawing.sample_rate is None else dataset.decode(drawn),
        [
            Clip(
                file=clips.file_name(first + row),
                seed=seeds[row],
                log_likelihood_bits=bits[row],
                batch=batch,
                backend=sampler.backend,
                device=device.type,
            )
            for row in range(batch)[kept]
        ],
    )


def _chunk(length: int, model: nn.Module) -> int:
    """Steps between reports, a multiple of the model's period."""
    period = getattr(model, "period", 1)
    return math.ceil(length / PARTS / period) * period


def weights_sha256(model: nn.Module) -> str:
    """Of every parameter and persistent buffer, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        plain = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(plain.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
