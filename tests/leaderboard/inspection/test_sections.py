"""What `bench inspect` says of a record: every number that a method reported, and nothing that it did not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from bench.core.values import AlignmentReport
from bench.leaderboard.inspection.sections import drawable, inspect_sections, inspection_json, summarise_names
from bench.leaderboard.records.record import Record
from bench.leaderboard.render.section import Section, leaf_text, scalar_text, spark
from bench.leaderboard.render.text import TerminalSections, section_markdown

Make = Callable[..., Record]


def layer(number: int, **changes: Any) -> dict[str, Any]:
    matrix = {
        "name": f"model.layers.{number}.mlp.down_proj.weight",
        "relative_norm": 0.125,
        "rank": 2,
        "left": 1e-8,
        "sha256_before": "aa" * 32,
        "sha256_after": "bb" * 32,
    }
    direction = {"promotes": ["␣damn", "a|b"], "suppresses": ["␣kind"], "agreement": 0.75}
    return {
        "layer": number,
        "rank": 2,
        "singular_values": [120.0, 60.0, 7.25, 1.0],
        "energy_removed": 0.9876,
        "matrices": [matrix],
        "directions": [direction, direction | {"promotes": ["second"], "agreement": None}],
        "directions_left_out": 0,
        "angles_to_clean_degrees": None,
    } | changes


@pytest.fixture
def make(make_record: Make, make_metric: Mapping[str, Any]) -> Make:
    """`make(details, changed=(), flags=(), **record)`: a record of a method that reported `details`."""

    def make_one(
        details: Mapping[str, Any], changed: tuple[str, ...] = (), flags: tuple[str, ...] = (), **of: Any
    ) -> Record:
        record = make_record(metrics={"toxicity": make_metric["toxicity"]([0.2, 0.4])}, **of)
        return record.model_copy(update={"alignment": AlignmentReport(changed=changed, details=details, flags=flags)})

    return make_one


def table(sections: list[Section], title: str) -> list[dict[str, str]]:
    section = next(section for section in sections if section.title == title)
    return [dict(zip(section.columns, row, strict=True)) for row in section.rows]


def values(sections: list[Section], title: str = "") -> dict[str, str]:
    section = next(section for section in sections if section.title == title)
    assert section.columns == ()
    return {row[0]: row[1] for row in section.rows}


def printed(record: Record, width: int = 80, directions: int = 1) -> str:
    stream = StringIO()
    Console(file=stream, width=width).print(TerminalSections(inspect_sections(record, directions)))
    return stream.getvalue()


def test_layers_of_an_edit(make: Make) -> None:
    [row] = table(inspect_sections(make({"layers": [layer(7)]})), "layers")
    assert row == {
        "layer": "7",
        "rank": "2",
        "energy": "98.8 %",
        "singular values": "120 60.0 7.25 █▅▁▁",
        "‖ΔW‖/‖W‖": "12.50 %",
        "rank ΔW": "2",
        "SHA-256": "aaaaaa→bbbbbb",
    }


def test_largest_angle_is_shown_where_there_was_noise(make: Make) -> None:
    layers = [layer(1, angles_to_clean_degrees=[0.1, 3.456]), layer(2)]
    sections = inspect_sections(make({"layers": layers}))
    assert [row["angle"] for row in table(sections, "layers")] == ["3.46°", "–"]
    assert "largest principal angle" in sections[3].rows[0][1]


def test_what_a_control_cannot_know_is_a_dash(make: Make) -> None:
    """Random directions have no spectrum, and no side that the rejected texts lie on."""
    direction = {"promotes": ["x"], "suppresses": ["y"], "agreement": None}
    control = layer(1, singular_values=[], energy_removed=None, directions=[direction])
    sections = inspect_sections(make({"layers": [control]}))
    [row] = table(sections, "layers")
    assert (row["energy"], row["singular values"]) == ("–", "–")
    assert table(sections, "removed directions, as tokens")[0]["agreement"] == "–"


def test_every_matrix_of_a_layer_has_a_row(make: Make) -> None:
    matrices = [layer(3)["matrices"][0] | {"name": f"model.layers.3.mlp.{name}.weight"} for name in ("up", "down")]
    rows = table(inspect_sections(make({"layers": [layer(3, matrices=matrices)]})), "layers")
    assert [(row["layer"], row["matrix"]) for row in rows] == [("3", "mlp.up"), ("", "mlp.down")]


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 2), (9, 4)])
def test_as_many_directions_as_asked_for(make: Make, count: int, shown: int) -> None:
    sections = inspect_sections(make({"layers": [layer(1), layer(2)]}), count)
    found = [section for section in sections if section.title == "removed directions, as tokens"]
    assert sum(len(section.rows) for section in found) == shown
    if count:
        first = table(sections, "removed directions, as tokens")[0]
        assert first == {
            "layer": "1",
            "direction": "1",
            "agreement": "75 %",
            "promotes": "␣damn a|b",
            "suppresses": "␣kind",
        }


def test_why_directions_are_not_explained_is_said(make: Make) -> None:
    unknown = layer(1, directions=None, unexplained="no final norm is known")
    assert values(inspect_sections(make({"layers": [unknown]})), "removed directions, as tokens") == {
        "not known": "no final norm is known"
    }


def test_records_without_explanations_are_shown_too(make: Make) -> None:
    old = {name: value for name, value in layer(1).items() if name not in ("directions", "angles_to_clean_degrees")}
    old["matrices"] = [{"name": "w.weight", "relative_norm": 0.1, "rank": 1, "left": 0.0}]
    [row] = table(inspect_sections(make({"layers": [old]})), "layers")
    assert "SHA-256" not in row and row["‖ΔW‖/‖W‖"] == "10.00 %"


def test_header_says_who_what_and_how(make: Make) -> None:
    config = {"rank": 2, "layers": "upper_half", "cv_folds": 4, "max_rank": 10, "steps": None}
    changed = (*(f"model.layers.{n}.mlp.down_proj.weight" for n in range(3)), "lm_head.weight")
    record = make({}, changed, ("identical-pairs",), rate=0.25, config=config)
    header = values(inspect_sections(record))
    assert header["hyperparameters"] == "layers=upper_half, rank=2"
    assert header["noise"] == "flip 25 %: 50 pairs"
    assert header["data"] == "200 pairs of synthetic-pairs, seed 0"
    assert header["changed"] == "3 × model.layers.*.mlp.down_proj.weight; lm_head.weight"
    assert header["flags"] == "identical-pairs"
    assert header["measured"].startswith("toxicity 0.3 [")


@pytest.mark.parametrize(
    ("chosen", "shown"), [("cv", "cv_folds=4, rank=cv"), ("screenot", "max_rank=10, rank=screenot")]
)
def test_hyperparameters_of_a_search_are_shown_where_there_is_one(make: Make, chosen: str, shown: str) -> None:
    record = make({}, config={"rank": chosen, "cv_folds": 4, "max_rank": 10})
    assert values(inspect_sections(record))["hyperparameters"] == shown


def test_base_changed_nothing(make: Make) -> None:
    sections = inspect_sections(make({}, method="base"))
    assert [section.title for section in sections] == [""]
    assert values(sections)["changed"] == "nothing"
    assert "noise" not in values(sections)
    assert not drawable(make({}, method="base"))


def test_trials_of_a_selection_with_the_chosen_one_marked(make: Make) -> None:
    trials = [
        {"edit": "rank 1", "ranks": {"3": 1}, "gain": 0.01234, "margin": None},
        {"edit": "rank 2", "ranks": {"3": 2}, "gain": 0.5, "margin": 1.0},
    ]
    sections = inspect_sections(
        make({"selection": {"by": "cross-validation", "folds": 4, "trials": trials, "chosen": 1}})
    )
    assert values(sections, "selection") == {"by": "cross-validation", "folds": "4"}
    assert table(sections, "selection: trials") == [
        {"": "", "edit": "rank 1", "gain": "0.0123", "margin": "–"},
        {"": "→", "edit": "rank 2", "gain": "0.5", "margin": "1"},
    ]


def test_thresholds_of_screenot(make: Make) -> None:
    selection = {
        "by": "screenot",
        "max_rank": 10,
        "thresholds": {"3": 12.345, "4": 13.0},
        "rank_bounds": {"3": 9, "4": 9},
    }
    assert values(inspect_sections(make({"selection": selection})), "selection") == {
        "by": "screenot",
        "max rank": "10",
        "thresholds": "3: 12.3, 4: 13",
        "rank bounds": "3–4: 9",
    }


def test_curves_and_held_out_numbers_of_a_training(make: Make) -> None:
    curves = {"step": [1, 2, 3, 4], "loss": [0.7, 0.6, 0.5, 0.25], "chosen_reward": [0.0, -1.0, -2.0, -3.0]}
    watched = {"step": [0, 4], "margin": [6.719, -7.0]}
    held_out = {"pairs": 16, "margin_before": 6.719, "margin_after": -7.0, "curve": watched}
    record = make({"curves": curves, "steps": 4, "held_out": held_out}, method="dpo")
    sections = inspect_sections(record)
    loss, reward = table(sections, "curves, steps 1 to 4")
    assert (loss["first"], loss["last"], loss["course"]) == ("0.7", "0.25", "█▆▅▁")
    assert reward["last"] == "−3"
    assert values(sections, "held out") == {"pairs": "16", "margin before": "6.72", "margin after": "−7"}
    assert [row["last"] for row in table(sections, "held out: curve, steps 0 to 4")] == ["−7"]
    assert values(sections, "report") == {"steps": "4"}
    assert drawable(record)


def test_whatever_a_plugin_reports_is_shown(make: Make) -> None:
    details = {
        "temperature": 0.5,
        "note": "",
        "words": ["a", "b"],
        "odd": [[1, 2], [3]],
        "layers": "none",
        "rows": [{"x": 1}],
    }
    sections = inspect_sections(make(details))
    assert values(sections, "report") == {
        "temperature": "0.5",
        "words": "a, b",
        "odd": "[[1, 2], [3]]",
        "layers": "none",
    }
    assert table(sections, "rows") == [{"x": "1"}]
    assert not drawable(make(details))


def test_json_is_the_report_at_full_precision_without_items(make: Make) -> None:
    plain = inspection_json(make({"layers": [layer(1)]}))
    assert plain["alignment"]["details"]["layers"][0]["energy_removed"] == 0.9876
    assert plain["metrics"]["toxicity"]["value"] == pytest.approx(0.3)
    assert "items" not in json.dumps(plain, allow_nan=False)


def test_markdown_keeps_tokens_out_of_the_table_s_own_signs(make: Make) -> None:
    page = section_markdown(inspect_sections(make({"layers": [layer(1)]})))
    [line] = [line for line in page.splitlines() if "damn" in line]
    assert r"a\|b" in line
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for lines in (block.splitlines() for block in tables):
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_fits_its_width_and_loses_nothing(make: Make, width: int) -> None:
    tokens = {"promotes": ["[red]", *["␣immediately"] * 9], "suppresses": ["[/]"] * 10, "agreement": 0.5}
    text = printed(make({"layers": [layer(n, directions=[tokens]) for n in range(3)]}), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("aaaaaa→bbbbbb") == 3
    assert text.count("[red]") == 3 and text.count("[/]") == 30
    assert "…" not in text


@pytest.mark.parametrize(
    ("points", "bars"),
    [
        ([0.0, 1.0], "▁█"),
        ([1.0, 1.0], "▁▁"),
        ([None, 1.0, float("nan"), 2.0], "·▁·█"),
        ([], ""),
        ([-1.0, 0.0, 1.0], "▁▅█"),
    ],
)
def test_sparks(points: list[float | None], bars: str) -> None:
    assert spark(points) == bars


def test_long_courses_are_averaged_in_stretches() -> None:
    assert spark([0.0] * 50 + [1.0] * 50, width=4) == "▁▁██"
    assert spark([0.0, 8.0] * 50, width=10) == "▁" * 10
    assert spark([7.0, 14.0], from_zero=True) == "▅█"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "True"), (12345, "12,345"), (3.0, "3"), (-0.5, "−0.5"), (1e-7, "1e-07"), (0.12345, "0.123")],
)
def test_numbers_as_text(value: Any, text: str) -> None:
    assert scalar_text(value) == text


def test_equal_neighbours_stand_together() -> None:
    assert leaf_text({"3": 2, "4": 2, "5": 1}) == "3–4: 2, 5: 1"
    assert leaf_text({"a": 2, "b": 2}) == "a, b: 2"


def test_names_that_differ_in_numbers_alone_are_one() -> None:
    assert summarise_names(["h.0.w", "h.11.w", "ln_1.w"]) == ["2 × h.*.w", "ln_1.w"]


def test_tables_need_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, bench.leaderboard.inspection.sections, bench.leaderboard.render.text;"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
