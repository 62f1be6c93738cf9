"""SC09: the published layout, splits and quantisation; whatever is not the set is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from miniature import COUNTS, SMALL, lay_out
from server import serving

from harness import configuration, registry
from harness.data import download, sc09, speech_commands
from harness.data.digits import DIGITS
from harness.data.quantisation import encode
from harness.data.sc09 import SC09
from harness.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def miniature(monkeypatch):
    """No test reaches the network, and the versions have the miniature's counts."""
    monkeypatch.setattr(speech_commands, "CLIPS", COUNTS)
    monkeypatch.setattr(sc09, "CLIPS", COUNTS)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "CHUNK", 100)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    return lay_out(tmp_path / "data" / "sc09")


def built(**options) -> SC09:
    return SC09(configuration.parse(SC09.Config, {**SMALL, **options}))


def test_it_is_registered_and_answers_without_data():
    assert registry.get("datasets", "sc09") is SC09
    config = SC09.Config()
    assert (config.length, config.vocab_size, config.sample_rate) == (16000, 256, 16000)
    assert (config.quantiser, config.min_max, config.recipe) == ("mu_law", True, "s4")


def test_the_published_counts_are_those_of_the_two_versions(monkeypatch):
    monkeypatch.undo()
    assert {name: sum(clips.values()) for name, clips in speech_commands.CLIPS.items()} == {
        "v0.02": 38_908,
        "v0.01": 23_666,
    }


def test_the_lists_make_the_splits_and_the_folders_the_labels(folder):
    data = built()
    assert data.provenance.clips == COUNTS["v0.02"]
    assert data.provenance.version == "v0.02"
    for split in data.splits.values():
        assert set(np.bincount(split.labels)) == {len(split) // 10}
    assert data.label_names[data.splits["test"].labels[3]] == "three"


def test_a_short_clip_counts_its_true_samples_only_and_is_padded_with_the_middle_level(folder):
    validation = built().splits["validation"]
    assert set(validation.lengths) == {200}
    assert set(validation.tokens[:, 200:].ravel()) == {128}
    assert built().provenance.notes[0] == "40 clips padded to length; the padding is masked"


def test_each_clip_is_stretched_by_itself_and_quantised_by_mu_law(folder):
    data = built()
    wave = soundfile.read(folder / "four" / "00000001_nohash_0.wav", dtype="float32")[0]
    np.testing.assert_array_equal(data.splits["test"].tokens[4, :160], encode(wave))
    for split in data.splits.values():
        for tokens, length in zip(split.tokens, split.lengths, strict=True):
            assert tokens[:length].min() == 0 and tokens[:length].max() == 255


@pytest.mark.parametrize("layout", ["SpeechCommands/speech_commands_v0.02", "speech_commands_v0.02", "."])
def test_torchaudios_folder_serves_as_well(tmp_path, monkeypatch, layout):
    lay_out(tmp_path / "data" / layout)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    assert built().provenance.clips == COUNTS["v0.02"]


def test_torchaudio_itself_sees_the_same_clips_in_it(tmp_path):
    """The layout that we take for SPEECHCOMMANDS is the one that torchaudio reads."""
    from harness.data.torchaudio_import import torchaudio

    folder = lay_out(tmp_path / "SpeechCommands" / "speech_commands_v0.02")
    listing = speech_commands.read_listing(folder)
    for split, subset in {"train": "training", "validation": "validation", "test": "testing"}.items():
        theirs = torchaudio().datasets.SPEECHCOMMANDS(tmp_path, subset=subset)
        digits = {file for file in map(Path, theirs._walker) if file.parent.name in DIGITS}
        assert {folder / clip.file for clip in listing.clips if clip.split == split} == digits


def test_a_path_wins_over_the_environment_and_is_no_part_of_the_tokens(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder.parent).rename(elsewhere)
    first = built(path=str(elsewhere))
    assert built(path=str(elsewhere / "sc09")).provenance == first.provenance


def test_the_older_version_is_told_by_its_count(tmp_path):
    folder = lay_out(tmp_path / "set", "v0.01")
    with pytest.raises(DataError, match=r"holds Speech Commands v0\.01, v0\.02 was asked for.*data.version"):
        built(path=str(folder))
    with pytest.raises(DataError, match=r"data\.version"):
        built(path=str(folder), allow_partial=True)
    assert built(path=str(folder), version="v0.01").provenance.version == "v0.01"


def test_another_version_is_no_setting():
    with pytest.raises(ConfigError, match="version"):
        configuration.parse(SC09.Config, {"version": "v0.03"})


def test_a_wrong_count_is_refused_unless_it_is_asked_for_and_then_recorded(folder):
    (folder / "six" / "00000005_nohash_0.wav").unlink()
    with pytest.raises(DataError, match=r"39 \+ 10 \+ 10 .*v0\.02 has 40 \+ 10 \+ 10 .*allow_partial"):
        built()
    data = built(allow_partial=True)
    assert data.provenance.version == "part of v0.02: 59 of 60 clips"
    assert data.provenance.notes[0] == "partial: 39 + 10 + 10 (train, validation, test) clips"


def test_clips_that_a_list_names_must_be_there(folder):
    (folder / "six" / "00000000_nohash_0.wav").unlink()
    with pytest.raises(DataError, match=r"lacks 1 clips that its lists name, six/00000000_nohash_0\.wav"):
        built()
    assert "1 clips that the lists name are absent" in built(allow_partial=True).provenance.notes


@pytest.mark.parametrize("name", ["validation_list.txt", "testing_list.txt"])
def test_a_missing_list_is_named_and_nothing_else_is_guessed(folder, name):
    (folder / name).unlink()
    for allowed in (False, True):
        with pytest.raises(DataError, match=f"lacks {name}"):
            built(allow_partial=allowed)


def test_a_missing_digit_is_named(folder):
    for file in (folder / "six").iterdir():
        file.unlink()
    (folder / "six").rmdir()
    with pytest.raises(DataError, match="lacks the folder six"):
        built()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense\n", r"list\.txt:1: expected a line like"),
        ("bed/x_nohash_0.wav\n", "names no clip of a digit"),
    ],
)
def test_a_list_that_is_none_is_refused(folder, text, reason):
    (folder / "testing_list.txt").write_text(text)
    with pytest.raises(DataError, match=reason):
        built()


