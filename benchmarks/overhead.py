"""What the harness itself costs: many trials that do nothing, a large plan, many records.

| name | what | at most |
|---|---|---|
| `run` | `harness run` of 500 trials that do next to nothing, on 2 slots, report and all | 60 s |
| `plan` | `harness plan` of 10,000 trials | 3 s, 500 MB |
| `report` | `harness report` of a folder with 10,000 records | 20 s |
| `suite` | `harness run` of the suite that `--suite` names, instead of all above | 1.05 of its training |

The training of a suite is the sum of its trials' `train_seconds` divided by the slots: what no runner could
do without. What a suite measures is not in it, so that one which measures little shows the runner alone.

Each is the command as a person gives it, in a process of its own: wall-clock, the time on the CPU of that
process (Ray's processes are not in it), and its peak of resident memory. The records of `report` are one real
record written out under the keys of all trials.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import options, output
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from benchmarks.runner.suites import write_featherweights
from harness.errors import HarnessError
from harness.execution.run_suite import RunOptions, plan_suite
from harness.store.record import LANES, read_record
from harness.store.store import Store
from harness.suite.suite import load_suite

LIMITS = {"run": (60.0, None), "plan": (3.0, 500.0), "report": (20.0, None)}
"""Name -> seconds, and MB of memory."""

MOST_OF_TRAINING = 1.05
"""Wall-clock of a real suite, as a share of its training on its slots."""

app = options.new_app()


@app.command()
def overhead(
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials of `run`.")] = 500,
    planned: Annotated[int, typer.Option("--planned", min=1, help="Trials of `plan`.")] = 10_000,
    records: Annotated[int, typer.Option("--records", min=1, help="Records of `report`.")] = 10_000,
    slots: Annotated[int, typer.Option("--slots", min=1)] = 2,
    suite: Annotated[Path | None, typer.Option("--suite", help="Time a run of this suite alone.")] = None,
    device_: options.DeviceOption = "cpu",
    output_: options.OutputOption = None,
) -> None:
    """Time the commands on trials that cost nothing; exit 1 where one takes longer than it may.

    Example: python -m benchmarks.overhead --trials 100 --output overhead.csv

    Real training: python -m benchmarks.overhead --suite benchmarks/runner/training.yaml
    """
    options.device(device_)
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        if suite is not None:
            rows = [_suite(folder, suite, slots)]
        else:
            rows = [_run(folder, trials, slots), _plan(folder, planned), _report(folder, records)]
    table = output.frame(rows, circumstances("overhead", torch.device("cpu")))
    shown = [
        "name",
        "what",
        "seconds",
        "limit_s",
        "cpu_seconds",
        "peak_mb",
        "limit_mb",
        "ms_a_trial",
        "status",
    ]
    output.show_plain(table, "what the harness costs", shown)
    output.write(table, output_)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


def _run(folder: Path, count: int, slots: int) -> dict[str, Any]:
    suite = write_featherweights(folder / "run.yaml", variants=max(count // 50, 1), seeds=min(count, 50))
    results = folder / "run"
    command = ["run", str(suite), "--results", str(results), "--slots", str(slots), "--device", "cpu"]
    row = _time("run", command)
    done = len(list((results / "trials").glob("*/record.json")))
    return _judge(row, done, f"{done} trials on {slots} slots")


def _suite(folder: Path, suite: Path, slots: int) -> dict[str, Any]:
    results = folder / "suite"
    command = ["run", str(suite), "--results", str(results), "--slots", str(slots), "--device", "cpu"]
    row = _time("suite", command)
    found = [read_record(path).columns for path in (results / "trials").glob("*/record.json")]
    trained = sum(columns.get("train_seconds") or 0.0 for columns in found)
    return _judge(
        row, len(found), f"{trained:.0f} s of training on {slots} slots", (of_training(trained, slots), None)
    )


def of_training(seconds: float, slots: int) -> float:
    """Seconds that a run may take whose trials train so many seconds in all."""
    return MOST_OF_TRAINING * seconds / slots


def _plan(folder: Path, count: int) -> dict[str, Any]:
    suite = write_featherweights(folder / "plan.yaml", variants=max(count // 100, 1), seeds=min(count, 100))
    row = _time("plan", ["plan", str(suite), "--results", str(folder / "nowhere")])
    return _judge(row, count, f"{count} trials")


def _report(folder: Path, count: int) -> dict[str, Any]:
    """A folder as a run of so many trials would have left it; written without syncing each file."""
    suite = load_suite(
        write_featherweights(folder / "report.yaml", variants=max(count // 100, 1), seeds=min(count, 100))
    )
    record_of_run = next((folder / "run" / "trials").glob("*/record.json"), None)
    if record_of_run is None:
        raise HarnessError("`harness run` left no record, so that there is none to write reports from")
    pattern = read_record(record_of_run)
    store = Store(folder / "report")
    plan = plan_suite(suite, RunOptions(results=store.folder))
    store.write_plan(plan.plain(), suite.document.text)
    for planned in plan.trials:
        trial = planned.trial
        record = replace(
            pattern, key=trial.key, variant=trial.variant, seed=trial.seed, config=trial.config, lanes=LANES
        )
        place = store.folder / "trials" / trial.folder_name
        place.mkdir(parents=True)
        (place / "record.json").write_text(json.dumps(asdict(record), indent=1, sort_keys=True))
    row = _time("report", ["report", str(store.folder)])
    shutil.rmtree(store.folder)
    return _judge(row, count, f"{count} records")


def _time(name: str, command: list[str]) -> dict[str, Any]:
    say(f"harness {' '.join(command)}")
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *command], stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        errors.seek(0)
        last = errors.read().decode().strip().rpartition("\n")[2]
    process.returncode = os.waitstatus_to_exitcode(status)
    bytes_a_unit = 1 if sys.platform == "darwin" else 1024
    return {
        "name": name,
        "note": last if process.returncode else "",
        "exit_code": process.returncode,
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * bytes_a_unit / 1e6,
    }


def _judge(
    row: dict[str, Any], count: int, what: str, limits: tuple[float, float | None] | None = None
) -> dict[str, Any]:
    seconds, megabytes = limits or LIMITS[row["name"]]
    status = "ok"
    if row["exit_code"]:
        status = "failed"
    elif row["seconds"] > seconds:
        status = "out of time limit"
    elif megabytes is not None and row["peak_mb"] > megabytes:
        status = "out of memory limit"
    per_trial = 1000.0 * row["seconds"] / max(count, 1)
    return {
        **row,
        "what": what,
        "status": status,
        "limit_s": seconds,
        "limit_mb": megabytes,
        "ms_a_trial": per_trial,
        "threads": 1,
    }


if __name__ == "__main__":
    options.main(app, "overhead")
