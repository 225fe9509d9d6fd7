"""Pictures of studies: what is drawn is what the CSV says, and the same records give the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.core.values import AlignmentReport
from bench.leaderboard.figures.study import draw_chart
from bench.leaderboard.figures.style import save_figure
from bench.leaderboard.records.record import Record
from bench.leaderboard.study.cells import study_cells
from bench.leaderboard.study.charts import Chart, csv_text, make_charts

pytestmark = pytest.mark.slow

Make = Callable[..., Record]
KINDS = ("values", "changes", "tradeoff", "seeds", "why")


@pytest.fixture
def study(make_record: Make, make_metric: Mapping[str, Any]) -> list[Record]:
    """Two methods × three rates × two sizes × two seeds, and base."""

    def metrics(gain: float, seed: int) -> dict[str, Any]:
        values = [0.2 + 0.05 * (i % 9) - gain * (1 + 0.1 * ((i + seed) % 3)) for i in range(30)]
        tasks = {task: [float((i * 7 + len(task) + (gain > 0) * seed) % 3 > 0) for i in range(8)] for task in ("a",)}
        return {
            "toxicity": make_metric["toxicity"](values),
            "perplexity": make_metric["perplexity"]([2.0 + gain + 0.1 * (i % 4) for i in range(9)]),
            "capability": make_metric["capability"](tasks),
        }

    def details(method: str, rate: float, seed: int) -> dict[str, Any]:
        if method == "dpo":
            return {"held_out": {"pairs": 16, "reward_accuracy": (14 - round(20 * rate) + seed) / 16}}
        angles = [10 * rate + seed, 1.0] if rate else None
        return {"layers": [{"layer": layer, "angles_to_clean_degrees": angles} for layer in (3, 4)]}

    cells = [make_record("base", metrics=metrics(0.0, 0))]
    for method, full in (("dpo", 0.1), ("profs", 0.05)):
        for rate in (0.0, 0.2, 0.4):
            for n_pairs in (50, 200):
                for seed in (0, 1):
                    made = make_record(
                        method, metrics=metrics(full * (1 - rate), seed), rate=rate, seed=seed, n_pairs=n_pairs
                    )
                    report = AlignmentReport(changed=("weight",), details=details(method, rate, seed))
                    cells.append(made.model_copy(update={"alignment": report}))
    return cells


@pytest.fixture
def charts(study: list[Record]) -> dict[str, Chart]:
    return {chart.stem: chart for chart in make_charts(study_cells(study))}


def read(chart: Chart) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(chart))))


def panel(figure: Figure, title: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_title().startswith(title)]
    return found


def drawn_points(axes: Axes, marker: str | None = None) -> set[tuple[float, float]]:
    lines = [line for line in axes.get_lines() if marker is None or line.get_marker() == marker]
    return {
        (round(float(x), 9), round(float(y), 9))
        for line in lines
        for x, y in np.asarray(line.get_xydata())
        if np.isfinite([x, y]).all()
    }


def test_there_is_a_picture_for_every_facet(charts: dict[str, Chart]) -> None:
    assert set(charts) == {
        *(f"noise-flip-n{n}{suffix}" for n in (50, 200) for suffix in ("", "-change")),
        *(f"size{setting}{suffix}" for setting in ("", "-flip-20", "-flip-40") for suffix in ("", "-change")),
        "tradeoff-flip",
        "seeds-flip",
        "why-flip-n50",
        "why-flip-n200",
    }


@pytest.mark.parametrize(("stem", "over"), [("noise-flip-n200", "rate"), ("size-change", "pairs")])
def test_curves_draw_their_csv_and_nothing_else(charts: dict[str, Chart], stem: str, over: str) -> None:
    figure, rows = draw_chart(charts[stem]), read(charts[stem])
    for metric in ("toxicity", "perplexity", "capability"):
        axes = panel(figure, metric)
        some = [row for row in rows if row["metric"] == metric and row["method"] != "base"]
        want = {(float(row[over]), round(float(row["value"]), 9)) for row in some}
        assert drawn_points(axes, "o") | drawn_points(axes, "s") | drawn_points(axes, ".") == want
        ends = {(float(r[over]), round(float(r[end]), 9)) for r in some for end in ("low", "high") if r[end]}
        bands = drawn_points(axes, "None") - {(x, y) for x, y in drawn_points(axes, "None") if x in (0.0, 1.0)}
        assert bands == {end for end in ends if end[0] not in (0.0, 1.0)}


def test_base_is_a_dashed_line_at_its_value(charts: dict[str, Chart]) -> None:
    chart = charts["noise-flip-n200"]
    (base,) = [row for row in read(chart) if row["metric"] == "toxicity" and row["method"] == "base"]
    levels = {
        round(float(line.get_ydata()[0]), 9)
        for line in panel(draw_chart(chart), "toxicity").get_lines()
        if list(line.get_xdata()) == [0, 1]
    }
    assert levels == {round(float(base["value"]), 9)}


def test_sizes_stand_on_a_logarithmic_axis(charts: dict[str, Chart]) -> None:
    axes = panel(draw_chart(charts["size"]), "toxicity")
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == [50, 200]


def test_facets_share_their_scales(charts: dict[str, Chart]) -> None:
    limits = {panel(draw_chart(charts[f"noise-flip-n{n}"]), "toxicity").get_ylim() for n in (50, 200)}
    assert len(limits) == 1


def test_tradeoff_rings_the_front(charts: dict[str, Chart]) -> None:
    chart = charts["tradeoff-flip"]
    figure, rows = draw_chart(chart), read(chart)
    axes = figure.axes[0]
    some = [row for row in rows if row["metric"] == "perplexity"]
    front = {(round(float(r["value"]), 9), round(float(r["toxicity"]), 9)) for r in some if r["front"] == "True"}
    (rings,) = [line for line in axes.get_lines() if line.get_markersize() == 12]
    assert {tuple(np.round(point, 9)) for point in rings.get_xydata()} == front
    assert (0.0, 0.0) in front, "base: nothing costs less"
    assert {row["scale"] for row in rows} == {"change"}


def test_tradeoff_of_values_where_base_is_missing(study: list[Record]) -> None:
    charts = {chart.stem: chart for chart in make_charts(study_cells(study[1:]))}
    assert {row["scale"] for row in charts["tradeoff-flip"].rows} == {"value"}
    assert "noise-flip-n200-change" not in charts
    draw_chart(charts["tradeoff-flip"])
    draw_chart(charts["noise-flip-n200"])


def test_strips_have_a_dot_a_seed_and_are_left_out_for_one(charts: dict[str, Chart], study: list[Record]) -> None:
    axes = panel(draw_chart(charts["seeds-flip"]), "toxicity")
    rows = [r for r in read(charts["seeds-flip"]) if r["metric"] == "toxicity" and r["seed"] in ("0", "1")]
    assert len(rows) == 24
    assert {x for x, _ in drawn_points(axes, "o") | drawn_points(axes, "s")} == {
        round(float(r["value"]), 9) for r in rows
    }
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["DPO, n = 50, 0 %", "DPO, n = 50, 20 %"]
    alone = make_charts(study_cells([record for record in study if record.data.seed == 0]))
    assert "seeds-flip" not in {chart.stem for chart in alone}


def test_why_shows_what_records_report(charts: dict[str, Chart]) -> None:
    figure = draw_chart(charts["why-flip-n200"])
    angles = drawn_points(panel(figure, "angle"), "s")
    assert angles == {(0.2, 2.5), (0.4, 4.5)}, "means over two seeds of the largest angle: 2 and 3, 4 and 5"
    accuracy = drawn_points(panel(figure, "reward accuracy"), "o")
    assert accuracy == {(0.0, 14.5 / 16), (0.2, 10.5 / 16), (0.4, 6.5 / 16)}
    rows = [row for row in read(charts["why-flip-n200"]) if row["quantity"] == "reward accuracy" and row["seed"] == "0"]
    assert [round(float(row["low"]), 3) for row in rows] == [0.640, 0.386, 0.185], "Wilson for 14, 10 and 6 of 16"


def test_degenerate_points_are_hollow_and_off_the_front(study: list[Record]) -> None:
    def silenced(record: Record) -> Record:
        if record.method.name != "dpo":
            return record
        metric = record.metrics["toxicity"].model_copy(update={"details": {"guards": {"empty_rate": 0.9}}})
        return record.model_copy(update={"metrics": {**record.metrics, "toxicity": metric}})

    charts = {chart.stem: chart for chart in make_charts(study_cells([silenced(record) for record in study]))}
    rows = charts["tradeoff-flip"].rows
    assert {row["degenerate"] for row in rows if row["method"] == "dpo"} == {"silent"}
    assert not any(row["front"] for row in rows if row["method"] == "dpo")
    figure = draw_chart(charts["noise-flip-n200"])
    assert "degenerate text" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_same_rows_same_bytes(charts: dict[str, Chart], tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        save_figure(draw_chart(charts["tradeoff-flip"]), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert b"<dc:date>" not in (tmp_path / f"a{suffix}").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_can_be_read_and_lies_on_the_page(charts: dict[str, Chart], kind: str) -> None:
    figure = draw_chart(next(chart for chart in charts.values() if chart.kind == kind))
    FigureCanvasAgg(figure).draw()
    assert figure.get_figwidth() <= 7
    page = figure.bbox
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert min(word.get_fontsize() for word in words) >= 8
    for box in [axes.get_tightbbox() for axes in figure.axes if axes.axison] + [figure.legends[0].get_window_extent()]:
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1


def test_methods_can_be_told_apart_without_colour(charts: dict[str, Chart]) -> None:
    lines = panel(draw_chart(charts["noise-flip-n200"]), "toxicity").get_lines()
    means = [line for line in lines if line.get_marker() in "os" and len(line.get_xdata()) == 3]
    assert len({line.get_marker() for line in means}) == len({str(line.get_linestyle()) for line in means}) == 2


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_chart(Chart("x", "values", "x", (), ()))


def test_a_pdf_embeds_truetype_fonts_and_no_type_3(charts: Mapping[str, Chart], tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    save_figure(draw_chart(charts["tradeoff-flip"]), path)
    data = path.read_bytes()
    assert b"/CIDFontType2" in data or b"/Subtype /TrueType" in data
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


def test_titles_are_left_out_on_request(charts: Mapping[str, Chart]) -> None:
    chart = charts["tradeoff-flip"]
    assert draw_chart(chart).get_suptitle() == chart.title
    assert draw_chart(chart, title=False).get_suptitle() == ""
