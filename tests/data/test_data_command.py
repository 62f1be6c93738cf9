"""`harness data`: what a person sees and gets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from declared import declared
from miniature import COUNTS, SMALL, lay_out
from typer.testing import CliRunner

from harness.analysis import dataset_figure
from harness.cli.main import app
from harness.data import sc09, speech_commands
from harness.data.beethoven import Beethoven
from harness.errors import HarnessError

SHORT = ["--set", f"seconds={SMALL['seconds']}"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder HARNESS_DATA with a miniature of SC09."""
    for module in (speech_commands, sc09):
        monkeypatch.setattr(module, "CLIPS", COUNTS)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    return lay_out(tmp_path / "data" / "sc09")


def says(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", *arguments])
    assert isinstance(done.exception, HarnessError), done.output
    return str(done.exception)


def test_every_data_set_is_listed_with_its_clip_and_its_place(here):
    rows = json.loads(says("list", "--json"))
    assert {*declared("datasets")} <= {*rows}  # tests register more
    assert rows["sc09"] == rows["sc09"] | {"clip": "1 s at 16 kHz", "where": str(here)}
    assert rows["beethoven"]["clip"] == "8 s at 16 kHz"
    assert rows["youtubemix"]["where"].startswith("not here; `harness data fetch youtubemix`")
    assert rows["audio_folder"]["where"].startswith("needs path")
    assert "fsdd" in says("list")


def test_fetching_says_what_is_there_and_where(here):
    assert "sc09 is ready: v0.02, 40 train, 10 validation, 10 test" in (said := says("fetch", "sc09", *SHORT))
    assert f"files: {here}" in said and "note: 40 clips padded to length" in said


def test_a_set_that_cannot_be_had_says_how_else():
    assert "set HARNESS_DATA to the folder that holds them as beethoven" in refused("fetch", "beethoven")


def test_info_counts_hours_labels_and_digests(here):
    about = json.loads(says("info", "sc09", *SHORT, "--json"))
    assert {name: split["clips"] for name, split in about["splits"].items()} == COUNTS["v0.02"]
    train = about["splits"]["train"]
    assert train["hours"] == pytest.approx(train["samples"] / 16000 / 3600)
    assert about["labels"]["seven"] == {"train": 4, "validation": 1, "test": 1}
    assert (about["quantiser"], about["min_max"], about["recipe"]) == ("mu_law", True, "s4")
    assert about["licence"] == "CC BY 4.0" and about["version"] == "v0.02"
    assert len(about["files_sha256"]) == len(about["tokens_sha256"]) == 64
    text = says("info", "sc09", *SHORT)
    for words in ("CC BY 4.0", "seven", about["files_sha256"], "token 128", "mu_law"):
        assert words in text


def test_a_mapping_says_a_data_set_as_in_a_suite_and_set_goes_over_it():
    data = "{name: sc09, seconds: " + str(SMALL["seconds"]) + "}"
    subset = "{name: subset, clips: 7, of: " + data + "}"
    assert json.loads(says("info", subset, "--json"))["splits"]["train"]["clips"] == 7
    fewer = json.loads(says("info", subset, "--set", "clips=3", "--json"))
    assert fewer["name"] == "subset" and fewer["splits"]["train"]["clips"] == 3


def test_the_list_of_files_has_another_digest_when_a_clip_changes_its_split(here):
    before = json.loads(says("info", "sc09", *SHORT, "--json"))
    lists = here / "validation_list.txt", here / "testing_list.txt"
    texts = [path.read_text() for path in lists]
    for path, text in zip(lists, reversed(texts), strict=True):
        path.write_text(text)
    after = json.loads(says("info", "sc09", *SHORT, "--json"))
    assert before["files_sha256"] != after["files_sha256"]
    assert before["tokens_sha256"] != after["tokens_sha256"]


def test_clips_are_drawn_one_of_each_label(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_figure, "MOST", 2)  # a tenth of the time
    says("info", "sc09", *SHORT, "--figure", str(tmp_path / "sc09"))
    assert (tmp_path / "sc09.png").stat().st_size > 20_000
    assert (tmp_path / "sc09.svg").read_text().count("<image ") >= 2


def test_clips_without_labels_are_drawn_from_each_split(tmp_path, monkeypatch):
    folder = tmp_path / "beethoven"
    folder.mkdir()
    for number in range(9):
        noise = np.random.default_rng(number).integers(-99, 99, 900).astype(np.int16)
        soundfile.write(folder / f"{number}.wav", noise, 16000)
    monkeypatch.setattr(Beethoven, "recordings", 9)
    data = Beethoven(Beethoven.Config(path=str(folder), seconds=0.05))
    titles = [axes.get_title() for axes in dataset_figure.draw(data, "beethoven").axes]
    assert [title for title in titles if title] == ["train 0", "train 1", "validation 0", "test 0"]


def test_verifying_says_what_is_right_and_refuses_what_is_not(here):
    assert says("verify", "sc09", *SHORT).count("ok: ") == 3
    (here / "two" / "00000002_nohash_0.wav").write_bytes(b"")
    assert "is empty" in refused("verify", "sc09", *SHORT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "sc90"), "did you mean 'sc09'"),
        (("info", "sc09", "--set", "secons=1"), "did you mean 'seconds'"),
        (("info", "sc09", "--set", "seconds"), "expected SETTING=VALUE"),
        (("info", "audio_folder"), "path: is required"),
        (("info", "{name: sc09, secons: 1}"), "did you mean 'seconds'"),
        (("info", "{seconds: 1}"), "a dataset needs a name; known: "),
        (("info", "{name: sc09"), "such as '{name: fsdd, seconds: 0.5}'"),
        (("info", "[sc09]"), "such as '{name: fsdd, seconds: 0.5}'"),
        (("fetch", "sc09", "--set", "path=/nowhere"), "there is no folder /nowhere"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(arguments, words):
    assert words in refused(*arguments)
