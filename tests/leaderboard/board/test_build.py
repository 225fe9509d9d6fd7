"""Which records share a table, which make a row, and what a table says of itself."""

from __future__ import annotations

import itertools
import random

import pytest

from bench.leaderboard.board.build import comparable_groups, make_leaderboard

VALUES = [0.1, 0.4, 0.2, 0.9, 0.5]


@pytest.fixture
def make(make_record, make_metric):
    """A record whose toxicity is that of base plus a shift."""

    def record(method="profs", shift=0.0, **changes):
        metrics = {"toxicity": make_metric["toxicity"]([value + shift for value in VALUES])}
        return make_record(method, metrics=changes.pop("metrics", metrics), **changes)

    return record


def only_table(records):
    (table,) = make_leaderboard(records).tables
    return table


def test_no_records_no_tables():
    board = make_leaderboard([])
    assert (board.n_records, board.tables) == (0, ())


def test_base_alone(make):
    table = only_table([make("base")])
    assert [row.method for row in table.rows] == ["base"]
    assert table.rows[0].scores["toxicity"].change is None
    assert (table.rows[0].n_pairs, table.rows[0].noise_rate, table.rows[0].seeds) == (None, None, ())


def test_base_comes_first_then_methods_pairs_and_noise(make):
    records = [
        make("profs", rate=0.3),
        make("profs", rate=0.0),
        make("dpo", n_pairs=300),
        make("dpo", n_pairs=50, rate=0.5),
        make("base"),
        make("a-method"),
    ]
    rows = only_table(records).rows
    assert [(row.method, row.n_pairs, row.noise_rate) for row in rows] == [
        ("base", None, None),
        ("a-method", 200, 0.0),
        ("dpo", 50, 0.5),
        ("dpo", 300, 0.0),
        ("profs", 200, 0.0),
        ("profs", 200, 0.3),
    ]


def test_the_order_of_records_does_not_matter(make):
    records = [make("base"), make("profs", -0.05), make("dpo", scorer="linear"), make("dpo", rate=0.3)]
    boards = [make_leaderboard(list(order)) for order in itertools.permutations(records)]
    assert all(board == boards[0] for board in boards)


def test_changes_are_against_base(make):
    table = only_table([make("base"), make("profs", -0.05)])
    assert table.rows[1].scores["toxicity"].change.value == pytest.approx(-0.05)
    assert table.has_base


def test_without_base_there_are_no_changes(make):
    table = only_table([make("profs", -0.05)])
    assert not table.has_base
    assert table.rows[0].scores["toxicity"].change is None
    assert table.rows[0].scores["toxicity"].value is not None


def test_two_scorers_never_share_a_column(make):
    records = [make("base"), make("profs"), make("base", scorer="linear"), make("profs", scorer="linear")]
    tables = make_leaderboard(records).tables
    assert sorted(table.distinction["toxicity.scorer.name"] for table in tables) == ["bilstm", "linear"]
    for table in tables:
        assert len(table.rows) == 2
        name = table.distinction["toxicity.scorer.name"]
        assert all(name in cell for row in table.rows for cell in row.cells)


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "beef" * 16},
        {"dtype": "bfloat16"},
        {"device": "cuda: some GPU"},
        {"evaluation": {"toxicity": {"prompts": "synthetic", "limit": 50}}},
    ],
)
def test_what_cannot_be_compared_stands_apart(make, changes):
    tables = make_leaderboard([make("base"), make("profs", cell_id="other", **changes)]).tables
    assert len(tables) == 2
    assert all(table.distinction for table in tables)
    assert [table.has_base for table in tables].count(True) == 1


def test_tables_are_told_apart_by_what_they_share_not_by_what_one_lacks(make, make_metric):
    both = {"toxicity": make_metric["toxicity"](VALUES), "perplexity": make_metric["perplexity"]([3.0, 3.5])}
    tables = make_leaderboard([make("base", metrics=both), make("base", scorer="linear")]).tables
    assert [set(table.distinction) for table in tables] == [{"toxicity.scorer.name"}] * 2


def test_hashes_tell_tables_apart_only_where_nothing_else_does(make):
    one, other = ({"toxicity": {"prompts": "p", "sha256": digit * 64}} for digit in "12")
    tables = make_leaderboard([make("base", evaluation=one), make("profs", evaluation=other)]).tables
    assert [table.distinction for table in tables] == [
        {"toxicity.sha256": table.columns[0].identity["sha256"][:8]} for table in tables
    ]


def test_a_record_with_fewer_tasks_joins_and_lacks_the_rest(make, make_metric):
    both = {"toxicity": make_metric["toxicity"](VALUES), "perplexity": make_metric["perplexity"]([3.0, 3.5])}
    table = only_table([make("base", metrics=both), make("profs")])
    assert [column.metric for column in table.columns] == ["toxicity", "perplexity"]
    assert "perplexity" not in table.rows[1].scores
    assert table.rows[1].scores["toxicity"].change is not None