def test_a_clip_in_both_lists_is_refused(folder):
    (folder / "testing_list.txt").write_text((folder / "validation_list.txt").read_text())
    with pytest.raises(DataError, match=r"eight/00000000_nohash_0\.wav is in both"):
        built()


def test_a_truncated_clip_is_named(folder):
    clip = folder / "six" / "00000003_nohash_0.wav"
    clip.write_bytes(clip.read_bytes()[:300])
    with pytest.raises(DataError, match=r"six/00000003_nohash_0\.wav is cut short"):
        built()


def test_settings_that_are_not_the_published_ones_are_noted(folder):
    assert built(quantiser="linear").provenance.notes[-1] == (
        "not as published: seconds 0.015 instead of 1.0, quantiser linear instead of mu_law"
    )


def test_files_that_changed_since_the_last_use_are_warned_of(folder, caplog):
    before = built().provenance.sha256
    assert caplog.text == ""
    clip = folder / "six" / "00000003_nohash_0.wav"
    clip.write_bytes((folder / "six" / "00000002_nohash_0.wav").read_bytes())
    assert built().provenance.sha256 != before
    assert f"the files in {folder} have changed since they were last used" in caplog.text


def test_verifying_reads_everything_again(folder):
    data = built()
    assert any("files as the tokens were made of" in line for line in data.verify())
    clip = folder / "six" / "00000003_nohash_0.wav"
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    with pytest.raises(DataError, match="have changed"):
        data.verify()


