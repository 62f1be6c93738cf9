import dataclasses
import subprocess
import sys

import pandas as pd
import pytest

from harness import registry
from harness.analysis.report import DEFAULT_FIGURES, figure_name, write_report
from harness.contracts import NotEnoughData

FEW = ("base", "pooling=[1,1,1,1]", "unigram")
NAMES = (
    *("learning_curve", "learning_curve_seconds", "pareto", "forest"),
    *("pooling_sweep", "generalization", "memory"),
)
TABLES = {"table.csv", "table.parquet", "summary.csv", "summary.md", "summary.tex"}


@pytest.fixture
def few(make_data):
    return make_data(FEW, failed={("unigram", 2): "failed"})


@pytest.fixture
def write(few, columns, tmp_path):
    def write(*figures, data=few, folder=tmp_path):
        chosen = {"figures": figures} if figures else {}
        return write_report(folder, data, title="a_suite", question="What for?", columns=columns, **chosen)

    return write


@pytest.fixture
def plugin(monkeypatch):
    """Registers figure kinds for one test."""
    monkeypatch.setitem(registry._registered, "figures", {})

    def plugin(name, draw, **fields):
        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Config:
            level: int = 0

        members = {"Config": Config, "draw": draw, **fields}
        registry.register("figures", name)(type(name, (Kind,), members))

    return plugin


class Kind:
    def __init__(self, config):
        self.config = config


def blank(self, data):
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_report_is_tables_and_figures_with_their_numbers(write, tmp_path):
    files = write()
    figures = {f"figures/{name}.{suffix}" for name in NAMES for suffix in ("png", "svg", "csv")}
    assert {path.as_posix() for path in files.files} == TABLES | figures
    assert {path.as_posix() for path in contents(tmp_path)} == TABLES | figures
    assert files.figures == NAMES and files.notes == ()
    assert files.summary["variant"].tolist() == list(FEW)


def test_a_second_report_has_the_same_bytes_whatever_the_order_of_the_rows(write, few, tmp_path):
    write(folder=tmp_path / "one")
    shuffled = dataclasses.replace(
        few,
        table=few.table.sample(frac=1, random_state=1),
        history=few.history.sample(frac=1, random_state=1),
    )
    write(folder=tmp_path / "two", data=shuffled)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert list(one) == list(two)
    assert [path for path in one if one[path] != two[path]] == []


def test_the_tables_read_back_as_they_were(write, few, tmp_path):
    write("memory")
    csv = pd.read_csv(tmp_path / "table.csv", keep_default_na=False, na_values={"nll_bits_test": [""]})
    parquet = pd.read_parquet(tmp_path / "table.parquet")
    for table in (csv, parquet):
        assert table["nll_bits_test"].tolist() == pytest.approx(
            few.table["nll_bits_test"].tolist(), nan_ok=True
        )
        assert table["pooling"].tolist() == few.table["pooling"].tolist()
        assert table["status"].tolist() == few.table["status"].tolist()


def test_a_column_of_several_types_still_makes_a_parquet_file(write, few, tmp_path):
    table = few.table.assign(odd=["text", 1, None, 2.5, [1, 2], {}, True, "", "x"])
    write("memory", data=dataclasses.replace(few, table=table))
    assert pd.read_parquet(tmp_path / "table.parquet")["odd"].iloc[:2].tolist() == ["text", "1"]


def test_pictures_carry_no_date_and_no_version(write, tmp_path):
    from PIL import Image

    write("memory")
    with Image.open(tmp_path / "figures/memory.png") as image:
        assert image.info.get("Software") == "harness" and not {"Creation Time", "date"} & set(image.info)
        assert [round(each) for each in image.info["dpi"]] == [200, 200]
    svg = (tmp_path / "figures/memory.svg").read_text()
    assert "<dc:date>" not in svg and "Matplotlib" not in svg


def test_a_figure_that_lacks_data_is_one_line_and_stops_nothing(write, few):
    table = few.table.drop(columns=["peak_memory_mib", "saved_for_backward_mib"])
    files = write("memory", "pooling_sweep", data=dataclasses.replace(few, table=table))
    assert files.figures == ("pooling_sweep",)
    assert files.notes == ("figure memory not drawn: no trial has peak_memory_mib or saved_for_backward_mib",)


