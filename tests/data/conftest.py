"""An empty token cache for every test, and small sound files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import tone


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(root))
    for name in ("NO_PROXY", "no_proxy"):  # servers of tests are on this machine
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    return root


@pytest.fixture
def write_sound():
    """write_sound(path, waveform or seconds, rate, subtype): makes the folders too."""

    def write(path: Path, waveform: np.ndarray | float = 0.1, rate: int = 8000, **options) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        waveform = waveform if isinstance(waveform, np.ndarray) else tone(waveform, rate)
        soundfile.write(path, waveform, rate, **options)
        return path

    return write
