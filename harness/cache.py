"""Where whatever can be made again is kept: downloads, tokens, built kernels."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """$HARNESS_CACHE, or the user's cache folder. Not created here."""
    chosen = os.environ.get("HARNESS_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("longseq-harness"))
