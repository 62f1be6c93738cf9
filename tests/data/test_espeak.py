"""The synthesiser: reproducible, strict about voices, silent about nothing."""

import multiprocessing
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from harness.data import espeak
from harness.data.espeak import Utterance, speak
from harness.errors import DataError


def sound(voice: str, text: str = "seven") -> bytes:
    ((samples, rate),) = speak([Utterance(voice=voice, text=text)])
    assert rate == 22050
    return samples.tobytes()


def test_the_engine_tells_its_version():
    assert espeak.engine_version().split(".")[0].isdigit()


def test_breathy_voices_too_sound_the_same_every_time():
    script = [Utterance(voice=f"en-us+{variant}", text="six") for variant in ("f2", "whisper", "Alicia")]
    before = [samples.tobytes() for samples, _ in speak(script)]
    time.sleep(1.1)  # the engine would seed their noise with the time in seconds
    assert [samples.tobytes() for samples, _ in speak(script)] == before


def test_no_two_variants_sound_alike():
    variants = espeak.variants()
    assert len(variants) > 90
    with ThreadPoolExecutor(2) as pool:  # each in a fresh process, where nothing else differs
        sounds = list(pool.map(sound, ["en-us", *(f"en-us+{variant}" for variant in variants)]))
    assert len(set(sounds)) == len(sounds)


def test_a_variant_that_sets_only_the_rate_is_no_voice():
    assert "fast" not in espeak.variants()
    assert sound("en-us+fast") == sound("en-us")


def test_long_scripts_are_spoken_in_order(monkeypatch):
    monkeypatch.setattr(espeak, "BATCH", 2)
    script = [Utterance(voice="en-us", text=word) for word in ("one", "two", "three", "four", "five")]
    firsts = [sound("en-us", word) for word in ("one", "three", "five")]
    assert [samples.tobytes() for samples, _ in list(speak(script))[::2]] == firsts


def test_pitch_and_rate_are_heard():
    plain, slow, high = (
        samples
        for samples, _ in speak(
            [
                Utterance(voice="en-us", text="nine"),
                Utterance(voice="en-us", text="nine", rate=90),
                Utterance(voice="en-us", text="nine", pitch=90),
            ]
        )
    )
    assert len(slow) > 1.2 * len(plain)
    crossings = [
        np.count_nonzero(np.diff(np.sign(samples.astype(int)))) / len(samples) for samples in (plain, high)
    ]
    assert crossings[1] != crossings[0]


def test_an_unknown_voice_is_refused_by_name():
    with pytest.raises(DataError, match=r"xx-nowhere.*returned 2"):
        list(speak([Utterance(voice="xx-nowhere", text="one")]))


def test_silence_is_refused():
    with pytest.raises(DataError, match="silent"):
        list(speak([Utterance(voice="en-us", text="")]))


def test_a_process_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(espeak, "TIMEOUT", 0.001)
    with pytest.raises(DataError, match="did not finish"):
        list(speak([Utterance(voice="en-us", text="one")]))


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DataError, match="pip install espeakng-loader"):
        espeak.variants()


def test_a_broken_library_is_named(tmp_path, monkeypatch):
    (tmp_path / "library.so").write_bytes(b"nothing")
    monkeypatch.setattr(espeak, "_library", lambda: tmp_path / "library.so")
    with pytest.raises(DataError, match="cannot load espeak-ng"):
        espeak.engine_version()
    with pytest.raises(DataError, match="espeak-ng failed"):
        list(speak([Utterance(voice="en-us", text="one")]))


def test_voices_may_lie_at_the_end_of_a_very_long_path(tmp_path, monkeypatch):
    deep = tmp_path / ("deep" * 30) / ("deeper" * 20) / "espeak-ng-data"
    shutil.copytree(espeak._data_folder(), deep)
    expected = sound("en-us+f2")
    monkeypatch.setattr(espeak, "_data_folder", lambda: deep)
    assert sound("en-us+f2") == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_can_speak(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(sound, ("en-us",)) == sound("en-us")


def test_the_speaking_process_needs_nothing_but_the_standard_library():
    script = Path(espeak.__file__).with_name("espeak_process.py")
    code = (
        f"import runpy, sys; sys.stdin = []; runpy.run_path({str(script)!r}); print('numpy' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
