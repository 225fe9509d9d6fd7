"""Edits like ProFS's of which one thing is taken away: what does as well without it was not due to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from bench.core.errors import BenchError, UsageError
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import Passage, PassagePairs, Pooling, read_texts
from bench.methods.projection.profs import ProjectionEdit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bench.methods.projection.embeddings import Activations
    from bench.methods.projection.subspace import Subspace


class RandomDirections(ProjectionEdit):
    """Control: removes random directions, as many as ProFS and in the same layers. Reads no text."""

    display_name = "ProFS-random"

    control_of: ClassVar[str | None] = "profs"

    def rows(self, texts: PassagePairs, tokenizer: PreTrainedTokenizerBase, context: AlignmentContext) -> PassagePairs:
        return PassagePairs((), ())

    def control_directions(
        self, activations: Activations, rows: PassagePairs, layer: int, rank: int, seed: int
    ) -> Subspace:
        from bench.methods.projection.subspace import random_directions

        value = activations.anatomy.values[layer]
        return random_directions(value.weight.shape[1 if value.stream_last else 0], rank, seed, layer)


class RematchedPairs(ProjectionEdit):
    """Control: ProFS on the same texts, paired at random without regard to side. Reads no label.

    A difference between two of its texts has nothing to do with what they were labelled for, beyond what texts of this
    kind differ in anyway. The edit is the same whatever the noise.
    """

    display_name = "ProFS-rematched"

    control_of: ClassVar[str | None] = "profs"

    def rows(self, texts: PassagePairs, tokenizer: PreTrainedTokenizerBase, context: AlignmentContext) -> PassagePairs:
        passages = [passage for pair in unlabelled(texts, self.pooling) for passage in pair]
        random.Random(context.seed).shuffle(passages)
        n_pairs, n_used = len(texts.chosen), self.used(len(texts.chosen))
        return PassagePairs(tuple(passages[:n_used]), tuple(passages[n_pairs : n_pairs + n_used]))


class CleanPairs(ProjectionEdit):
    """Control: ProFS on pairs of unrelated neutral texts, each as long as the one it stands for. Reads no pair.

    Of the pairs nothing is used but how many tokens their texts have, and which of these `pooling` counts. The edit is
    the same whatever the noise.
    """

    display_name = "ProFS-clean"

    control_of: ClassVar[str | None] = "profs"
    needs_neutral: ClassVar[bool] = True

    def rows(self, texts: PassagePairs, tokenizer: PreTrainedTokenizerBase, context: AlignmentContext) -> PassagePairs:
        pairs = unlabelled(texts, self.pooling)[: self.used(len(texts.chosen))]
        passages = stand_ins(
            [passage for pair in pairs for passage in pair], context.neutral, tokenizer, self.max_length
        )
        return PassagePairs(tuple(passages[0::2]), tuple(passages[1::2]))


class MeanDifference(ProjectionEdit):
    """Control: removes one direction a layer, from the chosen texts' mean to the rejected ones'. Reads the labels.

    The difference in means that Arditi et al. (2024, arXiv 2406.11717) ablate for refusal, made orthogonal to the
    centre as ProFS's directions are. Noise shortens it until only chance is left, where it leaves ProFS's alone.
    """

    display_name = "mean difference"

    control_of: ClassVar[str | None] = "profs"

    rank: Literal[1] = 1
    """Two means differ in one direction."""

    @model_validator(mode="before")
    @classmethod
    def _one_direction(cls, data: Any) -> Any:
        """Presets know of ranks; this comes before them and stands."""
        return {"rank": 1, **data} if isinstance(data, dict) else data

    def control_directions(
        self, activations: Activations, rows: PassagePairs, layer: int, rank: int, seed: int
    ) -> Subspace:
        from bench.methods.projection.subspace import mean_difference

        return mean_difference(*activations.matrices(rows, layer), self.center)


def unlabelled(texts: PassagePairs, pooling: Pooling) -> list[tuple[Passage, Passage]]:
    """The two texts of every pair in an order that their tokens alone fix, so that flipping a label changes nothing.

    Where padding counts, it counts up to the longest text of all: there are no sides for it to differ between.
    """
    passages = texts.chosen + texts.rejected
    if pooling == "all-positions":
        longest = max(passage.stop for passage in passages)
        passages = tuple(passage._replace(stop=longest) for passage in passages)
    half = len(texts.chosen)
    return [(min(pair), max(pair)) for pair in zip(passages[:half], passages[half:], strict=True)]


def stand_ins(
    passages: Sequence[Passage], neutral: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Passage]:
    """A neutral text for each passage, no text twice, cut to as many tokens; the same positions of it count.

    Arguments:
        passages: what is stood for.
        neutral: prose; of the texts that are long enough, earlier ones are taken first.
        max_length: tokens of a text that are read.

    Raises:
        UsageError: there are fewer neutral texts than passages.
        BenchError: too few of them are long enough.
    """
    neutral = list(dict.fromkeys(neutral))
    if len(neutral) < len(passages):
        raise UsageError(
            f"{len(passages)} neutral texts are needed, two for each pair, and there are {len(neutral)}; name a source "
            "with more of them, with --set pairs.neutral=SOURCE"
        )
    chosen = _long_enough(passages, [len(ids) for ids in read_texts(tokenizer, neutral, max_length)])
    cut: dict[int, tuple[int, ...]] = {}
    for length in {len(passage.ids) for passage in passages}:
        rows = [row for row, passage in enumerate(passages) if len(passage.ids) == length]
        # Tokenised anew rather than cut, so that an end token which the tokenizer adds of itself stays at the end.
        cut |= zip(rows, read_texts(tokenizer, [neutral[chosen[row]] for row in rows], length), strict=True)
    return [passage._replace(ids=cut[row]) for row, passage in enumerate(passages)]


def _long_enough(passages: Sequence[Passage], lengths: Sequence[int]) -> dict[int, int]:
    """By row of `passages`, the position in `lengths` of a text that has at least its tokens; none is used twice.

    Longest passages choose first: what is long enough for them is long enough for all others, so that this fails only
    where every other choice would.
    """
    free = dict(enumerate(lengths))
    positions: dict[int, int] = {}
    for row in sorted(range(len(passages)), key=lambda row: len(passages[row].ids), reverse=True):
        needed = len(passages[row].ids)
        position = next((position for position, length in free.items() if length >= needed), None)
        if position is None:
            available = sum(length >= needed for length in lengths)
            wanted = sum(len(passage.ids) >= needed for passage in passages)
            raise BenchError(
                f"{wanted} neutral texts of at least {needed} tokens are needed to be as long as the pairs' texts, and "
                f"{available} of the {len(lengths)} given have as many; lower max_length, or name a source of longer "
                "texts with --set pairs.neutral=SOURCE"
            )
        positions[row] = position
        del free[position]
    return positions
