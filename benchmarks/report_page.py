"""`python -m benchmarks.report_page`: how large the report page of a suite of many trials is, and how fast.

A suite of made-up trials, one in twenty of them failed. The page is written as `harness report` writes
it; where Chromium and playwright are there, it is opened and its load event timed, at two widths.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks import options, output
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness.analysis.page.write import write_page
from harness.analysis.summary import summarise
from harness.contracts import Column, FigureData
from harness.store.record import Record
from harness.suite.trial import Trial

SEEDS = 3
LOADS = 3
COLUMNS = {
    "nll_bits_test": Column(description="test", unit="bits/sample", better="lower"),
    "train_step_ms": Column(description="step", unit="ms", better="lower"),
    "peak_memory_mib": Column(description="peak", unit="MiB", better="lower"),
    "tokens_per_second": Column(description="speed", unit="samples/s", better="higher"),
}
SHOWN = ("name", "what", "median_ms", "mib", "note")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

app = options.new_app()


@app.command()
def report_page(
    trials: Annotated[str, typer.Option(help="Sizes of the suite, several by commas.")] = "1,42,2000",
    csv: options.OutputOption = None,
) -> None:
    """Time the report page of suites of many trials: writing it, and opening it in Chromium.

    Example: python -m benchmarks.report_page --trials 2000
    """
    target = options.device("cpu")
    rows = []
    for count in options.integers(trials):
        say(f"{count} trials")
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), count)
    table = output.frame(rows, circumstances("report_page", target))
    output.show_plain(table, "report.html of a made-up suite", SHOWN, {"mib": "MiB"})
    output.write(table, csv)


def measure(folder: Path, count: int) -> list[dict[str, Any]]:
    """Writing, and loading at two widths."""
    data = made_up(count)
    summary = summarise(data.table, COLUMNS, data.variants, data.base)
    pairs = [_pair(folder, row) for row in data.table.to_dict("records")]
    plan = {
        "name": "made up",
        "question": "How fast is the page?",
        "variants": [{"name": name, "config": {"model": {"name": name}}} for name in data.variants],
    }
    start = time.perf_counter()
    path = write_page(folder, data, pairs, summary, COLUMNS, plan=plan)
    seconds = time.perf_counter() - start
    about = {"name": f"{count} trials", "status": "ok", "note": "", "mib": path.stat().st_size / 2**20}
    return [{**about, "what": "write", "median_ms": 1e3 * seconds}, *_loads(path, about)]


def made_up(count: int) -> FigureData:
    """As many trials, in variants of three seeds; one in twenty failed."""
    draws = np.random.default_rng(0)
    rows = []
    for number in range(count):
        variant, seed = f"width={8 + number // SEEDS}", number % SEEDS
        ok = number % 20 != 7
        values = {name: draws.lognormal(1.0, 0.1) if ok else np.nan for name in COLUMNS}
        rows.append(
            {
                "variant": variant,
                "seed": seed,
                "key": f"{number:012x}",
                "status": "ok" if ok else "failed",
                "error": "" if ok else "RuntimeError: it broke",
                "model": "poolformer",
                **values,
            }
        )
    table = pd.DataFrame(rows)
    variants = list(dict.fromkeys(table["variant"]))
    history = pd.DataFrame(columns=["key", "variant", "seed", "step", "nll_bits_validation"])
    return FigureData(table=table, history=history, variants=variants, base=variants[0])


def _pair(folder: Path, row: dict[Any, Any]) -> tuple[Trial, Record, Path]:
    trial = Trial(row["variant"], row["seed"], {"model": {"name": row["variant"]}})
    record = Record(
        key=trial.key,
        variant=trial.variant,
        seed=trial.seed,
        config=trial.config,
        status=row["status"],
        error=row["error"],
        provenance={"torch_version": "2", "threads": 1},
    )
    return trial, record, folder / "trials" / trial.folder_name


def _loads(page: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Median time to the load event; a row with the reason where there is no browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser, why = None, "needs pip install -e '.[browser]'"
    else:
        why = "needs Chromium"
    if browser is None:
        return [{**about, "what": "load", "status": "missing", "note": why, "median_ms": float("nan")}]
    found = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for width in (1440, 390):
            times = []
            for _ in range(LOADS):
                tab = chromium.new_page(viewport={"width": width, "height": 900})
                start = time.perf_counter()
                tab.goto(page.as_uri(), wait_until="load")
                times.append(1e3 * (time.perf_counter() - start))
                tab.close()
            found.append({**about, "what": f"load at {width} px", "median_ms": median(times)})
        chromium.close()
    return found


if __name__ == "__main__":
    app()
