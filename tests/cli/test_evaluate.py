"""`harness sample` and `harness evaluate`: more clips, scores brought up to date, anybody's sound files."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from harness import api
from harness.cli.main import app
from harness.cli.published_beside import print_published, published_beside
from harness.errors import HarnessError
from harness.evaluation.quality import judging
from harness.registry import load_plugin

PLUGIN = Path(__file__).parents[1] / "evaluation" / "quality" / "tone_plugin.py"

SUITE = f"""name: tones
plugins: [{PLUGIN}]
base:
  model: {{name: noise}}
  data: {{name: tones}}
  train: {{steps: 1, batch_size: 2, warmup_steps: 0, validation_clips: 1}}
vary: {{model.width: [2]}}
seeds: 1
measure: [{{name: nll, max_clips: 2, train_clips: 2}}, {{name: quality, clips: 6, batch: 6, resamples: 5}}]
figures: []
"""


@pytest.fixture(scope="module")
def plugin():
    load_plugin(PLUGIN)
    return next(
        module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == str(PLUGIN)
    )


@pytest.fixture(scope="module", autouse=True)
def bands(plugin, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(judging, "extractor_for", lambda *_: plugin.Bands())
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory, bands):
    """Two trials, run once; the tests below come one after the other."""
    place = tmp_path_factory.mktemp("results")
    (place / "tones.yaml").write_text(SUITE)
    api.run_suite(place / "tones.yaml", serial=True, results=place / "tones")
    return place / "tones"


def harness(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None:
        raise done.exception
    return done


def refused(*words):
    with pytest.raises(HarnessError) as caught:
        harness(*words)
    return str(caught.value)


def records(results):
    found = [json.loads(path.read_text()) for path in sorted(results.glob("trials/*/record.json"))]
    return {record["variant"]: record for record in found}


def clips(results, variant, folder="samples"):
    return sorted(next(results.glob(f"trials/{variant}-*/{folder}")).glob("*.flac"))


@pytest.fixture
def wavs(tmp_path, plugin):
    """The recordings of the training set, as somebody's files."""

    def write(rate=plugin.RATE, channels=1, count=48):
        data = plugin.Tones(plugin.Tones.Config())
        folder = tmp_path / "wavs"
        folder.mkdir()
        for number, wave in enumerate(data.decode(data.splits["train"].tokens[:count])):
            soundfile.write(folder / f"{number}.wav", np.stack([wave] * channels, axis=1), rate)
        return folder

    return write


# ------------------------------------------------------------------------------- results folders


