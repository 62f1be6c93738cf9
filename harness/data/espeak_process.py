"""Speaks in a process of its own: utterances as JSON lines in, raw sound out.

Not imported: `harness.data.espeak` runs this file by its path, in a fresh interpreter. espeak-ng
keeps its state (flutter phase, voices) in the library's globals, so that the same utterance sounds
different the second time, and draws the noise of breathy voices from a generator that it seeds with
the time. A fresh process with a seed of ours makes every rendering reproducible, whatever the
caller did before, and keeps the C library's crashes, threads and forks out of ours.

    python espeak_process.py LIBRARY DATA_FOLDER

The first line of output is the sample rate. Then, for each utterance
``{"voice": "en-us+f2", "text": "seven", "pitch": 50, "rate": 160}`` of the input, the number of
samples as four little-endian bytes and the samples as int16. Anything that espeak-ng refuses ends
the process with a message on the error output.
"""

from __future__ import annotations

import ctypes
import json
import sys

# speak_lib.h
SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: call back, open no sound device, start no thread
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: return an error instead of ending the process
RATE, PITCH = 1, 3  # espeak_PARAMETER
CHARACTERS_UTF8 = 1
POSITION_CHARACTER = 1

SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The C library, with every return code checked."""

    def __init__(self, library: str, data_folder: str) -> None:
        self._library = ctypes.CDLL(library)
        self.sample_rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, data_folder.encode(), DONT_EXIT)
        if self.sample_rate <= 0:
            raise SystemExit(f"espeak_Initialize returned {self.sample_rate} for {data_folder}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # breath noise; the time by default
        self._collected = bytearray()
        self._callback = SynthCallback(self._collect)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, voice: str, text: str, pitch: int, rate: int) -> bytes:
        """int16 samples of one utterance."""
        self._check("espeak_SetVoiceByName", voice.encode())
        self._check("espeak_SetParameter", PITCH, pitch, 0)
        self._check("espeak_SetParameter", RATE, rate, 0)
        self._collected.clear()
        spoken = text.encode() + b"\0"
        size = ctypes.c_size_t(len(spoken))
        self._check("espeak_Synth", spoken, size, 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None)
        if not any(self._collected):
            raise SystemExit(f"the voice {voice} is silent")
        return bytes(self._collected)

    def _check(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code != 0:
            raise SystemExit(f"{function}{arguments[:2]} returned {code}")

    def _collect(self, samples: object, count: int, events: object) -> int:
        if samples and count > 0:
            self._collected += ctypes.string_at(samples, 2 * count)  # type: ignore[arg-type]
        return 0  # go on


def main(library: str, data_folder: str) -> None:
    espeak = Espeak(library, data_folder)
    output = sys.stdout.buffer
    output.write(f"{espeak.sample_rate}\n".encode())
    for line in sys.stdin:
        samples = espeak.speak(**json.loads(line))
        output.write((len(samples) // 2).to_bytes(4, "little") + samples)
    output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
