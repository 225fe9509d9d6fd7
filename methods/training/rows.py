"""What TRL's trainers are given and what they log: rows of token ids that are tokenised once, and curves."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from bench.methods.pairs.completions import Completion, PairTokens, both_sides
from bench.methods.training.settings import Row, Score

IGNORED = -100
"""The label of tokens that are read and not learnt, in all of TRL and transformers."""
BASIC_CURVES: Mapping[str, str] = {
    "loss": "loss",
    "gradient_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "tokens": "num_tokens",
}
"""Our names of what every trainer logs: means since the last point, and all tokens seen so far."""
REWARD_CURVES: Mapping[str, str] = {
    "reward_margin": "rewards/margins",
    "chosen_reward": "rewards/chosen",
    "rejected_reward": "rewards/rejected",
}
ACCURACY_CURVE: Mapping[str, str] = {"reward_accuracy": "rewards/accuracies"}
SUM_CURVES: Mapping[str, str] = {"chosen_logp": "logps/chosen", "rejected_logp": "logps/rejected"}
"""Log-probabilities summed over a completion's tokens, in nats."""
MEAN_CURVES: Mapping[str, str] = {"chosen_logp_per_token": "logps/chosen", "rejected_logp_per_token": "logps/rejected"}
"""The same keys where the trainer logs means over a completion's tokens."""


def scored_rows(pairs: Sequence[PairTokens], score: Score) -> list[Row]:
    """Rows of DPOTrainer: ids, and the reference log-probability of both completions."""
    logps = score(both_sides(pairs))
    return [
        {
            "prompt_ids": list(pair.chosen.prompt),
            "chosen_ids": list(pair.chosen.answer),
            "rejected_ids": list(pair.rejected.answer),
            "ref_chosen_logps": logps[pair.chosen],
            "ref_rejected_logps": logps[pair.rejected],
        }
        for pair in pairs
    ]


def chosen_rows(pairs: Sequence[PairTokens]) -> list[Row]:
    """Rows of SFTTrainer: chosen completions in their contexts, of which the completions alone are learnt."""
    return [
        {"input_ids": list(pair.chosen.prompt + pair.chosen.answer), "labels": _labels(pair.chosen)} for pair in pairs
    ]


def labelled_rows(pairs: Sequence[PairTokens]) -> list[Row]:
    """Rows of CPOTrainer and ORPOTrainer: ids, masks and labels of both sides."""
    return [
        {
            f"{name}_{key}": value
            for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected))
            for key, value in (
                ("input_ids", list(side.prompt + side.answer)),
                ("attention_mask", [1] * len(side)),
                ("labels", _labels(side)),
            )
        }
        for pair in pairs
    ]


def unpaired_rows(
    pairs: Sequence[PairTokens], score: Score, *, batch_size: int, max_length: int, seed: int
) -> list[Row]:
    """Rows of KTOTrainer, two a pair, in the order that they are trained in.

    Each batch holds `batch_size` pairs, first one side of each and then the other. Which side comes first hangs on its
    tokens and not on its label, so that a flip changes two labels and nothing else, the texts that the divergence from
    the reference is estimated on included: they are each prompt with the completion of the pair before it in the batch,
    or, where a batch has but one pair, in the whole order.
    """
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    sides = [sorted([(pairs[index].chosen, True), (pairs[index].rejected, False)]) for index in order]
    pieces = []
    for start in range(0, len(order), batch_size):
        batch = sides[start : start + batch_size]
        before = [batch[-1] if len(batch) > 1 else sides[start - 1], *batch]  # the first one's is the last of its batch
        pieces += [(*pair[half], other[half][0]) for half in (0, 1) for pair, other in zip(batch, before, strict=False)]
    rows = [(side, desirable, _mismatched(side, other, max_length)) for side, desirable, other in pieces]
    matched, mismatched = score([side for side, *_ in rows]), score([other for *_, other in rows])
    return [
        {
            "prompt_ids": list(side.prompt),
            "completion_ids": list(side.answer),
            "KL_completion_ids": list(other.answer),
            "label": desirable,
            "ref_logps": matched[side],
            "ref_KL_logps": mismatched[other],
        }
        for side, desirable, other in rows
    ]


def _labels(side: Completion) -> list[int]:
    return [IGNORED] * len(side.prompt) + list(side.answer)


def _mismatched(side: Completion, other: Completion, max_length: int) -> Completion:
    return Completion(side.prompt, other.answer[: max_length - len(side.prompt)])


def late_mean(values: Sequence[float]) -> float:
    """Mean over the last quarter of a curve."""
    last = values[-math.ceil(len(values) / 4) :]
    return mean(last)


def mean(values: Sequence[float]) -> float:
    """Mean of at least one number."""
    return sum(values) / len(values)
