"""Clips in a folder: the same whenever they are drawn, whole or absent, and continued after a kill."""

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F

from harness.data.quantisation import decode
from harness.errors import DataError, HarnessError
from harness.evaluation.clip_folder import ClipFolder
from harness.evaluation.clips import clips_folder, draw_clips, weights_sha256

LENGTH = 24


def dataset(sample_rate=8000):
    split = SimpleNamespace(tokens=np.zeros((2, LENGTH), dtype=np.uint8))
    return SimpleNamespace(splits={"train": split}, length=LENGTH, sample_rate=sample_rate, decode=decode)


def draw(model, folder, count, sample_rate=8000, **options):
    settings = {"seed": 3, "device": "cpu", "batch": 4} | options
    return draw_clips(model, dataset(sample_rate), folder, count=count, **settings)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix}


def test_more_clips_later_are_the_clips_of_drawing_all_at_once(toy, tmp_path):
    model = toy()
    draw(model, tmp_path / "often", 3)
    kept = contents(tmp_path / "often")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "often").glob("*.flac")}
    draw(model, tmp_path / "often", 5)
    draw(model, tmp_path / "often", 10)
    draw(model, tmp_path / "once", 10)
    assert contents(tmp_path / "often") == contents(tmp_path / "once")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()), "drawn again"
    assert len(kept) == 3 + 2 and "000009.flac" in contents(tmp_path / "once")


def test_clips_in_batches_of_another_size_are_the_same_up_to_rounding(toy, tmp_path):
    model = toy().double()
    fours, fives = (draw(model, tmp_path / str(size), 8, batch=size) for size in (4, 5))
    np.testing.assert_array_equal(fours.read(0, 100), fives.read(0, 100))
    np.testing.assert_allclose(fours.log_likelihood_bits, fives.log_likelihood_bits, rtol=1e-12)


def test_clips_differ_from_each_other_and_from_those_of_another_seed(toy, tmp_path):
    model = toy()
    waveforms = draw(model, tmp_path / "a", 6).read(0, 100)
    assert len(np.unique(waveforms, axis=0)) == 6
    assert not np.array_equal(waveforms, draw(model, tmp_path / "b", 6, seed=4).read(0, 100))


def test_files_hold_every_level_and_the_table_the_likelihood_in_the_untempered_model(toy, tmp_path):
    model = toy().double()
    clips = draw(model, tmp_path, 5, temperature=0.7, top_p=0.9)
    levels = decode(np.arange(256))
    tokens = np.abs(clips.read(0, 100)[..., None] - levels).argmin(-1)
    np.testing.assert_allclose(clips.read(0, 100), levels[tokens], atol=2**-16)
    with torch.no_grad():
        log_p = F.log_softmax(model(torch.from_numpy(tokens)), -1)
    bits = log_p.gather(-1, torch.from_numpy(tokens)[..., None]).sum((1, 2)) / math.log(2)
    np.testing.assert_allclose(clips.log_likelihood_bits, bits, rtol=1e-9)
    assert soundfile.info(tmp_path / "000000.flac").samplerate == 8000


def test_data_without_a_sample_rate_get_token_files(toy, tmp_path):
    clips = draw(toy(), tmp_path, 2, sample_rate=None)
    tokens = np.load(tmp_path / clips.clips[1].file)
    assert tokens.dtype == np.uint8 and tokens.shape == (LENGTH,)


def test_other_weights_begin_anew_and_leave_nothing_of_the_old(toy, tmp_path):
    first, second = toy(seed=0), toy(seed=1)
    assert weights_sha256(first) != weights_sha256(second) == weights_sha256(toy(seed=1))
    said = []
    draw(first, tmp_path / "both", 6)
    draw(second, tmp_path / "both", 2, progress=lambda fraction, text: said.append(text))
    draw(second, tmp_path / "alone", 2)
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")
    assert said[0] == "6 clips of other weights removed"


def test_a_clip_whose_file_is_gone_is_drawn_again_and_a_damaged_one_is_named(toy, tmp_path):
    model = toy()
    draw(model, tmp_path, 6)
    whole = contents(tmp_path)
    (tmp_path / "000002.flac").unlink()
    assert len(ClipFolder(tmp_path)) == 2
    draw(model, tmp_path, 6)
    assert contents(tmp_path) == whole
    (tmp_path / "000001.flac").write_bytes(b"fLaC")
    with pytest.raises(DataError, match=r"000001\.flac is damaged"):
        ClipFolder(tmp_path).read(0, 100)
    (tmp_path / "samples.csv").write_text("file,seed\n000000.flac,1\n")
    with pytest.raises(DataError, match=r"samples\.csv is damaged"):
        ClipFolder(tmp_path)


DYING = """
import os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch
from conftest import Toy
from test_clips import ClipFolder, draw

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def draw_until(place, folder):
    torch.manual_seed(0)
    model = Toy(Toy.Config())
    written = ClipFolder._write_table
    if place == "tokens":
        draw(model, folder, 16, progress=lambda done, _: die() if done > 0.6 else None)
    ClipFolder._write_table = lambda self, rows: die() if len(rows) > 8 else written(self, rows)
    draw(model, folder, 16)

for place in ("tokens", "files"):
    if (child := os.fork()) == 0:
        draw_until(place, Path(sys.argv[2], place))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_a_kill_loses_at_most_one_batch_and_leaves_no_half_file(toy, tmp_path):
    """Processes die in their third batch of four, without a chance to clean up: between two tokens,
    and between the files and the table."""
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", DYING, here, str(tmp_path)], check=True, timeout=120)
    draw(toy(), tmp_path / "whole", 16)
    for place in ("tokens", "files"):
        folder = tmp_path / place
        assert len(ClipFolder(folder)) == 8
        for file in folder.glob("*.flac"):
            assert soundfile.info(file).frames == LENGTH
        draw(toy(), folder, 16)
        assert contents(folder) == contents(tmp_path / "whole")


def test_two_processes_do_not_draw_into_one_folder(toy, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(HarnessError, match="another process"):
        draw(toy(), tmp_path, 1)


def test_progress_rises_to_one(toy, tmp_path):
    said = []
    draw(toy(), tmp_path, 6, progress=lambda fraction, text: said.append(fraction))
    assert said == sorted(said) and said[-1] == 1.0


def test_labels_are_kept_and_only_of_the_clips_that_have_one(toy, tmp_path):
    clips = draw(toy(), tmp_path, 3)
    clips.label([7, 1], [0.9, 0.5])
    draw(toy(), tmp_path, 5)
    assert [clip.label for clip in ClipFolder(tmp_path).clips] == [7, 1, None, None, None]
    assert ClipFolder(tmp_path).clips[0].confidence == 0.9


def test_tempered_clips_lie_apart(tmp_path):
    assert clips_folder(tmp_path) == tmp_path / "samples"
    assert clips_folder(tmp_path, temperature=0.9).name == "samples-temperature0.9-top_p1"