def test_a_metric_that_base_lacks_says_so(make, make_metric):
    both = {"toxicity": make_metric["toxicity"](VALUES), "perplexity": make_metric["perplexity"]([3.0, 3.5])}
    scores = only_table([make("base"), make("profs", metrics=both)]).rows[1].scores
    assert scores["perplexity"].unpaired == "base was not measured"
    assert scores["toxicity"].unpaired is None


def test_records_that_contradict_each_other_are_not_joined_by_a_third(make, make_metric):
    perplexity = make_metric["perplexity"]([3.0, 3.5])
    only_perplexity = make("dpo", metrics={"perplexity": perplexity})
    groups = comparable_groups([make("base"), make("base", scorer="linear"), only_perplexity])
    assert sorted(len(group) for group in groups) == [1, 2]


def test_seeds_make_one_row(make):
    records = [make("base"), *(make("dpo", -0.1 * seed, seed=seed) for seed in (0, 1, 2))]
    row = only_table(records).rows[1]
    assert row.seeds == (0, 1, 2)
    assert len(row.cells) == 3
    assert row.scores["toxicity"].change.value == pytest.approx(-0.1)
    assert row.scores["toxicity"].spread == pytest.approx(0.1)


def test_configurations_of_one_name_are_told_apart_by_what_differs(make):
    def config(rank, layers):
        return {"rank": rank, "layers": {"first": layers, "last": 29}, "center": "mean"}

    records = [make("profs", config=config(rank, 15), cell_id=f"k{rank}") for rank in (2, 10)]
    rows = only_table([make("base"), *records, make("dpo", config={"beta": 0.1})]).rows
    assert [dict(row.settings) for row in rows] == [{}, {}, {"rank": "10"}, {"rank": "2"}]
    records.append(make("profs", config=config(2, 0), cell_id="all"))
    assert {"rank": "2", "layers.first": "0"} in [dict(row.settings) for row in only_table(records).rows]


def test_pair_sources_are_told_apart(make):
    pools = {"on-policy": "11" * 32, "file:mine.jsonl": "33" * 32}
    records = [make("dpo", source=source, cell_id=source, pool_sha256=sha256) for source, sha256 in pools.items()]
    rows = only_table([make("base"), *records]).rows
    assert [row.settings.get("pairs") for row in rows] == [None, "file:mine.jsonl", "on-policy"]


def test_the_same_pairs_at_another_path_are_the_same_row(make):
    paths = ["file:pairs.jsonl", "file:/copy/of/pairs.jsonl", "file:pairs.jsonl"]
    records = [
        make("dpo", -0.1 * seed, seed=seed, source=path, created_at=f"2026-01-0{seed + 1}T00:00:00+00:00")
        for seed, path in enumerate(paths)
    ]
    together = make("profs", source="file:/copy/of/pairs.jsonl", config={"rank": 2}, cell_id="a")
    apart = make("profs", source="file:pairs.jsonl", config={"rank": 10}, cell_id="b")
    rows = only_table([make("base"), *records, together, apart]).rows
    assert [dict(row.settings) for row in rows] == [{}, {}, {"rank": "10"}, {"rank": "2"}]
    assert rows[1].seeds == (0, 1, 2) and rows[1].scores["toxicity"].spread == pytest.approx(0.1)
    renamed = [record.model_copy(update={"data": named(record)}) for record in (*records, together, apart)]
    assert [row.scores for row in rows] == [row.scores for row in only_table([make("base"), *renamed]).rows]


def named(record):
    """The data of a record as if they had always been read at one path."""
    return record.data.model_copy(update={"source": "file:pairs.jsonl"})


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"pool_sha256": "1a2b3c4d" * 8}, [{"pairs sha": "1a2b3c4d"}, {"pairs sha": "22222222"}]),
        ({"held_out": 0}, [{"held out": "0"}, {"held out": "32"}]),
        ({"code": "1a2b3c4d" * 2}, [{"code": "1a2b3c4d"}, {"code": "c0dec0de"}]),
    ],
)
def test_other_pairs_and_other_code_make_another_row(make, changes, labels):
    records = [make("base"), make("dpo", -0.1, cell_id="one"), make("dpo", -0.3, seed=1, cell_id="other", **changes)]
    table = only_table([*records, make("profs")])
    ours = [row for row in table.rows if row.method == "dpo"]
    assert sorted(row.cells for row in ours) == [("one",), ("other",)]
    assert [dict(row.settings) for row in ours] == labels
    assert all(row.scores["toxicity"].spread is None for row in ours)
    assert table.rows[-1].settings == {}
    assert table.superseded == 0


