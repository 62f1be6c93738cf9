"""Data sets that somebody published as files: found or fetched, and held against a digest of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.audio import AudioConfig, AudioDataset
from harness.data.contents import content_sha256, remembered_sha256
from harness.data.obtain import verify_obtained
from harness.errors import DataError


class PublishedFiles(AudioDataset):
    """Base of SC09 and the sets of music."""

    def __init__(self, config: AudioConfig, folder: Path, files: Sequence[str]) -> None:
        """`files`: their names in `folder`. Raises: DataError."""
        self.folder = folder
        self.files = files
        self.content = remembered_sha256(folder, files)
        super().__init__(config)

    def tokens_config(self) -> dict[str, Any]:
        """Without what only says where the files are and whether they may be few."""
        return {
            key: value
            for key, value in super().tokens_config().items()
            if key not in ("path", "allow_partial")
        }

    def verify_files(self) -> None:
        content = content_sha256(self.folder, self.files)
        if content != self.content:
            raise DataError(
                f"the recordings in {self.folder} have changed: the sha256 of all is {content}, it was "
                f"{self.content} when the tokens were made; get the set again"
            )
        verify_obtained(self.folder)

    def _files_in_words(self) -> list[str]:
        return [
            f"{self.folder}: {self.version()}",
            f"files as the tokens were made of: sha256 {self.content}",
        ]
