import os
import subprocess
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


def test_a_missing_torchaudio_says_what_to_install():
    code = (
        "import sys; sys.modules['torchaudio'] = None\n"
        "from harness.data.torchaudio_import import torchaudio\n"
        "torchaudio()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DataError: torchaudio cannot be imported" in ended.stderr


def test_a_native_library_that_loads_is_kept(tmp_path):
    """Where torchaudio imports by itself, nothing stands in for its extension."""
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("from torchaudio import _extension")
    (package / "_extension.py").write_text("_IS_TORCHAUDIO_EXT_AVAILABLE = True")
    for name in ("datasets", "transforms"):
        (package / f"{name}.py").touch()
    code = (
        "from harness.data.torchaudio_import import parts, torchaudio\n"
        "print(torchaudio().__file__, parts()['native library'])"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.split() == [str(package / "__init__.py"), "True"]
