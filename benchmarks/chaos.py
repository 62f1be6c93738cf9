"""Kill -9 at random, again and again: does the final table equal that of an undisturbed run?

A suite of forty small trials (four kinds of model, dropout among them) is run, and whatever belongs to
the run is killed at random moments: the driver, Ray's processes, the actors, the workers, the trials
themselves. The same command is then given again until its table is complete; a complete table is
compared and the next round begins in an empty folder, until so many kills are done.

What must hold, and is counted: every trial has its row (`lost`), no finished trial was run again and none
has two folders (`doubled`), every deterministic column and learning curve is equal (`different`), nothing
that a run started outlives it by more than a few seconds (`orphans`), and no temporary folder of Ray is
left at the end (`folders`).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import pandas as pd
import psutil
import torch
import typer

from benchmarks import options, output
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from benchmarks.runner.suites import write_mixed
from harness.api import load_figure_data
from harness.errors import HarnessError
from harness.store.record import read_record

VOLATILE = ("train_seconds", "started_at", "git_commit", "git_dirty")
ORPHAN_SECONDS = 20.0
RUN_SECONDS = 600.0
EARLY = 0.2
"""Share of runs that are killed at from their start."""
WEIGHTS = {"driver": 2, "raylet": 1, "gcs_server": 1, "agent": 1, "actor": 2, "worker": 2, "trial": 3}
"""How often each kind of process is chosen, where there is one."""

app = options.new_app()


@app.command()
def chaos(
    kills: Annotated[int, typer.Option("--kills", min=1, help="Processes to kill.")] = 100,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Ten variants of so many seeds.")] = 4,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates of a trial.")] = 60,
    slots: Annotated[int, typer.Option("--slots", min=1)] = 2,
    pause: Annotated[float, typer.Option("--pause", help="Longest wait before a kill, seconds.")] = 6.0,
    seed: Annotated[int, typer.Option("--seed", help="Of what is killed and when.")] = 0,
    device_: options.DeviceOption = "cpu",
    output_: options.OutputOption = None,
) -> None:
    """Kill a run's processes at random over repeated resumes; exit 1 unless nothing was lost.

    Example: python -m benchmarks.chaos --kills 100 --output chaos.csv
    """
    options.device(device_)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        experiment = _Experiment(Path(folder), seeds, steps, slots, random.Random(seed), pause)
        found = experiment.go(kills)
    row = {"name": "chaos", "what": f"{found['kills']} kills of a suite of {10 * seeds} trials", "note": ""}
    wrong = sum(found[name] for name in ("lost", "doubled", "different", "orphans", "folders", "hung"))
    row |= {"status": "wrong" if wrong else "ok", "threads": 1, **found}
    table = output.frame([row], circumstances("chaos", torch.device("cpu")))
    output.show_plain(table, row["what"], ["status", *(name for name in found if "killed_" not in name)])
    for name, count in found.items():
        if name.startswith("killed_"):
            typer.echo(f"  {name.removeprefix('killed_')} killed {count} times")
    output.write(table, output_)
    if wrong:
        raise typer.Exit(1)


class _Experiment:
    def __init__(
        self, folder: Path, seeds: int, steps: int, slots: int, draw: random.Random, pause: float
    ) -> None:
        self.folder, self.slots, self.draw, self.pause = folder, slots, draw, pause
        self.suite = write_mixed(folder / "mixed.yaml", seeds=seeds, steps=steps, pause=0.02)
        self.found: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self.drivers: set[int] = set()

    def go(self, kills: int) -> dict[str, int]:
        names = ("kills", "runs", "rounds", "resumed", "lost", "doubled", "different")
        self.found.update(dict.fromkeys((*names, "orphans", "folders", "hung"), 0))
        say("the undisturbed run")
        if self._run(self.folder / "undisturbed", kills=0) != 0:
            raise HarnessError(f"the undisturbed run failed: {(self.folder / 'log.txt').read_text()[-2000:]}")
        while self.found["kills"] < kills:
            self._round(self.folder / f"round-{self.found['rounds']}", kills)
            self.found["rounds"] += 1
        self.found["folders"] = sum(
            bool(list(Path(tempfile.gettempdir()).glob(f"hr-{pid}-*"))) for pid in self.drivers
        )
        return {**self.found, **{f"killed_{kind}": count for kind, count in self.killed.items()}}

    def _round(self, results: Path, kills: int) -> None:
        """Run and kill until the table is complete, then look at it."""
        finished: dict[Path, tuple[int, int]] = {}
        for _ in range(10 * kills):
            code = self._run(results, kills)
            now = _finished(results)
            again = [path for path, stamp in finished.items() if now.get(path) != stamp]
            self.found["doubled"] += len(again)
            finished = now
            if code == 0:
                break
        self._compare(results)
        say(f"round {self.found['rounds']} is complete: {dict(self.found)}")

    def _run(self, results: Path, kills: int) -> int:
        """One command, killed at while it runs; its exit code."""
        log = (self.folder / "log.txt").open("wb")
        driver = subprocess.Popen(
            [
                *(sys.executable, "-m", "harness", "run", str(self.suite), "--results", str(results)),
                *("--slots", str(self.slots), "--device", "cpu", "--checkpoint-every", "0.2"),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},  # SIGABRT then shows where a driver hangs
        )
        self.found["runs"] += 1
        self.drivers.add(driver.pid)
        seen: dict[int, psutil.Process] = {}
        end = time.monotonic() + RUN_SECONDS
        # Most kills come when there is something to lose, some while the command and Ray are starting.
        early = self.draw.random() < EARLY
        next_kill = time.monotonic() + self.draw.uniform(0, self.pause) if early else float("inf")
        while driver.poll() is None:
            time.sleep(0.05)
            below = _below(driver.pid)
            seen |= {each.pid: each for each in below}
            if next_kill == float("inf") and any(_kind(each) == "trial" for each in below):
                next_kill = time.monotonic() + self.draw.uniform(0, self.pause)
            if time.monotonic() > end:
                self.found["hung"] += 1
                driver.send_signal(signal.SIGABRT)
                driver.wait()
                said = (self.folder / "log.txt").read_text(errors="replace")
                say(f"hung, {sorted(map(_kind, below))} below it: {said[-4000:]}")
            if self.found["kills"] < kills and time.monotonic() > next_kill:
                self._kill(driver.pid, list(seen.values()))
                next_kill = time.monotonic() + self.draw.uniform(0, self.pause)
        log.close()
        _, left = psutil.wait_procs(list(seen.values()), timeout=ORPHAN_SECONDS)
        for orphan in left:
            self.found["orphans"] += 1
            say(f"an orphan: {_kind(orphan)} {orphan}")
            orphan.kill()
        return driver.returncode

    def _kill(self, driver: int, below: list[psutil.Process]) -> None:
        kinds: dict[str, list[psutil.Process]] = {"driver": [psutil.Process(driver)]}
        for process in below:
            if process.is_running():
                kinds.setdefault(_kind(process), []).append(process)
        known = [kind for kind in kinds if kind in WEIGHTS]
        (kind,) = self.draw.choices(known, [WEIGHTS[kind] for kind in known])
        victim = self.draw.choice(kinds[kind])
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return
        self.found["kills"] += 1
        self.killed[kind] += 1

    def _compare(self, results: Path) -> None:
        ours, theirs = load_figure_data(results), load_figure_data(self.folder / "undisturbed")
        folders = list((results / "trials").iterdir())
        self.found["lost"] += int((ours.table["status"] != "ok").sum())
        self.found["doubled"] += abs(len(folders) - len(theirs.table))
        for mine, other in (
            (ours.table.drop(columns=list(VOLATILE)), theirs.table.drop(columns=list(VOLATILE))),
            (ours.history.drop(columns=["seconds"]), theirs.history.drop(columns=["seconds"])),
        ):
            try:
                pd.testing.assert_frame_equal(mine, other, check_exact=True)
            except AssertionError as error:
                self.found["different"] += 1
                say(str(error))
        records = [read_record(folder / "record.json") for folder in folders]
        self.found["resumed"] += sum(bool(record.provenance.get("resumes")) for record in records)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kind(process: psutil.Process) -> str:
    try:
        name, words = process.name(), " ".join(process.cmdline())
        if "harness.execution.worker" in words:
            parent = process.parent()
            own = parent is not None and "harness.execution.worker" in " ".join(parent.cmdline())
            return "trial" if own else "worker"
    except psutil.Error:
        return "gone"
    for kind in ("raylet", "gcs_server"):
        if name.startswith(kind):
            return kind
    if "ray::ResourceTrainable" in words:
        return "actor"
    return "agent" if "agent" in words else "other"


def _finished(results: Path) -> dict[Path, tuple[int, int]]:
    """Records of trials that are done, with a stamp that changes when one is written again."""
    found = {}
    for path in (results / "trials").glob("*/record.json"):
        stat = path.stat()
        if read_record(path).finished:
            found[path] = (stat.st_ino, stat.st_mtime_ns)
    return found


if __name__ == "__main__":
    options.main(app, "chaos")
