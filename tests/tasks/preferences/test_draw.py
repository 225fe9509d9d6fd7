from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.spec.run_spec import PairsSpec
from bench.tasks.preferences.data_module import PreferenceDataModule
from bench.tasks.preferences.draw import Draw, count_held_out, describe_split, prepare_preferences, subsample
from bench.tasks.preferences.pool import PairPool, make_pool, sha256_pairs


@pytest.fixture(scope="module")
def pool() -> PairPool:
    return make_pool("file:pairs.jsonl", [PreferencePair(f"p{i}", f" good {i}", f" bad {i}", 0.5) for i in range(60)])


def texts(pair: PreferencePair) -> frozenset[str]:
    return frozenset((pair.prompt, pair.chosen, pair.rejected))


def test_everything_is_used_where_nothing_is_asked_for(pool: PairPool) -> None:
    data = prepare_preferences(pool, Draw())
    assert {pair.prompt for pair in data.pairs} == {pair.prompt for pair in pool.pairs}
    assert (data.n_flipped, data.held_out, data.source, data.pool_sha256) == (0, (), pool.source, pool.sha256)
    assert data.clean_sha256 == sha256_pairs(data.pairs)


def test_sizes_are_nested_and_rates_share_their_clean_pairs(pool: PairPool) -> None:
    small, large = (prepare_preferences(pool, Draw(n=n, seed=3, held_out=5)) for n in (20, 40))
    assert large.pairs[:20] == small.pairs
    noisy = prepare_preferences(pool, Draw(n=40, seed=3, held_out=5, rate=0.3))
    noisier = prepare_preferences(pool, Draw(n=40, seed=3, held_out=5, rate=0.5))
    assert noisy.clean_sha256 == large.clean_sha256 != small.clean_sha256
    assert [texts(pair) for pair in noisy.pairs] == [texts(pair) for pair in large.pairs]
    assert (noisy.n_flipped, noisier.n_flipped) == (12, 20)
    assert set(noisy.flipped) < set(noisier.flipped)
    assert [i for i, pair in enumerate(noisy.pairs) if "bad" in pair.chosen] == list(noisy.flipped)


def test_the_clean_pairs_lie_row_by_row_beside_the_noisy_ones(pool: PairPool) -> None:
    data = prepare_preferences(pool, Draw(n=40, seed=3, held_out=5, rate=0.3))
    assert data.clean == prepare_preferences(pool, Draw(n=40, seed=3, held_out=5)).pairs
    assert data.n_flipped == 12
    for row, (clean, noisy) in enumerate(zip(data.clean, data.pairs, strict=True)):
        assert noisy == (clean.flipped() if row in data.flipped else clean)


def test_hashes_tell_other_subsamples_and_other_flips(pool: PairPool) -> None:
    cells = [prepare_preferences(pool, Draw(n=30, seed=seed, rate=rate)) for seed in (0, 1) for rate in (0.0, 0.2, 0.4)]
    assert len({cell.clean_sha256 for cell in cells}) == 2
    assert len({(cell.clean_sha256, cell.flips_sha256) for cell in cells}) == 6
    assert prepare_preferences(pool, Draw(n=30, seed=1, rate=0.2)) == cells[4]


def test_no_margin_tells_a_method_which_labels_are_wrong(pool: PairPool) -> None:
    data = prepare_preferences(pool, Draw(rate=0.5))
    assert {pair.margin for pair in (*data.pairs, *data.clean)} == {None}


@pytest.mark.parametrize(("held_out", "count"), [(7, 7), (0.1, 6), (0, 0), (0.0, 0)])
def test_held_out_pairs_are_clean_and_the_same_for_every_cell(pool: PairPool, held_out: float, count: int) -> None:
    cells = [
        prepare_preferences(pool, Draw(n=n, seed=seed, rate=rate, held_out=held_out))
        for n in (1, 20, None)
        for seed in (0, 1)
        for rate in (0.0, 1.0)
    ]
    assert len(cells[0].held_out) == count
    assert set(cells[0].held_out) <= set(pool.pairs)
    for cell in cells:
        assert cell.held_out == cells[0].held_out
        assert not {pair.prompt for pair in cell.held_out} & {pair.prompt for pair in cell.pairs}
    assert len(cells[-1].pairs) == 60 - count


def test_a_prompt_is_held_out_with_all_its_pairs_or_not_at_all() -> None:
    pool = make_pool("file:x", [PreferencePair(f"p{i // 4}", f" good {i}", f" bad {i}") for i in range(40)])
    data = prepare_preferences(pool, Draw(held_out=6))
    assert len(data.held_out) == 8
    assert not {pair.prompt for pair in data.held_out} & {pair.prompt for pair in data.pairs}


