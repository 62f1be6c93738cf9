"""SC09: the spoken digits of Speech Commands, one second at 16 kHz, as SaShiMi and Mamba use them.

Published protocol (state-spaces/s4, `SpeechCommands09`): the official lists make the splits, each clip
is stretched to span all levels by itself and quantised to 8 bits by mu-law, shorter clips are padded
to 16000 tokens and the padding counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data import token_cache
from harness.data.archive import Limits
from harness.data.audio import AudioConfig, count_note, deviations, tokenise
from harness.data.audio_file import read_audio
from harness.data.digits import DIGITS
from harness.data.download import Source
from harness.data.hub import hub_source
from harness.data.obtain import Remote, obtain, obtained
from harness.data.places import find_folder
from harness.data.progress import progress
from harness.data.published_files import PublishedFiles
from harness.data.speech_commands import (
    CLIPS,
    Version,
    check_version,
    holds_digits,
    in_words,
    read_listing,
    wanted,
)

REPOSITORY = "krandiash/sc09"
REVISION = "fe62f33d2af5db6f01e504ec1f360da7df9692e8"
ARCHIVES = {
    "v0.02": "ca0cff7168708fe3e1d2d6fd8ac7b0c26e4c574143ea708951e19ed6a58f7792",
    "v0.01": "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
}
"""sha256 of the hub's sc09.zip (v0.02) and of speech_commands_v0.01.tar.gz."""
SIZES = {"v0.02": "0.9 GB", "v0.01": "1.5 GB"}

LIMITS = Limits(largest_file=2 * 2**20, largest_total=4 * 2**30)
OTHERWISE = (
    "Or get the set elsewhere (the ten folders zero to nine with validation_list.txt and testing_list.txt) "
    "and set HARNESS_DATA to the folder that holds it as sc09, or data.path to itself"
)


class SC09(PublishedFiles):
    """Spoken digits of Speech Commands at 16 kHz (SaShiMi's and Mamba's benchmark), official lists."""

    name = "sc09"
    licence = "CC BY 4.0"
    label_names = DIGITS

    @dataclass(frozen=True, kw_only=True)
    class Config(AudioConfig):
        sample_rate: int = 16000
        seconds: float = 1.0
        path: str = ""
        """The set's folder, or torchaudio's SPEECHCOMMANDS root. Empty: HARNESS_DATA, or a download."""
        version: Version = "v0.02"
        """Of Speech Commands; another one is refused, since results cannot be compared."""
        allow_partial: bool = False
        """Use a folder that lacks clips; which and how many goes into the version."""

    config: Config

    def __init__(self, config: Config) -> None:
        """Raises: DataError."""
        folder = find_clips(config)
        self.listing = read_listing(folder)
        check_version(folder, self.listing, config.version, allow_partial=config.allow_partial)
        self.files_sha256 = self.listing.sha256
        self.source = f"Speech Commands {config.version}, the ten digits (SC09)"
        super().__init__(config, folder, self.listing.files)

    @staticmethod
    def located(config: Any) -> str:
        found = _named_folder(config, quiet=True) or obtained(_remote(config.version))
        return str(found) if found else f"not here; `harness data fetch sc09` gets {SIZES[config.version]}"

    def version(self) -> str:
        counts, whole = self.listing.counts, CLIPS[self.config.version]
        if counts == whole and not self.listing.absent:
            return self.config.version
        return f"part of {self.config.version}: {sum(counts.values()):,} of {sum(whole.values()):,} clips"

    def identity(self) -> Mapping[str, Any]:
        return {"content": self.content, "files": self.files_sha256}

    def write_clips(self, writer: token_cache.TokenWriter) -> Sequence[str]:
        cut = padded = 0
        clips = self.listing.clips
        with progress("making tokens of sc09", len(clips), "clips") as advance:
            for number, (file, split, label) in enumerate(clips, start=1):
                clip = tokenise(read_audio(self.folder / file, self.config.sample_rate), self.config)
                writer.add(split, clip.tokens, clip.length, label)
                cut += clip.cut
                padded += clip.length < self.length
                advance(number)
        absent = len(self.listing.absent)
        complete = self.listing.counts == CLIPS[self.config.version]
        return [
            *([] if complete else [f"partial: {in_words(self.listing.counts)} clips"]),
            *count_note(absent, "clips that the lists name are absent"),
            *count_note(padded, "clips padded to length; the padding is masked"),
            *count_note(cut, "clips cut to length"),
            *deviations(self.config, SC09.Config()),
        ]

    def _files_in_words(self) -> list[str]:
        clips, digest = super()._files_in_words()
        return [f"{clips}, {in_words(self.listing.counts)} clips", digest]


def find_clips(config: SC09.Config) -> Path:
    """The folder of the clips, downloaded when they are nowhere on this machine. Raises: DataError."""
    found = _named_folder(config)
    if found is not None:
        return found

    def check(folder: Path) -> None:
        check_version(folder, read_listing(folder), config.version, allow_partial=config.allow_partial)

    return obtain(_remote(config.version), check)


def _named_folder(config: SC09.Config, *, quiet: bool = False) -> Path | None:
    torchaudio = f"speech_commands_{config.version}"
    layouts = ("sc09", f"SpeechCommands/{torchaudio}", torchaudio, "SpeechCommands", ".")
    return find_folder(config.path, layouts, holds_digits, "digits of Speech Commands", quiet=quiet)


def _remote(version: Version) -> Remote:
    what = f"Speech Commands {version}"
    if version == "v0.02":
        source = hub_source(
            REPOSITORY,
            ("sc09.zip",),
            what=what,
            otherwise=OTHERWISE,
            revision=REVISION,
            sha256=ARCHIVES[version],
        )
    else:
        path = f"download.tensorflow.org/data/speech_commands_{version}.tar.gz"
        source = Source(
            addresses=(f"https://storage.googleapis.com/{path}", f"http://{path}"),
            what=what,
            sha256=ARCHIVES[version],
            otherwise=OTHERWISE,
        )
    return Remote(folder=f"sc09-{version}", source=source, keep=wanted, limits=LIMITS)
