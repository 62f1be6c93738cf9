"""Pictures and sounds as data URIs, within a budget that the page shares."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".flac": "audio/flac", ".csv": "text/csv"}

LARGE_DRAWING = 600_000
"""Bytes from which on a drawing is embedded as pixels instead of lines."""


@dataclass
class Budget:
    """Bytes that may still go into the page."""

    left: int

    def embed(self, path: Path) -> str | None:
        """A data URI, or None where the budget does not hold it or the file cannot be read."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        encoded = f"data:{TYPES[path.suffix]};base64,{base64.b64encode(content).decode('ascii')}"
        if len(encoded) > self.left:
            return None
        self.left -= len(encoded)
        return encoded


def picture(stem: Path) -> Path:
    """The drawing of a figure: lines where they are small, else pixels."""
    drawing = stem.with_name(f"{stem.name}.svg")
    if drawing.is_file() and drawing.stat().st_size <= LARGE_DRAWING:
        return drawing
    return stem.with_name(f"{stem.name}.png")