def test_a_plugin_that_raises_stops_nothing_and_is_told_where(write, plugin):
    def draw(self, data):
        data.table["nll_bits_test"] = 0.0  # and spoils nobody else's numbers
        raise ZeroDivisionError("two\nlines")

    plugin("broken", draw)
    files = write("broken", "memory")
    assert files.figures == ("memory",)
    (note,) = files.notes
    assert note.startswith("figure broken failed: ZeroDivisionError: two lines (test_report.py, line ")
    assert files.summary["nll_bits_test_mean"].min() > 1


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("no_such_kind", "no figure is called 'no_such_kind'"),
        ({"name": "learning_curve", "x": "minutes"}, "minutes"),
        ({"x": "steps"}, "needs a name"),
    ],
)
def test_a_spec_that_cannot_be_built_is_one_line_too(write, spec, reason):
    files = write(spec, "memory")
    assert files.figures == ("memory",)
    assert len(files.notes) == 1 and reason in files.notes[0] and "\n" not in files.notes[0]


def test_what_was_written_when_saving_fails_half_way_does_not_stay(write, plugin, tmp_path):
    def numbers(self, data):
        raise NotEnoughData("no numbers")

    plugin("half", blank, numbers=numbers)
    assert write("half").notes == ("figure half not drawn: no numbers",)
    assert not list((tmp_path / "figures").iterdir())


def test_a_plugin_needs_no_numbers(write, plugin, tmp_path):
    plugin("plain", blank)
    assert write("plain").figures == ("plain",)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"plain.png", "plain.svg"}


def test_a_figure_made_through_pyplot_is_closed(write, plugin):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plugin("global_state", lambda self, data: plt.figure())
    write("global_state")
    assert plt.get_fignums() == []


def test_a_warning_of_matplotlib_becomes_a_note(write, plugin):
    def draw(self, data):
        figure = blank(self, data)
        figure.text(0.5, 0.5, "模")
        return figure

    plugin("glyphs", draw)
    files = write("glyphs")
    assert files.figures == ("glyphs",) and "missing from font" in files.notes[0]


def test_pictures_no_longer_drawn_are_removed_and_other_peoples_files_stay(write, plugin, tmp_path):
    from PIL import Image

    plugin("old", blank, numbers=lambda self, data: data.table[["variant"]])
    write("old")
    Image.new("RGB", (2, 2)).save(tmp_path / "figures/photo.png")
    (tmp_path / "figures/photo.csv").write_text("mine")
    (tmp_path / "figures/notes.txt").write_text("mine")
    write("memory")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"photo.png", "photo.csv", "notes.txt", "memory.png", "memory.svg", "memory.csv"}


def test_the_same_figure_is_drawn_once_and_two_of_one_name_get_numbers(write, plugin):
    plugin("kind", blank)
    plugin("kind_1", blank)
    files = write("kind", {"name": "kind"}, {"name": "kind", "level": 1}, "kind_1")
    assert files.figures == ("kind", "kind_1", "kind_1_2")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("learning_curve", "learning_curve"),
        ({"name": "learning_curve", "x": "steps"}, "learning_curve"),
        ({"name": "learning_curve", "x": "seconds"}, "learning_curve_seconds"),
        ({"name": "pareto", "x": "peak_memory_mib"}, "pareto_peak_memory_mib"),
        ({"name": "pareto", "x": "../../etc/passwd"}, "pareto_etc_passwd"),
        ({"name": "../up"}, "up"),
        ({}, "figure"),
    ],
)
def test_files_are_named_after_the_spec_and_stay_in_their_folder(spec, name):
    assert figure_name(spec) == name


def test_the_default_figures_have_five_different_names():
    assert tuple(map(figure_name, DEFAULT_FIGURES)) == NAMES


def test_a_report_needs_neither_torch_nor_ray_nor_a_screen():
    code = (
        "import sys, harness.analysis.report as r\n"
        "from harness import registry\n"
        "[registry.get('figures', name) for name in registry.names('figures')]\n"
        "print(sorted({'torch', 'ray', 'matplotlib', 'seaborn', 'tkinter'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
