"""Boards for papers, pages and programs."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.formats.csv_lines import board_csv
from bench.leaderboard.formats.latex import SIGNS, board_latex, latex_text
from bench.leaderboard.formats.web_page import board_html
from bench.leaderboard.records.failures import FailedCell

HOSTILE = '<script>alert("x")</script> & 50 % of $x_1^2$ {a} #1 \\input{y} ~ | −Δ'


@pytest.fixture
def board(make_record, make_metric):
    """Base and a method that is better, with a name that every format would read as something else."""

    def record(method, shift, **changes):
        metrics = {
            "toxicity": make_metric["toxicity"]([0.5 + 0.01 * (i % 7) + shift * (1 + i % 3 / 10) for i in range(30)]),
            "capability": make_metric["capability"]({"boolq": [1.0, 0.0, 1.0, 1.0], "rte": [0.0, 1.0, 1.0, 0.0]}),
        }
        return make_record(method, metrics=metrics, **changes)

    records = [record("base", 0.0), record("dpo", -0.2, rate=0.3), record(HOSTILE, -0.1, rate=0.3, cell_id="hostile")]
    return make_leaderboard(records, failed=[FailedCell(cell="x", error=HOSTILE)])


def test_csv_has_a_line_for_each_row_and_metric_at_full_precision(board):
    lines = list(csv.DictReader(io.StringIO(board_csv(board))))
    (table,) = board.tables
    assert len(lines) == 6
    by_name = {(line["method"], line["metric"]): line for line in lines}
    for row in table.rows:
        for metric, score in row.scores.items():
            line = by_name[row.method, metric]
            assert float(line["value"]) == score.value
            assert line["change"] == ("" if score.change is None else repr(score.change.value))
    assert by_name["dpo", "toxicity"]["verdict"] == "better"
    assert by_name["base", "toxicity"]["pairs"] == ""
    assert board_csv(make_leaderboard([])) == "model\n"


def commands(text: str) -> set[str]:
    return set(re.findall(r"\\([a-zA-Z]+)", text))


OURS = {"usepackage", "resizebox", "begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule"}
OURS |= {"textbf", "textit", "Delta"} | {name for sign in SIGNS.values() for name in commands(sign)}


def test_latex_is_booktabs_with_as_many_cells_in_every_line(board):
    text = board_latex(board)
    (columns,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"DPO & 30 \% & " in text
    assert r"\textbf{$-$0.2" in text


def test_latex_escapes_whatever_a_name_holds(board):
    text = board_latex(board)
    assert commands(text) <= OURS
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.sub(r"\\\$", "", text).count("$") % 2 == 0
    assert not re.search(r"(?<!\\)#", text)
    assert latex_text("a\n\x00b\u200b") == "a b"


@pytest.mark.parametrize("sign", '&%$#_{}\\~^<>|"−–·×≤Δ↑↓…')
def test_signs_that_latex_reads_are_written_otherwise(sign):
    assert latex_text(sign) != sign


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(board, tmp_path):
    page = (
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}"
        f"\n{board_latex(board)}\\end{{document}}\n"
    )
    (tmp_path / "board.tex").write_text(page, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "board.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


class Page(HTMLParser):
    """Which tags a page has, and the text of its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


def test_html_shows_text_as_text_and_loads_nothing(board):
    page = Page(board_html(board))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not {"src", "href", "onclick"} & {name for name, _ in page.attributes}
    assert page.tags.count("tr") == 4
    text = "".join(page.words)
    assert text.count(HOSTILE) == 2
    assert "DPO" in text
    assert "✓" in text


def test_an_empty_board_is_said_in_every_format():
    empty = make_leaderboard([])
    assert "No finished cell yet." in board_latex(empty)
    assert "No finished cell yet." in board_html(empty)
