from __future__ import annotations

import subprocess
import sys

import pytest

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.tasks.preferences.data_module import PreferenceDataModule
from bench.tasks.preferences.draw import prepare_preferences
from bench.tasks.preferences.pool import PairPool, make_pool, sha256_pairs


@pytest.fixture(scope="module")
def pool() -> PairPool:
    return make_pool("file:pairs.jsonl", [PreferencePair(f"p{i}", f" good {i}", f" bad {i}", 0.5) for i in range(60)])


def texts(pair: PreferencePair) -> frozenset[str]:
    return frozenset((pair.prompt, pair.chosen, pair.rejected))


def test_everything_is_used_where_nothing_is_asked_for(pool: PairPool) -> None:
    data = prepare_preferences(pool)
    assert {pair.prompt for pair in data.pairs} == {pair.prompt for pair in pool.pairs}
    assert (data.n_flipped, data.held_out, data.source, data.pool_sha256) == (0, (), pool.source, pool.sha256)
    assert data.clean_sha256 == sha256_pairs(data.pairs)


def test_sizes_are_nested_and_rates_share_their_clean_pairs(pool: PairPool) -> None:
    small, large = (prepare_preferences(pool, n=n, seed=3, held_out=5) for n in (20, 40))
    assert large.pairs[:20] == small.pairs
    noisy = prepare_preferences(pool, n=40, seed=3, held_out=5, rate=0.3)
    noisier = prepare_preferences(pool, n=40, seed=3, held_out=5, rate=0.5)
    assert noisy.clean_sha256 == large.clean_sha256 != small.clean_sha256
    assert [texts(pair) for pair in noisy.pairs] == [texts(pair) for pair in large.pairs]
    assert (noisy.n_flipped, noisier.n_flipped) == (12, 20)
    assert set(noisy.flipped) < set(noisier.flipped)
    assert [i for i, pair in enumerate(noisy.pairs) if "bad" in pair.chosen] == list(noisy.flipped)


def test_the_clean_pairs_lie_row_by_row_beside_the_noisy_ones(pool: PairPool) -> None:
    data = prepare_preferences(pool, n=40, seed=3, held_out=5, rate=0.3)
    assert data.clean == prepare_preferences(pool, n=40, seed=3, held_out=5).pairs
    assert data.n_flipped == 12
    for row, (clean, noisy) in enumerate(zip(data.clean, data.pairs, strict=True)):
        assert noisy == (clean.flipped() if row in data.flipped else clean)


def test_hashes_tell_other_subsamples_and_other_flips(pool: PairPool) -> None:
    cells = [prepare_preferences(pool, n=30, seed=seed, rate=rate) for seed in (0, 1) for rate in (0.0, 0.2, 0.4)]
    assert len({cell.clean_sha256 for cell in cells}) == 2
    assert len({(cell.clean_sha256, cell.flips_sha256) for cell in cells}) == 6
    assert prepare_preferences(pool, n=30, seed=1, rate=0.2) == cells[4]


def test_no_margin_tells_a_method_which_labels_are_wrong(pool: PairPool) -> None:
    data = prepare_preferences(pool, rate=0.5)
    assert {pair.margin for pair in (*data.pairs, *data.clean)} == {None}


@pytest.mark.parametrize(("held_out", "count"), [(7, 7), (0.1, 6), (0, 0), (0.0, 0)])
def test_held_out_pairs_are_clean_and_the_same_for_every_cell(pool: PairPool, held_out: float, count: int) -> None:
    cells = [
        prepare_preferences(pool, n=n, seed=seed, rate=rate, held_out=held_out)
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
    data = prepare_preferences(pool, held_out=6)
    assert len(data.held_out) == 8
    assert not {pair.prompt for pair in data.held_out} & {pair.prompt for pair in data.pairs}


def test_pairs_without_a_prompt_are_held_out_one_by_one() -> None:
    pool = make_pool("file:x", [PreferencePair("", f"good {i}", f"bad {i}") for i in range(10)])
    assert len(prepare_preferences(pool, held_out=3).held_out) == 3


def test_more_pairs_than_exist_are_refused_with_the_numbers(pool: PairPool) -> None:
    with pytest.raises(UsageError, match=r"asked for 61 pairs, but file:pairs\.jsonl has 60; ask for at most 60"):
        prepare_preferences(pool, n=61)
    with pytest.raises(UsageError, match="has 60, of which 10 are held out for diagnostics and 50 are left"):
        prepare_preferences(pool, n=51, held_out=10)
    with pytest.raises(UsageError, match="60 are held out for diagnostics and 0 are left to train on; hold out fewer"):
        prepare_preferences(pool, held_out=60)


@pytest.mark.parametrize("held_out", [-1, -0.5, 1.0, 2.5])
def test_an_impossible_held_out_share_is_refused(pool: PairPool, held_out: float) -> None:
    with pytest.raises(UsageError, match=f"held_out is {held_out}"):
        prepare_preferences(pool, held_out=held_out)


def test_composing_the_data_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, bench.tasks.preferences.draw, bench.tasks.preferences.on_policy; "
        "sys.exit(bool({'torch', 'lightning', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_data_module_serves_what_was_composed(pool: PairPool) -> None:
    module = PreferenceDataModule(pool, n=10, rate=0.3, seed=2, held_out=4, batch_size=4)
    assert module.data == prepare_preferences(pool, n=10, rate=0.3, seed=2, held_out=4)
    batches = list(module.train_dataloader())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    served = [pair for batch in batches for pair in batch]
    assert set(served) == set(module.data.pairs) and tuple(served) != module.data.pairs
    again = [pair for batch in module.train_dataloader() for pair in batch]
    assert again == served  # the order is the seed's
    assert [pair for batch in module.val_dataloader() for pair in batch] == list(module.data.held_out)


def test_a_data_module_without_held_out_pairs_validates_on_nothing(pool: PairPool) -> None:
    assert list(PreferenceDataModule(pool, n=3).val_dataloader()) == []


def test_text_noise_is_told_from_flips_of_the_same_pairs(pool: PairPool) -> None:
    cells = [prepare_preferences(pool, noise_model=model, rate=0.5) for model in ("flip", "replace", "duplicate")]
    assert len({cell.noisy_sha256 for cell in cells}) == 3
    assert [cell.n_distinct for cell in cells] == [60, 60, 30]
    assert cells[0].noisy_sha256 == sha256_pairs(cells[0].pairs) != cells[0].clean_sha256


def test_what_an_oracle_sees_is_clean(pool: PairPool) -> None:
    data = prepare_preferences(pool, rate=0.3, n=40)
    assert len(data.uncorrupted) == 28 and set(data.uncorrupted) <= set(data.clean)