def test_pairs_and_code_are_named_only_where_rows_would_look_the_same(make):
    other = {"pool_sha256": "33" * 32, "code": "beef" * 4}
    told = [make("dpo", cell_id="a"), make("dpo", source="on-policy", cell_id="b", **other)]
    assert [set(row.settings) for row in only_table(told).rows] == [{"pairs"}, {"pairs"}]
    told = [make("dpo", cell_id="a"), make("dpo", rate=0.3, cell_id="b", **other)]
    assert [row.settings for row in only_table(told).rows] == [{}, {}]
    same_looks = make("dpo", cell_id="c", code="beef" * 4)
    rows = only_table([*told, same_looks]).rows
    assert [(row.settings["code"], row.noise_rate) for row in rows] == [
        ("beefbeef", 0.0),
        ("beefbeef", 0.3),
        ("c0dec0de", 0.0),
    ]
    assert all(set(row.settings) == {"code"} for row in rows)


def test_base_is_one_row_whatever_its_record_says_of_code(make):
    records = [make("base", cell_id="a", code="11" * 8), make("base", cell_id="b", code="22" * 8, held_out=4)]
    assert [row.method for row in only_table(records).rows] == ["base"]


def test_the_newest_record_of_a_row_and_seed_counts_and_older_ones_are_told(make):
    old = make("profs", 0.1, created_at="2026-01-01T12:00:00+02:00", cell_id="b-old")
    new = make("profs", -0.1, created_at="2026-01-01T11:00:00+00:00", cell_id="a-new")
    table = only_table([new, make("base"), old])
    assert table.rows[1].cells == ("a-new",)
    assert table.rows[1].scores["toxicity"].change.value == pytest.approx(-0.1)
    assert table.superseded == 1


def test_base_of_any_seed_is_one_row(make):
    table = only_table([make("base", seed=seed, created_at=f"2026-01-0{seed + 1}T00:00:00+00:00") for seed in (0, 1)])
    assert len(table.rows) == 1
    assert table.superseded == 1


def test_flags_come_from_the_method_and_from_counts(make, make_metric):
    counts = {"empty": 2, "unscored": 0, "ended_early": 9}
    metrics = {"toxicity": make_metric["toxicity"](VALUES, counts=counts)}
    records = [make("dpo", metrics=metrics, seed=seed, flags=["identical-pairs"]) for seed in (0, 1)]
    assert only_table(records).rows[0].flags == ("identical-pairs", "toxicity: 4 empty")


def test_flags_come_from_the_measurements_that_count(make, make_metric):
    def flagged(*flags):
        return {"toxicity": make_metric["toxicity"](VALUES).model_copy(update={"details": {"flags": list(flags)}})}

    old = make("dpo", metrics=flagged("old"), cell_id="old", created_at="2025-01-01T00:00:00+00:00")
    records = [
        old,
        *(make("dpo", metrics=flagged("mostly-unscored"), seed=seed, flags=["identical-pairs"]) for seed in (0, 1)),
    ]
    assert only_table(records).rows[0].flags == ("identical-pairs", "toxicity: mostly-unscored")
    assert only_table([make("base", metrics=flagged("mostly-unscored"))]).rows[0].flags == (
        "toxicity: mostly-unscored",
    )


def test_a_failed_measurement_has_no_value_and_a_flag(make, make_metric):
    nothing = {"toxicity": make_metric["toxicity"]([None] * 5)}
    failed = nothing["toxicity"].model_copy(update={"counts": {"unscored": 5}})
    row = only_table([make("base"), make("dpo", metrics={"toxicity": failed})]).rows[1]
    assert row.scores["toxicity"].value is None
    assert row.flags == ("toxicity: mostly-unmeasured", "toxicity: 5 unscored")


def test_costs_are_means_and_peaks(make):
    row = only_table([make("dpo", seed=seed, align_seconds=10.0 * (seed + 1)) for seed in (0, 1)]).rows[0]
    assert row.align_seconds == 15.0
    assert row.peak_rss_bytes == 3 * 2**29
    assert row.peak_device_bytes is None


def test_unknown_metrics_get_a_column_after_the_known_ones(make_record, make_metric):
    metrics = {"fluency": make_metric["toxicity"](VALUES), "toxicity": make_metric["toxicity"](VALUES)}
    record = make_record("base", metrics=metrics, evaluation={"fluency": {}, "toxicity": {}})
    assert [column.metric for column in only_table([record]).columns] == ["toxicity", "fluency"]


def test_origin_gathers_what_records_say(make):
    provenance = {"packages": {"torch": "2.13.0", "trl": None}, "git": {"commit": "c0ffee" * 6 + "beef", "dirty": True}}
    records = [
        make("base", provenance={**provenance, "command": "bench run"}),
        make("profs", provenance={"packages": {"torch": "2.14.0"}, "git": None, "command": None}),
    ]
    random.Random(0).shuffle(records)
    origin = only_table(records).origin
    assert origin.versions == {"torch": "2.13.0 / 2.14.0"}
    assert origin.commits == ("c0ffeec0ffee+changes",)
    assert origin.commands == ("bench run",)
    assert origin.newest == "2026-01-02T03:04:05+00:00"