# ------------------------------------------------------------------------------------- by download


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has the miniature as sc09.zip, whose checksum is known."""
    lay_out(tmp_path / "sc09")
    with serving() as files:
        monkeypatch.setenv("HF_ENDPOINT", files.address)

        def offer(content: bytes, *, known: bool = True) -> None:
            files.offer(f"/datasets/{sc09.REPOSITORY}/resolve/{sc09.REVISION}/sc09.zip", content)
            sha256 = download.hashlib.sha256(content).hexdigest()
            monkeypatch.setitem(sc09.ARCHIVES, "v0.02", sha256 if known else "0" * 64)

        files.offer_set = offer
        yield files


def zipped(folder: Path, *, without: str = "", extra: dict[str, bytes] | None = None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder.parent).as_posix()
            if path.is_file() and not (without and name.endswith(without)):
                archive.write(path, name)
        for name, data in {"__MACOSX/sc09/zero/._x.wav": b"junk", **(extra or {})}.items():
            archive.writestr(name, data)
    return content.getvalue()


def kept(cache_root: Path) -> list[str]:
    folder = cache_root / "downloads"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def test_a_download_is_unpacked_checked_and_kept(hub, tmp_path, cache_root):
    hub.offer_set(zipped(tmp_path / "sc09"))
    data = built()
    assert data.provenance.clips == COUNTS["v0.02"]
    assert kept(cache_root) == ["sc09-v0.02", "sc09-v0.02.json"]
    asked = len(hub.asked)
    built(quantiser="linear")
    assert len(hub.asked) == asked  # not downloaded again
    assert data.verify()


def test_a_download_that_broke_is_continued(hub, tmp_path, cache_root):
    content = zipped(tmp_path / "sc09")
    hub.offer_set(content)
    hub.breaks = [len(content) // 2, *[0] * download.TRIES]
    with pytest.raises(DataError, match="it goes on from there"):
        built()
    assert kept(cache_root) == ["sc09-v0.02.archive.part", "sc09-v0.02.archive.part.json"]
    assert built().provenance.clips == COUNTS["v0.02"]
    asked = hub.asked[-1][1]
    assert len(content) // 2 - 100 < int(asked.removeprefix("bytes=").removesuffix("-")) <= len(content) // 2


WRONG = {
    "half a zip": (lambda folder: zipped(folder)[:9000], "not a whole zip"),
    "no list": (lambda folder: zipped(folder, without="testing_list.txt"), "lacks testing_list.txt"),
    "a clip less": (lambda folder: zipped(folder, without="six/00000005_nohash_0.wav"), "39 . 10 . 10"),
    "a listed clip less": (lambda folder: zipped(folder, without="six/00000000_nohash_0.wav"), "lists name"),
    "a way out": (lambda folder: zipped(folder, extra={"../zero/x.wav": b""}), "outside its folder"),
    "a bomb": (lambda folder: zipped(folder, extra={"sc09/zero/x.wav": bytes(3 * 2**20)}), "3145728 bytes"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_download_that_is_not_the_set_is_refused_and_nothing_of_it_kept(hub, tmp_path, cache_root, wrong):
    make, reason = WRONG[wrong]
    hub.offer_set(make(tmp_path / "sc09"))
    with pytest.raises(DataError, match=reason):
        built()
    assert kept(cache_root) == []
    assert not (cache_root / "tokens").exists()


def test_a_download_that_lacks_a_clip_serves_when_that_is_asked_for(hub, tmp_path):
    hub.offer_set(zipped(tmp_path / "sc09", without="six/00000005_nohash_0.wav"))
    assert built(allow_partial=True).provenance.version == "part of v0.02: 59 of 60 clips"


def test_a_wrong_checksum_is_refused_and_nothing_of_it_kept(hub, tmp_path, cache_root):
    hub.offer_set(zipped(tmp_path / "sc09"), known=False)
    with pytest.raises(DataError, match=r"is not Speech Commands v0\.02: its sha256 is"):
        built()
    assert kept(cache_root) == []


def test_without_data_and_network_the_message_says_what_to_do(cache_root):
    with pytest.raises(DataError, match=r"does not answer .*set HARNESS_DATA .*data\.path"):
        built()
    assert kept(cache_root) == []