def test_pairs_without_a_prompt_are_held_out_one_by_one() -> None:
    pool = make_pool("file:x", [PreferencePair("", f"good {i}", f"bad {i}") for i in range(10)])
    assert len(prepare_preferences(pool, Draw(held_out=3)).held_out) == 3


def test_more_pairs_than_exist_are_refused_with_the_numbers(pool: PairPool) -> None:
    with pytest.raises(UsageError, match=r"asked for 61 pairs, but file:pairs\.jsonl has 60; ask for at most 60"):
        prepare_preferences(pool, Draw(n=61))
    with pytest.raises(UsageError, match=r"has 60, of which 10 are held out \(pairs.held_out\) and 50 are left"):
        prepare_preferences(pool, Draw(n=51, held_out=10))


@pytest.mark.parametrize(("held_out", "left"), [(60, 0), (59, 1), (0.99, 1), (1, 59), (0.02, 59), (0.001, 60)], ids=str)
def test_fewer_than_two_pairs_on_either_side_of_the_split_are_refused(
    pool: PairPool, held_out: float, left: int
) -> None:
    message = rf"60 pairs, of which pairs.held_out={held_out} leaves {left} to train on and {60 - left} held out; at"
    with pytest.raises(UsageError, match=message):
        prepare_preferences(pool, Draw(held_out=held_out))


def test_a_single_prompt_that_would_be_held_out_whole_is_refused() -> None:
    pool = make_pool("file:x", [PreferencePair("p", f" good {i}", f" bad {i}") for i in range(9)])
    with pytest.raises(UsageError, match="leaves 0 to train on and 9 held out, as a prompt is held out with all its"):
        prepare_preferences(pool, Draw(held_out="auto"))
    assert len(prepare_preferences(pool, Draw(held_out=0)).pairs) == 9


@pytest.mark.parametrize(
    ("total", "held_out"), [(4, 2), (10, 2), (20, 4), (60, 12), (307, 61), (1000, 200), (160_000, 200)]
)
def test_what_is_held_out_by_default_leaves_small_files_most_of_their_pairs(total: int, held_out: int) -> None:
    assert PairsSpec().held_out == "auto"
    assert count_held_out("auto", total) == held_out


def test_how_pairs_are_split_is_said_with_the_setting_that_decides_it(pool: PairPool) -> None:
    line = describe_split(pool, 32)
    assert line == "file:pairs.jsonl: 60 pairs: 28 to train on, 32 held out (pairs.held_out)"
    assert describe_split(pool, 0.1, (10, None)).endswith(
        "60 pairs: 54 to train on, 6 held out (pairs.held_out); cells take 10, all of those to train on (pairs.sizes)"
    )


@pytest.mark.parametrize("held_out", [-1, -0.5, 1.0, 2.5])
def test_an_impossible_held_out_share_is_refused(pool: PairPool, held_out: float) -> None:
    with pytest.raises(UsageError, match=f"held_out is {held_out}"):
        prepare_preferences(pool, Draw(held_out=held_out))


def test_composing_the_data_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, bench.tasks.preferences.draw, bench.tasks.preferences.on_policy; "
        "sys.exit(bool({'torch', 'lightning', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_data_module_serves_what_was_composed(pool: PairPool) -> None:
    draw = Draw(n=10, rate=0.3, seed=2, held_out=4)
    module = PreferenceDataModule(pool, draw, batch_size=4)
    assert not hasattr(module, "data")  # nothing is drawn before Lightning says so
    module.setup("fit")
    data = prepare_preferences(pool, draw)
    assert (module.data, module.pairs, module.clean, module.held_out) == (data, data.pairs, data.clean, data.held_out)
    batches = list(module.train_dataloader())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    served = [pair for batch in batches for pair in batch]
    assert set(served) == set(module.pairs)
    assert tuple(served) != module.pairs
    again = [pair for batch in module.train_dataloader() for pair in batch]
    assert again == served  # the order is the seed's
    assert [pair for batch in module.val_dataloader() for pair in batch] == list(module.held_out)


def test_a_data_module_without_held_out_pairs_validates_on_nothing(pool: PairPool) -> None:
    module = PreferenceDataModule(pool, Draw(n=3))
    module.setup()
    assert list(module.val_dataloader()) == []


