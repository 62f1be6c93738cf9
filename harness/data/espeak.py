"""The espeak-ng speech synthesiser: its voices, and utterances spoken by them.

Library and voices come with the package espeakng-loader. `espeak_process` says why the speaking
happens in a process of its own.

Shapes: L samples.
"""

from __future__ import annotations

import ctypes
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from harness.errors import DataError

BATCH = 500
"""Utterances of one process: bounds memory. Part of what the samples depend on."""

TIMEOUT = 300
"""Seconds for a batch that takes less than one."""

_PROCESS = Path(__file__).with_name("espeak_process.py")


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What to say and how: `voice` is ``accent+variant``, pitch 0 to 99, rate in words a minute.

    espeak-ng ignores an unknown variant without a word: take names from `variants`.
    """

    voice: str
    text: str
    pitch: int = 50
    rate: int = 160


def engine_version() -> str:
    """Version of espeak-ng, e.g. "1.52.0". Raises: DataError when it is not installed or broken."""
    try:
        info = ctypes.CDLL(str(_library())).espeak_Info
    except (OSError, AttributeError) as error:
        raise DataError(f"cannot load espeak-ng: {error}; reinstall espeakng-loader") from None
    info.restype = ctypes.c_char_p
    return info(None).decode()


def variants() -> list[str]:
    """Names of the voice variants, sorted, without those that differ by nothing.

    A variant is a small text file; two with the same statements are the same voice, and one that
    sets nothing but its speaking rate is no voice of its own, since every utterance sets the rate.
    """
    distinct: dict[frozenset[str], str] = {frozenset(): ""}  # no statement at all: the plain accent
    for file in sorted((_data_folder() / "voices" / "!v").iterdir()):
        distinct.setdefault(_statements(file), file.name)
    return sorted(name for name in distinct.values() if name)


def speak(utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, int]]:
    """(int16[L], its sample rate) for each utterance, the same every time.

    Raises: DataError when espeak-ng refuses a voice, is silent, hangs or dies.
    """
    for start in range(0, len(utterances), BATCH):
        yield from _speak_batch(utterances[start : start + BATCH])


def _speak_batch(utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, int]]:
    data_folder = _data_folder()
    try:
        finished = subprocess.run(
            # espeak-ng cuts long paths off: a relative one always fits.
            [sys.executable, "-I", str(_PROCESS), str(_library()), data_folder.name],
            cwd=data_folder.parent,
            input="".join(json.dumps(asdict(utterance)) + "\n" for utterance in utterances).encode(),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"espeak-ng did not finish within {TIMEOUT} s") from None
    if finished.returncode != 0:
        said = finished.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"espeak-ng failed: {said[-1] if said else f'exit {finished.returncode}'}")
    output = io.BytesIO(finished.stdout)
    sample_rate = int(output.readline())
    for _ in utterances:
        count = int.from_bytes(output.read(4), "little")
        yield np.frombuffer(output.read(2 * count), dtype="<i2"), sample_rate


def _statements(file: Path) -> frozenset[str]:
    """What a variant file says about the sound; names, comments and the rate are no part of that."""
    lines = [line.split("//")[0].split() for line in file.read_text("utf-8", errors="replace").splitlines()]
    silent = {"language", "name", "gender", "maintainer", "status", "speed", "fast_test2"}
    return frozenset(
        " ".join(words) for words in lines if words and words[0] not in silent and words[0][0] != "#"
    )


def _library() -> Path:
    return Path(_loader().get_library_path())


def _data_folder() -> Path:
    return Path(_loader().get_data_path())


def _loader() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError:
        raise DataError("synthetic speech needs espeak-ng: pip install espeakng-loader") from None
    return espeakng_loader
