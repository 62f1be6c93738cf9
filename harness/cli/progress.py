"""Progress of a run: a line a running trial and one for the whole, with the time left.

On a terminal the lines live; in a log file each finished trial gets one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.cli.format import duration
from harness.execution.forecast import SHARES, Forecast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from harness.execution.plan import Plan
    from harness.execution.run_trial import Task
    from harness.store.record import Record


class Display:
    """Listens to an executor's events."""

    def __init__(self, plan: Plan, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = console
        self.lines: dict[tuple[str, str], TaskID] = {}
        self.live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.overall = self.live.add_task("all", total=1.0, words="", visible=False)
        self.planned(plan)

    def __enter__(self) -> Display:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def waiting(self, words: str) -> None:
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    def planned(self, plan: Plan) -> None:
        todo = plan.to_run()
        self.forecast = Forecast(plan)
        # A trial that is only to be measured has its training behind it.
        self.steps = sum(1 if planned.state == "to measure" else len(SHARES) for planned in todo)
        self.ended_steps = 0
        self.live.update(self.overall, visible=bool(todo))

    def started(self, task: Task) -> None:
        key = (task.trial.key, task.lane)
        if key not in self.lines:
            self.lines[key] = self.live.add_task(self._name(task), total=1.0, words="starting")

    def progress(self, task: Task, fraction: float, text: str) -> None:
        self.started(task)
        self.live.update(self.lines[task.trial.key, task.lane], completed=fraction, words=text)
        self.forecast.progress(task, fraction)
        self._show_overall()

    def ended(self, task: Task, record: Record) -> None:
        self.started(task)
        self.live.remove_task(self.lines.pop((task.trial.key, task.lane)))
        both = task.lane == "training" and (record.status != "ok" or record.finished)
        self.ended_steps += len(SHARES) if both else 1
        self.forecast.ended(task, record)
        self._show_overall()
        self.console.print(self._ending(task, record), highlight=False, markup=False, soft_wrap=True)

    def _show_overall(self) -> None:
        left = duration(self.forecast.seconds_left)
        words = f"{self.ended_steps}/{self.steps}, about {left} left"
        self.live.update(self.overall, completed=self.forecast.fraction, words=words)

    def _ending(self, task: Task, record: Record) -> str:
        name = f"[{self.ended_steps}/{self.steps}] {self._name(task)}"
        if record.status != "ok":
            return f"{name}: {record.status}: {record.error}"
        columns: dict[str, Any] = dict(record.columns)
        if task.lane == "exclusive":
            step = columns.get("train_step_ms")
            return f"{name}: measured" + (f", {step:.1f} ms a step" if step else "")
        text = f"{name}: trained in {duration(columns.get('train_seconds', 0.0))}"
        bits = columns.get("nll_bits_test")
        return text + (f", test {bits:.3f} bits" if bits is not None else "")

    @staticmethod
    def _name(task: Task) -> str:
        return f"{task.trial.variant} s{task.trial.seed}"
