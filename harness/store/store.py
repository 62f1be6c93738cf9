"""The folder of one suite's results: trial folders found by key, whatever their readable name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.store.atomic import write_text
from harness.store.record import Record, read_record, write_record
from harness.suite.trial import KEY_DIGITS, Trial


class Store:
    """``results/<suite>/``. Safe to open while another process writes to it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def make_writable(self) -> None:
        """Make the folder, or say clearly why it cannot be used.

        Raises: HarnessError
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise HarnessError(f"{self.folder}: is a file; choose another folder with --results")
        try:
            (self.folder / "trials").mkdir(parents=True, exist_ok=True)
            probe = self.folder / "trials" / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise HarnessError(
                f"{self.folder}: cannot be written to ({error.strerror}); "
                "choose another folder with --results"
            ) from None

    @cached_property
    def _folders(self) -> dict[str, str]:
        """key digits -> trial folder, as found when first asked."""
        found: dict[str, str] = {}
        trials = self.folder / "trials"
        if trials.is_dir():
            for entry in sorted(os.scandir(trials), key=lambda e: e.name):
                if entry.is_dir() and "-" in entry.name:
                    found.setdefault(entry.name.rpartition("-")[2], entry.path)
        return found

    def trial_folder(self, trial: Trial) -> Path:
        """The folder that holds this key already, else the one it will get."""
        return Path(self._place(trial))

    def record_path(self, trial: Trial) -> Path:
        return Path(self._place(trial), "record.json")

    def _place(self, trial: Trial) -> str:
        """As text: of ten thousand trials, paths would take longer than looking for them."""
        found = self._folders.get(trial.short_key)
        return found if found is not None else f"{self.folder}/trials/{trial.folder_name}"

    def record(self, trial: Trial) -> Record | None:
        """The trial's record, or None. A record of another key in the folder is an error."""
        if not os.path.isfile(f"{self._place(trial)}/record.json"):  # noqa: PTH113 - see `_place`
            return None
        path = self.record_path(trial)
        record = read_record(path)
        if record.key != trial.key:
            raise HarnessError(
                f"{path}: holds key {record.key[:KEY_DIGITS]}, expected {trial.short_key}; "
                "the folder was renamed or edited, remove it"
            )
        return record

    def write_record(self, trial: Trial, record: Record) -> None:
        write_record(self.record_path(trial), record)

    def write_plan(self, plan: Mapping[str, Any], suite_text: str) -> None:
        """``plan.json``, the resolved question, and the suite file as it was."""
        write_text(self.folder / "suite.yaml", suite_text)
        write_text(self.folder / "plan.json", json.dumps(plan, indent=1, allow_nan=False) + "\n")

    def write_patch(self, patch: str) -> None:
        """``patches/<digest>.patch``: what the code was beyond its commit; records have the digest."""
        digest = hashlib.sha256(patch.encode()).hexdigest()
        path = self.folder / "patches" / f"{digest[:KEY_DIGITS]}.patch"
        if not path.exists():
            write_text(path, patch)

    def read_plan(self) -> dict[str, Any]:
        """Raises: HarnessError where there is none."""
        path = self.folder / "plan.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            hint = "is there a results folder of `harness run`?"
            raise HarnessError(f"{self.folder}: holds no plan.json; {hint}") from None
        except (OSError, ValueError) as error:
            raise HarnessError(f"{path}: cannot be read: {error}") from None

    def planned_trials(self) -> list[Trial]:
        """The trials of the last `run` or `plan` written here, in order."""
        plan = self.read_plan()
        variants = {variant["name"]: variant["config"] for variant in plan["variants"]}
        files, seeds = tuple(plan["plugin_files"]), plan["seeds"]
        return [
            trial
            for name, config in variants.items()
            for trial in Trial(name, seeds[0], config, files).seeds(seeds)
        ]

    def records(self, trials: Iterable[Trial]) -> list[tuple[Trial, Record | None]]:
        return [(trial, self.record(trial)) for trial in trials]
