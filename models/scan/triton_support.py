"""What the Triton backends share on the host's side: where they run, and how the work is laid out.

A program owns a block of channels of one sequence and walks through time tile by tile; of a tile,
[G chunks, K steps, C channels], a thread holds a chunk of two channels. Why so:

- Channels are neighbours in memory, so loads are coalesced; from 8 channels, 32 bytes, on they waste
  nothing, and few channels a program make many programs for the multiprocessors (132 of an H100).
- The steps of a chunk follow each other in registers, without communication; across chunks there is
  one `tl.associative_scan` a tile. Scanning all steps that way takes twice the instructions, and
  with them the kernel would no longer wait for memory; a plain loop over time takes fewer still,
  but B N threads are too few to hide that each of its L iterations waits for its own load.
- The next tile is loaded while one is computed (`num_stages`): 8 KiB of float32 an array at K = 8,
  against the 18 KiB that an H100's multiprocessor should have in flight.

Time is not split over programs, which would read every input twice; it would pay only for a few
hundred channels, B N, in all. The layout depends on N and the type alone, never on B or L, and so
does every rounding.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor


def unavailable(device: torch.device | str) -> str | None:
    """Why the kernels cannot run on a device, or None: they can.

    They run on CUDA with triton installed, and anywhere under triton's interpreter.
    """
    if os.environ.get("TRITON_INTERPRET") != "1" and torch.device(device).type != "cuda":
        return "it needs a CUDA device"
    return None if find_spec("triton") else "triton is not installed"


def available(device: torch.device | str) -> bool:
    return unavailable(device) is None


class Tile(NamedTuple):
    chunks: int
    steps: int
    """Of one chunk."""
    channels: int


WARPS = 4


def tile_for(channels: int, steps: int) -> Tile:
    """The tile for N channels with chunks of so many steps."""
    block = 8 if channels <= 64 else 16 if channels <= 512 else 32
    return Tile(chunks=2 * 32 * WARPS // block, steps=steps, channels=block)


def rows(x: Tensor) -> Tensor:
    """x with neighbouring channels next to each other, as the kernels want it; a view stays one."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def launch(kernel: Any, h: Tensor, channels: int, tile: Tile, *arguments: Any, **constants: Any) -> None:
    """One program for each sequence of h and block of channels."""
    if h.numel() == 0:
        return
    constants |= {"G": tile.chunks, "K": tile.steps, "C": tile.channels}
    programs = h.shape[0] * -(-channels // tile.channels)
    with torch.cuda.device_of(h):
        # what is fused is said here, as triton's default varies with its version
        kernel[(programs,)](*arguments, num_warps=WARPS, enable_fp_fusion=True, **constants)