def test_a_pool_taken_as_it_stands_keeps_its_order_and_knows_of_no_noise(pool: PairPool) -> None:
    data = prepare_preferences(pool, Draw(n=3, rate=0.5, seed=7, held_out=5, as_it_stands=True))
    assert (data.pairs, data.clean, data.held_out, data.flipped) == (pool.pairs, (), (), ())
    assert (data.clean_sha256, data.noise_model, data.rate, data.seed) == (pool.sha256, "none", 0.0, 7)


def test_one_hash_tells_what_a_method_may_see(pool: PairPool) -> None:
    draw = Draw(n=20, rate=0.3, held_out=4)
    others = [replace(draw, seed=1), replace(draw, rate=0.4), replace(draw, held_out=5), replace(draw, oracle=True)]
    assert len({prepare_preferences(pool, one).sha256 for one in [draw, *others]}) == 5
    data = prepare_preferences(pool, draw)
    assert data.sha256 != replace(data, clean=data.pairs).sha256


def test_text_noise_is_told_from_flips_of_the_same_pairs(pool: PairPool) -> None:
    cells = [prepare_preferences(pool, Draw(noise_model=model, rate=0.5)) for model in ("flip", "replace", "duplicate")]
    assert len({cell.noisy_sha256 for cell in cells}) == 3
    assert [cell.n_distinct for cell in cells] == [60, 60, 30]
    assert cells[0].noisy_sha256 == sha256_pairs(cells[0].pairs) != cells[0].clean_sha256


def test_what_an_oracle_sees_is_clean(pool: PairPool) -> None:
    data = prepare_preferences(pool, Draw(rate=0.3, n=40))
    told = prepare_preferences(pool, Draw(rate=0.3, n=40, oracle=True))
    assert told.pairs == told.clean == tuple(pair for i, pair in enumerate(data.pairs) if i not in data.flipped)
    assert len(told.pairs) == 28
    assert (told.clean_sha256, told.flipped, told.held_out) == (data.clean_sha256, data.flipped, data.held_out)


@pytest.mark.parametrize("seed", [0, 1, -7, 2**70])
def test_a_smaller_subsample_is_a_prefix_of_a_larger_one(seed: int) -> None:
    everything = subsample(100, None, seed)
    assert sorted(everything) == list(range(100))
    for n in (1, 50, 99, 100):
        assert subsample(100, n, seed) == everything[:n]


def test_the_permutation_is_the_same_on_every_machine() -> None:
    assert subsample(10, None, 0) == (3, 4, 9, 5, 2, 1, 7, 8, 0, 6)


def test_a_longer_range_keeps_the_order_of_a_shorter_one() -> None:
    longer = subsample(120, None, 3)
    assert tuple(index for index in longer if index < 100) == subsample(100, None, 3)


def test_seeds_give_unrelated_subsamples() -> None:
    shared = len(set(subsample(1000, 100, 0)) & set(subsample(1000, 100, 1)))
    assert 0 < shared < 30  # 10 expected by chance


def test_every_index_is_as_likely_as_another() -> None:
    counts = [0] * 20
    for seed in range(2000):
        for index in subsample(20, 5, seed):
            counts[index] += 1
    assert min(counts) > 400 and max(counts) < 600  # 500 expected, standard deviation 19


def test_more_than_there_are_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"asked for 11 pairs, but there are only 10"):
        subsample(10, 11, 0)


@pytest.mark.parametrize("n", [0, -1])
def test_no_pairs_at_all_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match=f"asked for {n} pairs"):
        subsample(10, n, 0)


def test_disjoint_seeds_share_no_pair_and_say_when_there_are_too_few(pool: PairPool) -> None:
    n = len(pool.pairs) // 3
    drawn = [prepare_preferences(pool, Draw(n=n, seed=seed, disjoint=True)) for seed in range(3)]
    texts = [{(pair.prompt, pair.chosen, pair.rejected) for pair in data.pairs} for data in drawn]
    assert all(len(of_seed) == n for of_seed in texts)
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    shared = [{pair.prompt for pair in prepare_preferences(pool, Draw(n=n, seed=seed)).pairs} for seed in range(3)]
    assert shared[0] & shared[1]  # which seeds of one pool have without it
    with pytest.raises(UsageError, match="pairs for seed 3"):
        prepare_preferences(pool, Draw(n=n, seed=3, disjoint=True))
    with pytest.raises(UsageError, match=r"needs pairs\.sizes"):
        prepare_preferences(pool, Draw(seed=0, disjoint=True))
