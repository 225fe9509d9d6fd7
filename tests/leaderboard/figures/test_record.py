"""Pictures of records: what is drawn is what was reported, and the same record gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.core.values import AlignmentReport
from bench.leaderboard.figures.record import draw_record
from bench.leaderboard.figures.style import save_figure
from bench.leaderboard.records.record import Record

pytestmark = pytest.mark.slow

Make = Callable[[Mapping[str, Any]], Record]


def layer(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "layer": number,
        "rank": 2,
        "singular_values": [9.0 + number, 5.0, 2.0, 1.0],
        "energy_removed": 0.25 * number,
        "matrices": [{"name": f"h.{number}.mlp.down.weight", "relative_norm": 0.01 * number, "rank": 2, "left": 0.0}],
        "angles_to_clean_degrees": None,
    } | changes


CURVES = {
    "step": [1, 2, 3],
    "loss": [0.7, 0.6, 0.5],
    "reward_accuracy": [0.5, 0.75, 1.0],
    "reward_margin": [0.0, 0.1, 0.2],
    "chosen_reward": [0.0, 0.1, 0.1],
    "rejected_reward": [0.0, 0.0, -0.1],
}


@pytest.fixture
def make(make_record: Callable[..., Record], make_metric: Mapping[str, Any]) -> Make:
    """`make(details)`: a record of a method that reported `details`."""

    def make_one(details: Mapping[str, Any]) -> Record:
        record = make_record(metrics={"toxicity": make_metric["toxicity"]([0.2, 0.4])}, rate=0.3)
        return record.model_copy(update={"alignment": AlignmentReport(changed=(), details=details)})

    return make_one


def panels(figure: Figure) -> dict[str, Any]:
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def lines(axes: Any) -> list[list[tuple[float, float]]]:
    drawn = [line.get_xydata() for line in axes.get_lines()]
    return [[tuple(map(float, point)) for point in np.asarray(points)] for points in drawn]


def test_edit_without_noise(make: Make) -> None:
    found = panels(draw_record(make({"layers": [layer(1), layer(2), layer(3)]})))
    assert list(found) == ["spectrum of the differences", "energy removed", "size of the change", "rank"]
    assert [(1, 25), (2, 50), (3, 75)] in lines(found["energy removed"])
    assert [(1, 1), (2, 2), (3, 3)] in lines(found["size of the change"])
    assert [(1, 12), (2, 5), (3, 2), (4, 1)] in lines(found["spectrum of the differences"])
    assert [(1, 12), (2, 5)] in lines(found["spectrum of the differences"]), "the removed ones are marked"


def test_edit_with_noise_shows_angles(make: Make) -> None:
    layers = [layer(4, angles_to_clean_degrees=[1.0, 2.5]), layer(5, angles_to_clean_degrees=[0.5, 4.0])]
    axes = panels(draw_record(make({"layers": layers})))["angles to the subspace without noise"]
    assert [(4, 2.5), (5, 4.0)] in lines(axes)
    assert [(4, 1.0), (4, 2.5), (5, 0.5), (5, 4.0)] in lines(axes)


def test_angles_that_are_rounding_look_like_nothing(make: Make) -> None:
    layers = [layer(4, angles_to_clean_degrees=[1e-6]), layer(5, angles_to_clean_degrees=[2e-6])]
    axes = panels(draw_record(make({"layers": layers})))["angles to the subspace without noise"]
    assert axes.get_ylim()[1] > 1


def test_control_without_a_spectrum(make: Make) -> None:
    layers = [layer(n, singular_values=[], energy_removed=None) for n in (1, 2)]
    assert list(panels(draw_record(make({"layers": layers})))) == ["size of the change", "rank"]


def test_several_matrices_of_a_layer_are_told_apart(make: Make) -> None:
    matrices = [{"name": f"h.1.{kind}.weight", "relative_norm": 0.1, "rank": 1, "left": 0.0} for kind in ("up", "down")]
    axes = panels(draw_record(make({"layers": [layer(1, matrices=matrices)]})))["size of the change"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["up", "down"]


def test_training_with_held_out_pairs(make: Make) -> None:
    held_out = {"reward_margin": 0.05, "reward_accuracy": 0.625}
    found = panels(draw_record(make({"curves": CURVES, "held_out": held_out})))
    assert list(found) == ["loss", "reward accuracy", "reward margin", "rewards"]
    assert lines(found["loss"]) == [[(1, 0.7), (2, 0.6), (3, 0.5)]]
    assert [(3, 0.625)] in lines(found["reward accuracy"])
    assert [(3, 0.05)] in lines(found["reward margin"])
    without = panels(draw_record(make({"curves": CURVES, "held_out": None})))
    assert [(3, 0.05)] not in lines(without["reward margin"])


def test_held_out_pairs_watched_during_training_have_panels(make: Make) -> None:
    watched = {"step": [0, 2, 3], "margin": [6.0, 6.5, 7.0], "accuracy": [0.5, 0.75, 0.75]}
    found = panels(draw_record(make({"curves": CURVES, "held_out": {"curve": watched}})))
    assert len(found) == 6
    assert lines(found["margin on held-out pairs"]) == [[(0, 6.0), (2, 6.5), (3, 7.0)]]
    once = {name: points[:1] for name, points in watched.items()}
    assert len(panels(draw_record(make({"curves": CURVES, "held_out": {"curve": once}})))) == 4


def test_long_courses_are_averaged_to_their_very_end(make: Make) -> None:
    curves = {"step": list(range(1, 48)), "loss": [float(step % 2) for step in range(46)] + [9.0]}
    every, means = lines(panels(draw_record(make({"curves": curves})))["loss"])
    assert len(every) == 47
    assert 10 <= len(means) <= 20
    assert sum(y for _, y in means[:-1]) / len(means[:-1]) == pytest.approx(0.5, abs=0.1)
    assert means[-1][1] > 1


def test_curves_of_another_method(make: Make) -> None:
    found = panels(draw_record(make({"curves": {"step": [1, 2], "my_entropy": [3.0, 2.0]}})))
    assert lines(found["my entropy"]) == [[(1, 3), (2, 2)]]


def test_nothing_to_draw(make: Make) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_record(make({}))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_same_record_same_bytes(make: Make, tmp_path: Path, suffix: str) -> None:
    record = make({"layers": [layer(n) for n in range(1, 30)]})
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        save_figure(draw_record(record), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(paths[0].read_bytes()) > 5000


def test_a_person_s_own_style_changes_nothing_and_stays(make: Make, tmp_path: Path) -> None:
    record = make({"curves": CURVES})
    save_figure(draw_record(record), tmp_path / "plain.png")
    with matplotlib.rc_context({"font.size": 33, "axes.facecolor": "red"}):
        save_figure(draw_record(record), tmp_path / "styled.png")
        assert matplotlib.rcParams["font.size"] == 33
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()


def test_every_word_can_be_read_in_print(make: Make) -> None:
    layers = [layer(n, angles_to_clean_degrees=[0.1, 1.0]) for n in range(1, 5)]
    for details in ({"layers": layers}, {"curves": CURVES, "held_out": {"reward_margin": 1.0}}):
        figure = draw_record(make(details))
        assert figure.get_figwidth() <= 7
        words = [word for word in figure.findobj(Text) if word.get_text().strip()]
        assert min(word.get_fontsize() for word in words) >= 8
        for axes in panels(figure).values():
            assert axes.get_xlabel() and axes.get_ylabel()
