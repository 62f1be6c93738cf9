"""The one place that imports torchaudio, which does not always import by itself.

torchaudio's wheel carries a native library that is linked against CUDA; beside a CPU-only torch
`import torchaudio` ends in OSError. Everything used here (resampling, spectrograms, the layout of
SPEECHCOMMANDS) is written in Python on top of torch and works without that library. So on OSError
the half-made import is undone and repeated with a stand-in for `torchaudio._extension`, the module
that loads the library. No file is touched. `parts` says what works.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

from harness.errors import DataError


@cache
def torchaudio() -> ModuleType:
    """The module torchaudio, with or without its native library.

    Raises: DataError when it is not installed or does not fit the installed torch.
    """
    try:
        return _import()
    except OSError:
        _forget()
        sys.modules["torchaudio._extension"] = _without_native_library()
    except ImportError as error:
        raise DataError(_unusable(error)) from error
    try:
        return _import()
    except (ImportError, OSError) as error:
        _forget()
        raise DataError(_unusable(error)) from error


def parts() -> dict[str, bool | str]:
    """What of torchaudio works here: True, or the reason why not. Each part is tried, not guessed."""
    return {name: _tried(attempt) for name, attempt in _ATTEMPTS.items()}


def _import() -> ModuleType:
    import torchaudio as module
    import torchaudio.datasets
    import torchaudio.transforms

    return module


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]


def _without_native_library() -> ModuleType:
    stand_in = ModuleType("torchaudio._extension")
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    stand_in._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    stand_in.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
    return stand_in


def _unusable(error: Exception) -> str:
    return f"torchaudio cannot be imported ({error}); install torchaudio 2.11 or later beside torch"


def _tried(attempt: Callable[[], bool | str]) -> bool | str:
    try:
        return attempt()
    except Exception as error:  # whatever it is, it is the answer
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _native_library() -> bool | str:
    if torchaudio()._extension._IS_TORCHAUDIO_EXT_AVAILABLE:
        return True
    return "not loaded (it needs CUDA libraries); forced_align and rnnt_loss are missing, we use neither"


def _resample() -> bool:
    import torch

    return torchaudio().functional.resample(torch.zeros(1, 160), 16000, 8000).shape == (1, 80)


def _mel_spectrogram() -> bool:
    import torch

    mel = torchaudio().transforms.MelSpectrogram(sample_rate=8000, n_fft=256, n_mels=8)
    return bool(torch.isfinite(mel(torch.zeros(1, 800))).all())


def _speech_commands() -> bool:
    return isinstance(torchaudio().datasets.SPEECHCOMMANDS, type)


def _load() -> bool | str:
    from importlib.util import find_spec

    return find_spec("torchcodec") is not None or "needs torchcodec; soundfile reads and writes here"


_ATTEMPTS: dict[str, Callable[[], bool | str]] = {
    "native library": _native_library,
    "functional.resample": _resample,
    "transforms.MelSpectrogram": _mel_spectrogram,
    "datasets.SPEECHCOMMANDS": _speech_commands,
    "load and save": _load,
}
