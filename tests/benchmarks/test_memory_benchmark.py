"""`python -m benchmarks.memory`: a line through two lengths, and what fits below it."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.memory import app

SMALL = "small={name: poolformer, width: 8, layers: 1, pooling: [2], dropout: 0.0}"
CHUNKS = SMALL.replace("small=", "chunks=").replace("}", ", recompute_chunk: 20}")


def test_recomputed_chunks_keep_less_and_fit_longer_clips(tmp_path):
    table = tmp_path / "memory.csv"
    arguments = ["--model", SMALL, "--model", CHUNKS, "--lengths", "100,200", "--output", str(table)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "tokens in 24 GB" in done.output
    small, chunks = pd.read_csv(table).itertuples()
    assert small.parameters == chunks.parameters and small.fixed_mib >= 20 * small.parameters / 2**20
    assert 0 < chunks.bytes_per_token < small.bytes_per_token / 2
    for row in (small, chunks):
        assert row.fits_24_gb == pytest.approx((24e9 - 2**20 * row.fixed_mib) / row.bytes_per_token, rel=1e-6)
        assert row.fits_139_gib > row.fits_24_gb


@pytest.mark.parametrize("lengths", ["100", "200,100", "1,2,3"])
def test_it_takes_two_lengths_in_order(lengths):
    done = CliRunner().invoke(app, ["--model", SMALL, "--lengths", lengths])
    assert done.exit_code == 2 and "takes two, the longer second" in done.output
