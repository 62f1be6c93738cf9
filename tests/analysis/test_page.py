"""The report page: what it says, that it is self-contained, and that nothing from users becomes markup."""

import re
from html.parser import HTMLParser

import pytest

import harness.analysis.page.beside as beside_module
from harness.analysis.page.answers import answers
from harness.analysis.page.differences import differences
from harness.analysis.published import Comparison
from harness.analysis.summary import summarise
from tests.analysis.conftest import COLUMNS, synthetic_data
from tests.analysis.pages import page_of

HOSTILE = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & {*self.open}:
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return page_of(
        folder,
        synthetic_data(),
        COLUMNS,
        error="it exploded",
        log="step 3\nboom",
        clips=4,
        figures=("pareto",),
    )


def test_the_question_the_counts_and_the_sections_are_there(page):
    found = Elements(page)
    assert "What does pooling buy?" in found.text
    assert re.search(r"\b38 ok\b", found.text) and "3 timeout" in found.text and "1 diverged" in found.text
    assert [a["id"] for a in found.named("section")] == [
        *("answers", "summary", "figures", "listening", "published"),
        *("variants", "failures", "trials", "provenance"),
    ]


def test_nothing_is_fetched_from_anywhere(page):
    found = Elements(page)
    references = [
        value
        for _, attributes in found.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster") and value is not None
    ]
    assert references and all(value.startswith(("data:", "#")) for value in references)
    assert not re.search(r"@import|url\(", page)
    assert "default-src 'none'" in page


def test_every_picture_has_a_text_and_every_control_a_name(page):
    found = Elements(page)
    assert all("alt" in image for image in found.named("img"))
    assert all(clip["aria-label"] for clip in found.named("audio"))
    labelled = {label["for"] for label in found.named("label")}
    assert {field["id"] for field in found.named("input")} <= labelled


def test_each_variant_lets_three_of_its_clips_be_heard_with_what_is_known_of_them(page):
    found = Elements(page)
    drawn = {row.variant for row in synthetic_data().table.itertuples() if row.status == "ok"}
    assert len(found.named("audio")) == 3 * len(drawn) + 3  # and three real ones, before all
    assert found.text.index("real clips") < found.text.index("base seed 0")
    assert "log-likelihood −4,321 bits, heard as 7 (93% sure)" in found.text


def test_published_numbers_stand_beside_ours_with_what_speaks_against_comparing(page):
    text = Elements(page).text
    assert "sc09/sashimi Test NLL 1.891" in text
    assert "no: ours is on synthetic_digits, theirs on sc09" in text


def test_where_nothing_published_can_be_compared_it_is_folded_away_and_says_so(page):
    found = Elements(page)
    section = page[page.index('<section id="published">') :]
    section = section[: section.index("</section>")]
    assert "None of them can be compared with ours." in section
    assert section.index("<details>") < section.index('id="published-table"') < section.index("</details>")
    assert re.search(r"\d+ published numbers, each with what speaks against it", found.text)


def test_where_something_published_can_be_compared_it_lies_open(tmp_path, monkeypatch):
    monkeypatch.setattr(beside_module, "comparable", lambda row, *_: Comparison(row.model == "sashimi", ""))
    section = page_of(tmp_path, synthetic_data(), COLUMNS)
    section = section[section.index('<section id="published">') :]
    section = section[: section.index("</section>")]
    assert re.search(r"\d+ of \d+ can be compared with ours", section)
    assert "<details>" not in section and 'id="published-table"' in section


def test_failures_show_their_error_and_the_end_of_their_log(page):
    found = Elements(page)
    assert found.text.count("it exploded") == 4 and found.text.count("boom") == 4


def test_what_users_wrote_is_text_not_markup(tmp_path):
    names = ("base", HOSTILE, '"onmouseover="alert(1)')
    data = synthetic_data(
        names=("base", "layers=1", "transformer"), seeds=2, failed={("transformer", 1): "failed"}
    )
    renamed = dict(zip(("base", "layers=1", "transformer"), names, strict=True))
    data = type(data)(
        table=data.table.assign(variant=data.table["variant"].map(renamed)),
        history=data.history,
        variants=list(names),
        base="base",
    )
    page = page_of(tmp_path, data, COLUMNS, question=HOSTILE, error=f"</pre>{HOSTILE}", log=HOSTILE)
    found = Elements(page)
    assert len(found.named("script")) == 1  # ours
    assert HOSTILE in found.text  # shown as it was written
    assert not [a for _, a in found.elements if "onmouseover" in a]


@pytest.mark.parametrize("status", ["failed", "missing", "out_of_memory"])
def test_a_suite_of_which_nothing_succeeded_says_so(tmp_path, status):
    data = synthetic_data(names=("base", "layers=1"), seeds=2)
    measured = [name for name in data.table.columns if name in COLUMNS]
    data.table[measured] = float("nan")
    data.table["status"] = status
    found = Elements(page_of(tmp_path, data, COLUMNS))
    assert "Nothing was measured: no trial succeeded." in found.text
    assert f"4 {status.replace('_', ' ')} Answers" in found.text


def test_a_suite_of_one_trial_concludes_nothing(tmp_path):
    data = synthetic_data(names=("base",), seeds=1, failed={})
    found = Elements(page_of(tmp_path, data, COLUMNS))
    assert "base: 3.024 bits/sample. No other variant to compare it with." in found.text
    assert "Against base" not in found.text and "Lowest" not in found.text
    assert "One seed each: no interval, no verdict." in found.text and "best of the column" not in found.text


def test_one_seed_of_several_variants_concludes_nothing(tmp_path):
    data = synthetic_data(names=("base", "layers=1"), seeds=1, failed={})
    found = Elements(page_of(tmp_path, data, COLUMNS))
    assert "One seed: nothing can be concluded from differences." in found.text
    assert "Against base" not in found.text


def test_the_same_data_give_the_same_bytes(tmp_path):
    data = synthetic_data(names=("base", "layers=1"), seeds=2, failed={})
    assert page_of(tmp_path, data, COLUMNS, clips=1) == page_of(tmp_path, data, COLUMNS, clips=1)


def test_what_would_make_the_page_too_large_is_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.analysis.page.content.LARGEST", 500)
    data = synthetic_data(names=("base",), seeds=1, failed={})
    found = Elements(page_of(tmp_path, data, COLUMNS, clips=1, figures=("pareto",)))
    assert not found.named("audio")
    assert "the clips of base are left out, the page would grow too large" in found.text


def test_an_answer_names_the_best_and_compares_with_the_base():
    data = synthetic_data()
    summary = summarise(data.table, COLUMNS, data.variants, data.base)
    first = answers(summary, COLUMNS, "base")[0]
    assert first.metric == "Test NLL"
    assert first.sentence.startswith("Lowest: pooling=[1,1,1,1], ")
    assert first.comparison.startswith("Against base, paired by seed: ")
    assert "unigram" in first.comparison.partition("worse: ")[2] or "others" in first.comparison


def test_differences_go_down_to_single_settings():
    base = {
        "model": {"name": "poolformer", "mixer": {"name": "rg_lru", "hidden": None}},
        "train": {"steps": 3},
    }
    other = {"model": {"name": "poolformer", "mixer": {"name": "lru"}}, "train": {"steps": 3}}
    found = [(each.setting, each.base, each.variant) for each in differences(base, other)]
    assert found == [("model.mixer.hidden", "null", "—"), ("model.mixer.name", "rg_lru", "lru")]
