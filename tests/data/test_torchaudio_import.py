import sys

from harness.data import torchaudio_import


def test_every_part_in_use_works():
    parts = torchaudio_import.parts()
    for part in ("functional.resample", "transforms.MelSpectrogram", "datasets.SPEECHCOMMANDS"):
        assert parts[part] is True, parts[part]


def test_what_does_not_work_says_why():
    for answer in torchaudio_import.parts().values():
        assert answer is True or len(answer) > 10


def test_a_second_import_anywhere_gets_the_same_module():
    module = torchaudio_import.torchaudio()
    import torchaudio

    assert torchaudio is module
    assert "torchaudio._extension" in sys.modules
