import re

import pytest

from harness.analysis.markup import escape_latex, escape_markdown, latex, markdown
from harness.analysis.summary import summarise

NASTY = r"a_b|c[1,2]*x* 50% & #1 $y$ {z} ~^\end <script>`"
WORDS = {"base": "base", "title": "pooling_ablation", "question": "Does 50% & more help?"}


@pytest.fixture
def summary(data, columns):
    table = data.table.replace({"variant": {"mixer=lru": NASTY}})
    variants = [NASTY if variant == "mixer=lru" else variant for variant in data.variants]
    return summarise(table, columns, variants, data.base)


def test_a_name_stays_inside_its_markdown_cell(summary, columns):
    lines = markdown(summary, columns, **WORDS).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(summary)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {table[0].count("|")}
    assert "<script>" not in "\n".join(lines)


def test_markdown_has_units_directions_and_the_best_in_bold(summary, columns):
    text = markdown(summary, columns, **WORDS)
    assert text.startswith("# pooling\\_ablation\n\nDoes 50% &amp; more help?\n")
    assert "| Test NLL (bits/sample) ↓ |" in text and "Training speed (samples/s) ↑" in text
    assert re.search(r"\| pooling=\\\[1,1,1,1\\\] \| 3 \| \*\*2\.\d{3} ± 0\.\d{3}\*\* \|", text)
    assert "layers=4: 3 timeout" in text


def test_every_special_character_of_latex_is_escaped():
    escaped = escape_latex(NASTY)
    for character in "_&%$#":
        assert re.search(rf"(?<!\\){re.escape(character)}", escaped) is None, character
    assert r"\textbackslash{}end" in escaped and r"\textasciitilde{}\textasciicircum{}" in escaped
    assert "{[}1,2{]}" in escaped and "{*}x{*}" in escaped


def test_no_row_of_the_latex_table_begins_with_an_option(summary, columns):
    body = latex(summary, columns, **WORDS).split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = body.strip().splitlines()
    assert len(rows) == len(summary)
    assert all(row.endswith(r" \\") and row[0] not in "[*" for row in rows)


def test_latex_is_a_booktabs_table_with_balanced_braces_and_equal_columns(summary, columns):
    text = latex(summary, columns, **WORDS)
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\usepackage{booktabs}"))
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    width = len(re.search(r"\\begin\{tabular\}\{(l?r*)\}", text).group(1))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {width}
    assert r"\label{tab:pooling-ablation}" in text
    assert all(ord(character) < 128 for character in text), "needs no Unicode engine"


def test_line_breaks_in_a_name_do_not_break_the_table():
    assert escape_latex("a\nb") == "a b" and escape_markdown("a\r\nb") == "a b"
