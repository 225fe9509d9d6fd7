"""What is said of seeds that train on the same pairs."""

from __future__ import annotations

import random

import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.render.notes import table_notes

BASE = [random.Random(place).random() for place in range(40)]


@pytest.fixture
def note(make_record, make_metric):
    """`note(shifts, pool)`: the note on seeds of a row with a seed for each shift, on 200 pairs of a pool."""

    def made(shifts, pool):
        records = [make_record("base", metrics={"toxicity": make_metric["toxicity"](BASE)})]
        for seed, shift in enumerate(shifts):
            moved = [v - 0.1 - shift * random.Random(place).random() for place, v in enumerate(BASE)]
            row = make_record(metrics={"toxicity": make_metric["toxicity"](moved)}, seed=seed)
            records.append(row.model_copy(update={"data": row.data.model_copy(update={"n_pool": pool})}))
        (table,) = make_leaderboard(records).tables
        return next(note.text for note in table_notes(table) if note.label == "Seeds")

    return made


def test_seeds_that_train_on_most_of_one_pool_say_so(note):
    assert "each seed trains on 200 of 250 pairs" in note([0.1, 0.2, 0.3], 250)
    assert "each seed trains" not in note([0.1, 0.2, 0.3], 2000)
    assert "these records do not say" in note([0.1, 0.2, 0.3], None)


def test_seeds_that_are_alike_in_every_item_are_one_measurement(note):
    assert "the cells of ProFS 0 % are the same to the last item under every seed" in note([0.1, 0.1, 0.1], 2000)
    assert "one measurement" not in note([0.1, 0.1, 0.2], 2000)
