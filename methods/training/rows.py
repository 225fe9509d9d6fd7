"""What TRL's trainers are given and what they log: rows of token ids that are tokenised once, and curves."""

import math
import random
from collections.abc import Mapping, Sequence

from bench.methods.pairs.completions import Completion, PairTokens, all_completions
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
PAIR_CURVES: Mapping[str, str] = {**BASIC_CURVES, **REWARD_CURVES, "reward_accuracy": "rewards/accuracies"}
"""What trainers that compare the completions of a pair log."""
SUM_CURVES: Mapping[str, str] = {"chosen_logp": "logps/chosen", "rejected_logp": "logps/rejected"}
"""Log-probabilities summed over a completion's tokens, in nats."""
MEAN_CURVES: Mapping[str, str] = {"chosen_logp_per_token": "logps/chosen", "rejected_logp_per_token": "logps/rejected"}
"""The same keys where the trainer logs means over a completion's tokens."""


def scored_rows(pairs: Sequence[PairTokens], score: Score) -> list[Row]:
    """Rows of DPOTrainer: ids, and the reference log-probability of both completions."""
    logps = score(all_completions(pairs))
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
            for name, completion in (("chosen", pair.chosen), ("rejected", pair.rejected))
            for key, value in (
                ("input_ids", list(completion.prompt + completion.answer)),
                ("attention_mask", [1] * len(completion)),
                ("labels", _labels(completion)),
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
    completions = [sorted([(pairs[index].chosen, True), (pairs[index].rejected, False)]) for index in order]
    pieces = []
    for start in range(0, len(order), batch_size):
        batch = completions[start : start + batch_size]
        last = batch[-1] if len(batch) > 1 else completions[start - 1]  # before the first one, around the corner
        pieces += [
            (*pair[half], other[half][0])
            for half in (0, 1)
            for pair, other in zip(batch, [last, *batch[:-1]], strict=True)
        ]
    rows = [
        (text, desirable, Completion(text.prompt, other.answer[: max_length - len(text.prompt)]))
        for text, desirable, other in pieces
    ]
    matched, mismatched = score([text for text, *_ in rows]), score([other for *_, other in rows])
    return [
        {
            "prompt_ids": list(text.prompt),
            "completion_ids": list(text.answer),
            "KL_completion_ids": list(other.answer),
            "label": desirable,
            "ref_logps": matched[text],
            "ref_KL_logps": mismatched[other],
        }
        for text, desirable, other in rows
    ]


def _labels(completion: Completion) -> list[int]:
    return [IGNORED] * len(completion.prompt) + list(completion.answer)


def late_mean(values: Sequence[float]) -> float:
    """Mean over the last quarter of a curve."""
    return mean(values[-math.ceil(len(values) / 4) :])


def mean(values: Sequence[float]) -> float:
    """Mean of at least one number."""
    return sum(values) / len(values)
