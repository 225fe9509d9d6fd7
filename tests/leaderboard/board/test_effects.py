from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.leaderboard.board.effects import SHIPPED, shipped_effects, shipped_spreads
from benchmarks.spreads import spreads_yaml

RESULTS = Path(__file__).parents[3] / "docs" / "results"


def test_the_shipped_spreads_follow_from_the_shipped_records() -> None:
    made = yaml.safe_load(spreads_yaml([RESULTS / "noise-study", RESULTS / "size-study"]))
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert made.keys() == shipped.keys() == {"toxicity", "perplexity", "capability", "scrubbing"}
    for name, row in made.items():
        assert row.pop("spread") == pytest.approx(shipped[name].pop("spread"), abs=2e-5)
        assert row == shipped[name]


def test_more_items_tell_smaller_effects_and_one_seed_is_said_to_leave_seeds_out() -> None:
    toxicity = next(spread for spread in shipped_spreads() if spread.metric == "toxicity")
    few, many = (toxicity.effect(n_items=n_items, n_seeds=1) for n_items in (50, 5000))
    assert few > 5 * many
    heading, line, other = shipped_effects({"toxicity": 50, "of-a-plug-in": 9, "perplexity": 0}, 1)
    assert other == "  of-a-plug-in: not known until cells are finished, as no shipped study has it"
    assert "1 seed can tell (how seeds differ is left out)" in heading
    assert line.startswith(f"  toxicity: {few:.3f} with 50 items, judged by dpo at noise 0")
    assert "left out" not in shipped_effects({"toxicity": 50}, 3)[0]
    assert shipped_effects({"of-a-plug-in": 9}, 3) == []
