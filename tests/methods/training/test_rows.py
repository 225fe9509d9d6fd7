"""Rows hold the tokens that they were given, once, and a flip swaps what belongs to the sides and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import METHODS
from bench.methods.objectives.method import TuningMethod
from bench.methods.pairs.completions import Completion, PairTokens, tokenize_pairs
from bench.methods.training.settings import Row

Planted = Callable[..., list[PreferencePair]]
NAMES = ("dpo", "cdpo", "kto", "sft", "simpo", "orpo")
by_name = pytest.mark.parametrize("name", NAMES)


def score(sides: Sequence[Completion]) -> Mapping[Completion, float]:
    """A number of its own for every completion."""
    return {side: float(hash(side) % 1000) for side in sides}


def rows_of(name: str, pairs: Sequence[PairTokens], **settings: Any) -> list[Row]:
    method = METHODS[name](batch_size=4, **settings)
    assert isinstance(method, TuningMethod)
    return method.rows(pairs, score, 3)


def sides_in(name: str, row: Row) -> Iterator[tuple[str, Completion]]:
    """The completions that a row says are chosen and rejected."""
    if name == "kto":
        label = "chosen" if row["label"] else "rejected"
        yield label, Completion(tuple(row["prompt_ids"]), tuple(row["completion_ids"]))
    elif name in ("dpo", "cdpo"):
        for side in ("chosen", "rejected"):
            yield side, Completion(tuple(row["prompt_ids"]), tuple(row[f"{side}_ids"]))
    else:
        for side in ("chosen", "rejected") if name != "sft" else ("",):
            prefix = f"{side}_" if side else ""
            ids, labels = row[f"{prefix}input_ids"], row[f"{prefix}labels"]
            start = sum(label == -100 for label in labels)
            assert labels == [-100] * start + ids[start:]
            assert row.get(f"{prefix}attention_mask", [1] * len(ids)) == [1] * len(ids)
            yield side or "chosen", Completion(tuple(ids[:start]), tuple(ids[start:]))


@by_name
@pytest.mark.parametrize("append_eos", [False, True])
def test_rows_hold_every_completion_once_with_its_own_tokens(
    name: str, append_eos: bool, planted: Planted, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = tokenize_pairs(planted(9), tiny_tokenizer, max_length=64, append_eos=append_eos)
    found = sorted(item for row in rows_of(name, pairs) for item in sides_in(name, row))
    wanted = [("chosen", pair.chosen) for pair in pairs]
    if name != "sft":
        wanted += [("rejected", pair.rejected) for pair in pairs]
    assert found == sorted(wanted)
    end, start = tiny_tokenizer.eos_token_id, tiny_tokenizer.bos_token_id
    for _, side in found:
        assert (side.prompt + side.answer).count(end) == append_eos
        assert start not in side.prompt + side.answer
        assert not append_eos or side.answer[-1] == end


@by_name
def test_a_flipped_pair_is_a_swapped_pair(name: str, planted: Planted, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    straight = tokenize_pairs(planted(9), tiny_tokenizer, max_length=64, append_eos=False)
    flipped = tokenize_pairs([pair.flipped() for pair in planted(9)], tiny_tokenizer, max_length=64, append_eos=False)

    def swapped(row: Row) -> Row:
        if name == "kto":
            return {**row, "label": not row["label"]}
        turned = {"chosen": "rejected", "rejected": "chosen"}
        return {"_".join(turned.get(part, part) for part in key.split("_")): value for key, value in row.items()}

    if name == "sft":
        wanted = [{"input_ids": list(p.rejected.prompt + p.rejected.answer)} for p in straight]
        assert [{"input_ids": row["input_ids"]} for row in rows_of(name, flipped)] == wanted
    else:
        assert rows_of(name, flipped) == [swapped(row) for row in rows_of(name, straight)]


@pytest.mark.parametrize(("n_pairs", "batch_size"), [(8, 4), (9, 4), (3, 1), (2, 4)])
def test_kto_batches_hold_both_sides_and_mismatch_other_pairs_of_the_batch(
    n_pairs: int, batch_size: int, planted: Planted, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = tokenize_pairs(planted(n_pairs), tiny_tokenizer, max_length=24, append_eos=False)
    rows = METHODS["kto"](batch_size=batch_size, max_length=24)
    assert isinstance(rows, TuningMethod)
    made = rows.rows(pairs, score, 0)
    for start in range(0, 2 * n_pairs, 2 * batch_size):
        batch = made[start : start + 2 * batch_size]
        assert sum(row["label"] for row in batch) * 2 == len(batch)
        answers = {tuple(row["completion_ids"]) for row in batch}
        for row in batch:
            other = tuple(row["KL_completion_ids"])
            assert len(row["prompt_ids"]) + len(other) <= 24
            own = {
                side.answer
                for p in pairs
                for side in (p.chosen, p.rejected)
                if p.chosen.prompt == (*row["prompt_ids"],)
            }
            assert other not in own
            if len(batch) > 2:
                assert any(answer[: len(other)] == other for answer in answers)
            assert row["ref_KL_logps"] == score([Completion((*row["prompt_ids"],), other)]).popitem()[1]


def test_kto_draws_its_order_from_the_seed(planted: Planted, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = tokenize_pairs(planted(9), tiny_tokenizer, max_length=64, append_eos=False)
    method = METHODS["kto"]()
    assert isinstance(method, TuningMethod)
    assert method.rows(pairs, score, 0) == method.rows(pairs, score, 0) != method.rows(pairs, score, 1)


@pytest.mark.parametrize("name", ["sft", "simpo", "orpo"])
def test_methods_without_a_reference_ask_for_none(
    name: str, planted: Planted, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def refuse(sides: Sequence[Completion]) -> Mapping[Completion, float]:
        raise AssertionError("costs a pass over all completions")

    method = METHODS[name]()
    assert isinstance(method, TuningMethod)
    assert len(method.rows(tokenize_pairs(planted(3), tiny_tokenizer, max_length=64, append_eos=False), refuse, 0)) == 3
