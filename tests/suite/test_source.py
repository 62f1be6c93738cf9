"""Reading YAML: positions, the strictness that plain YAML lacks, and files that mean harm."""

import re

import pytest

from harness.suite.source import SuiteError, read_document, read_scalar


def document(tmp_path, text):
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    return read_document(file)


def refused(tmp_path, text, *words):
    with pytest.raises(SuiteError) as caught:
        document(tmp_path, text)
    for word in words:
        assert word in str(caught.value)


def test_every_value_knows_its_line_and_column(tmp_path):
    found = document(tmp_path, "a: 1\nb:\n  c: [4, {d: 5}]\n")
    assert found.data == {"a": 1, "b": {"c": [4, {"d": 5}]}}
    assert found.where(("b", "c", 1, "d")).endswith("suite.yaml:3:11")
    assert found.where(("b", "nowhere")).endswith("suite.yaml:2:1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-3", 0.002),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("1_", "1_"),
        ("!!float 3", 3.0),
        ("2026-11-23", "2026-11-23"),
        ("[2, 4]", [2, 4]),
        ("{name: fsdd}", {"name": "fsdd"}),
    ],
)
def test_scalars_mean_what_a_researcher_expects(text, value):
    assert read_scalar(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!int five", "'five' is no int"),
        ("!!bool 7", "is no bool"),
        ("!!str [1]", "not allowed here"),
        ("!mine:int 1", "not allowed here"),
        ("<<", "`extends`"),
        ("9" * 5000, "more than 100 digits"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ("[" * 2000 + "]" * 2000, "nested too deeply"),
        (r'"\UFFFFFFFF"', "too large"),
        (r'"\ud800"', "no text"),
        (r'"a\0b"', "no text"),
        ("*nothing", "undefined alias"),
    ],
)
def test_what_is_no_plain_data_is_refused_in_a_sentence(tmp_path, text, words):
    with pytest.raises(SuiteError, match=re.escape(words)) as caught:
        read_scalar(text)
    assert "\n" not in str(caught.value)
    refused(
        tmp_path, f"a: {text}", "suite.yaml:1:" if "UFFFF" not in text and "[[" not in text else "suite.yaml"
    )


def test_a_merge_key_is_refused_because_it_would_hide_what_a_variant_says(tmp_path):
    refused(tmp_path, "a: &a {x: 1}\nb:\n  <<: *a\n", "suite.yaml:3:3", "`extends`")


def test_a_repeated_key_is_an_error(tmp_path):
    refused(tmp_path, "a: 1\nb: 2\na: 3\n", "suite.yaml:3:1", "'a' is given twice")


def test_a_syntax_error_names_the_place(tmp_path):
    refused(tmp_path, "a: [1, 2\nb: 3\n", "suite.yaml:2:", "not valid YAML")


def test_a_bomb_of_aliases_is_refused_quickly(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    refused(tmp_path, "\n".join(lines), "aliases")


def test_an_alias_to_its_own_container_is_refused(tmp_path):
    refused(tmp_path, "a: &a [1, *a]\n", "contains it")


def test_modest_aliases_are_fine(tmp_path):
    assert document(tmp_path, "a: &x [1, 2]\nb: *x\n").data == {"a": [1, 2], "b": [1, 2]}


def test_tags_construct_nothing(tmp_path):
    refused(tmp_path, "a: !!python/object/apply:os.system ['true']\n")
    refused(tmp_path, "a: !!python/name:os.system ''\n", "not allowed")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a directory"),
        (lambda p: p.write_text(""), "is empty"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda p: p.write_text("[" * 20_000), "YAML"),
        (lambda p: p.write_text("a: 1\n" + "#" * 1_100_000), "larger than"),
    ],
)
def test_files_that_are_no_suite_are_named(tmp_path, make, words):
    file = tmp_path / "suite.yaml"
    make(file)
    with pytest.raises(SuiteError, match=r"suite\.yaml") as caught:
        read_document(file)
    assert words in str(caught.value) or "nested too deeply" in str(caught.value)
