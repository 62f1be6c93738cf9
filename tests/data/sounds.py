"""Waveforms for tests."""

import numpy as np


def tone(seconds: float = 0.1, rate: int = 8000, hertz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