def test_more_clips_are_drawn_of_the_trials_named_and_the_table_stays_as_it_is(results):
    before, old = records(results), {path: path.stat().st_mtime_ns for path in clips(results, "base")}
    done = harness("sample", results, "base", "--clips", 9)
    assert "base s0: 9 clips, 3 new" in done.stdout
    assert len(clips(results, "base")) == 9 and len(clips(results, "width-2")) == 6
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in old.items())
    assert records(results) == before
    with (old.popitem()[0].parent / "samples.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 9 and all(row["label"] for row in rows)


def test_all_trials_are_scored_on_as_many_clips_as_each_has_unless_more_are_asked_for(results):
    harness("sample", results, "base", "--clips", 9)  # where the test above ran elsewhere
    done = harness("evaluate", results, "--no-report")
    assert "scored on 6 clips each" in done.stderr
    assert {record["columns"]["quality_samples"] for record in records(results).values()} == {6}
    done = harness("evaluate", results, "--clips", 9, "--no-report")
    assert "width=2 s0: left out, it has 6 clips, not 9" in done.stderr
    samples = {name: record["columns"]["quality_samples"] for name, record in records(results).items()}
    assert samples == {"base": 9, "width=2": 6}


def test_new_scores_take_the_old_ones_places_and_the_record_says_when(results, monkeypatch):
    reported = []
    monkeypatch.setattr("harness.cli.report.write_and_print", reported.append)
    before = records(results)["base"]
    harness("sample", results, "--clips", 12)
    harness("evaluate", results, "--rejection", "published", "--output", results / "scores.csv")
    after = records(results)["base"]
    assert after["columns"]["quality_rejection"] == "published"
    assert (after["columns"]["quality_samples"], after["columns"]["quality_drawn"]) == (7, 12)
    assert after["columns"]["fid"] != before["columns"]["fid"]
    others = [name for name in before["columns"] if name.startswith(("nll", "train"))]
    assert others and all(after["columns"][name] == before["columns"][name] for name in others)
    assert after["provenance"]["quality"]["command"] and after["provenance"]["quality"]["finished_at"]
    assert reported == [results]
    assert len((results / "scores.csv").read_text().splitlines()) == 3


def test_tempered_clips_lie_apart_and_are_never_the_models_score(results):
    harness("sample", results, "--clips", 12)
    harness("evaluate", results, "--rejection", "published", "--no-report")
    before = records(results)
    harness("sample", results, "base", "--clips", 20, "--temperature", 0.5, "--top-p", 0.9)
    assert len(clips(results, "base", "samples-temperature0.5-top_p0.9")) == 20
    harness("evaluate", results, "--rejection", "published", "--no-report")
    assert records(results)["base"]["columns"] == before["base"]["columns"]


def test_clips_of_other_weights_are_not_scored(results):
    for file in results.glob("trials/*/samples/samples.json"):
        file.write_text(file.read_text().replace('"weights": "', '"weights": "other'))
    assert "of other weights" in refused("evaluate", results)
    harness("sample", results, "--clips", 6)
    assert len(clips(results, "base")) == 6


def test_what_cannot_be_sampled_or_scored_is_refused(results, tmp_path):
    assert "did you mean 'base'?" in refused("sample", results, "bsae")
    assert "--temperature must be above 0" in refused("sample", results, "--temperature", 0)
    assert "--top-p must lie" in refused("sample", results, "--top-p", 1.5)
    assert "no plan.json" in refused("sample", tmp_path)
    assert "a results folder knows its own" in refused("evaluate", results, "--against", "fsdd")


# --------------------------------------------------------------------------------- sound files


def test_the_training_recordings_themselves_are_at_no_distance(wavs, results):
    found = json.loads(harness("evaluate", wavs(), "--against", results, "--json").stdout)
    assert found["columns"]["quality_samples"] == 48
    assert found["columns"]["fid"] < 1e-3 and found["columns"]["coverage"] > 0.99
    assert found["notes"] == []


def test_whatever_is_done_to_files_is_said(wavs, tmp_path):
    folder = wavs(rate=16000, channels=2)
    soundfile.write(folder / "long.flac", np.sin(np.arange(9000)), 8000)
    done = harness("evaluate", folder, "--against", "tones", "--output", tmp_path / "row.csv")
    for words in (
        "48 of 49 files resampled from 16000 Hz to 8000 Hz",
        "48 of 49 files of 2 channels mixed down to one",
        "1 of 49 files longer than 0.08 s cut to it",
        "48 of 49 files shorter than 0.08 s padded with silence",
        "classifier bands bbbbbbbbbbbb, 100.0% right",
        "49 of 49 clips, rejection rule none",
    ):
        assert words in done.stdout, words
    assert "mel_distance" in (tmp_path / "row.csv").read_text()


def test_likelihoods_of_the_files_choose_those_that_are_scored(wavs, tmp_path):
    folder = wavs(count=20)
    assert "--likelihoods" in refused("evaluate", folder, "--against", "tones", "--rejection", "published")
    table = tmp_path / "likelihoods.csv"
    table.write_text("file,log_likelihood\n" + "".join(f"{number}.wav,{-number}\n" for number in range(20)))
    words = ("evaluate", folder, "--against", "tones", "--rejection", "published", "--likelihoods", table)
    assert json.loads(harness(*words, "--json").stdout)["columns"]["quality_samples"] == 11
    table.write_text("file,log_likelihood\n0.wav,-1\n")
    assert "has no row for 1.wav and 18 other files" in refused(*words)
    table.write_text("file,log_likelihood\n0.wav,likely\n")
    assert "line 2: 'likely' is no log-likelihood" in refused(*words)
    table.write_text("name\n0.wav\n")
    assert "needs the columns `file` and `log_likelihood`" in refused(*words)


def test_folders_without_sound_are_refused_with_the_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    evaluate = ("evaluate", "--against", "tones")
    (tmp_path / "texts" / "a.txt").write_text("la la la")
    assert "holds only a.txt, which is no sound file" in refused(*evaluate, tmp_path / "texts")
    (tmp_path / "texts" / "b.txt").write_text("la la la")
    assert "holds nothing: no sound file (.flac, .mp3, .ogg, .wav)" in refused(*evaluate, tmp_path / "empty")
    assert "holds 2 files, a.txt among them, and none is a sound file" in refused(
        *evaluate, tmp_path / "texts"
    )
    (tmp_path / "texts" / "c.wav").write_text("la la la")
    (tmp_path / "texts" / "d.wav").write_text("la la la")
    assert "c.wav as sound" in refused(*evaluate, tmp_path / "texts")
    assert "is a file" in refused(*evaluate, tmp_path / "texts" / "a.txt")
    assert "there is no folder" in refused(*evaluate, tmp_path / "nowhere")


def test_a_data_set_that_is_unknown_missing_or_no_sound_is_refused(wavs):
    folder = wavs(count=2)
    assert "--against" in refused("evaluate", folder)
    assert "did you mean 'tones'?" in refused("evaluate", folder, "--against", "tonse")
    assert "no sound" in refused("evaluate", folder, "--against", "{name: tones, sample_rate: null}")


def test_published_scores_stand_beside_with_the_reason_where_they_are_not_comparable():
    data = {"name": "sc09", "sample_rate": 16000, "seconds": 1.0, "quantiser": "mu_law", "min_max": True}
    ours = {"quality_samples": 1000, "quality_rejection": "none", "quality_extractor": "small 0123"}
    found = {row["model"]: row for row in published_beside(ours, data, "v0.02")}
    assert found["sashimi"]["fid"] == 1.99 and not found["sashimi"]["comparable"]
    assert "ours is of 1000 clips, theirs of 2816" in found["sashimi"]["reason"]
    assert published_beside(ours, {"name": "fsdd"}, "1") == []
    console = Console(file=io.StringIO(), width=120)
    print_published(console, list(found.values()))
    assert "the classifier small 0123, theirs by the published one" in console.file.getvalue()
