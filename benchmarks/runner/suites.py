"""The suites that the runner's benchmarks run."""

from __future__ import annotations

from pathlib import Path

PLUGIN = Path(__file__).with_name("plugin.py")

HEAD = """name: {name}
plugins: ["{plugin}"]
base:
  model: {{name: featherweight}}
  data: {{name: noise}}
  train: {{steps: {steps}, batch_size: 2, warmup_steps: 0, validate_every: {steps}}}
figures: []
"""


def write_featherweights(file: Path, *, variants: int, seeds: int, steps: int = 1) -> Path:
    """Variants x seeds trials that do nothing worth mentioning."""
    widths = list(range(2, 2 + variants))  # the first is the base under another name
    lines = f"vary: {{model.width: {widths}}}\nseeds: {seeds}\nmeasure: []\n"
    return _write(file, "featherweights", lines, steps)


def write_mixed(file: Path, *, seeds: int, steps: int, pause: float) -> Path:
    """Ten variants of four kinds of model, trained for real; `pause` seconds a step in half of them."""
    lines = f"""vary: {{model.width: [3, 4, 5]}}
variants:
  slow: {{model: {{width: 6, pause: {pause}}}}}
  slower: {{model: {{width: 7, pause: {2 * pause}}}}}
  poolformer: {{model: {{name: poolformer, width: 8, layers: 1, pooling: [2, 2]}}}}
  dropout: {{model: {{name: poolformer, width: 8, layers: 1, pooling: [2], dropout: 0.1}}}}
  transformer: {{model: {{name: transformer, width: 8, layers: 1, heads: 2}}}}
  markov: {{model: {{name: markov, order: 1}}}}
seeds: {seeds}
measure: [nll]
"""
    return _write(file, "mixed", lines, steps)


def _write(file: Path, name: str, lines: str, steps: int) -> Path:
    file.write_text(HEAD.format(name=name, plugin=PLUGIN, steps=steps) + lines, encoding="utf-8")
    return file
