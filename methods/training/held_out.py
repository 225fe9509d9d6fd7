"""What training does to clean pairs that it does not see: looked at for the report, timed apart from the cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bench.core.errors import UsageError
from bench.core.reports import HeldOutReport
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import Completion, PairTokens, all_completions
from bench.methods.pairs.likelihoods import Precision, completion_logps, shared_completion_logps, shared_logps
from bench.methods.shared import OffTheBill
from bench.methods.training.data import method_tokens
from bench.methods.training.rows import mean
from bench.methods.training.selection import evaluating, own_loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from bench.methods.training.settings import Row, TrainingSettings

LOOKS, STEPS_BETWEEN = 5, 8
"""Points of the held-out curve after the first, evenly spread over a run; fewer where a run is so short that looking
would take a good part of it."""
MOST_PAIRS = 16
"""Looked at: enough for a curve. The task `preference` measures all of them, after the method."""
CURVE = ("step", "loss", "margin", "accuracy", "reward_accuracy", "chosen_logp", "rejected_logp")
"""The method's own loss; log-probabilities summed over a completion's tokens, in nats, and their difference; shares of
pairs whose difference is positive, and whose difference has grown: none has before training."""


class HeldOut(TrainerCallback):
    """The held-out pairs of one alignment, if there are any; `look` comes before training, `attach` when there is a
    trainer, which this then looks on at, and `compare` after training."""

    def __init__(
        self, method: TrainingSettings, model: PreTrainedModel, context: AlignmentContext, precision: Precision
    ) -> None:
        self._bill = OffTheBill(context.shared)
        self._method, self._model, self._context, self._precision = method, model, context, precision
        self._pairs: Sequence[PairTokens] = ()
        self._before: Mapping[Completion, float] = {}
        self._trainer: Trainer | None = None
        self._rows: Sequence[Row] = ()
        self._curve: dict[str, list[float]] = {name: [] for name in CURVE}

    @property
    def seconds(self) -> float:
        """Spent here so far. Work found ready is not charged to the method's cost either."""
        return self._bill.seconds

    def look(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the log-probabilities under the weights as they came.

        Raises:
            UsageError: a pair cannot be tokenised as the method asks.
        """
        if not self._context.held_out:
            return
        with self._bill:
            try:
                self._pairs = method_tokens(self._method, self._context.held_out[:MOST_PAIRS], tokenizer, self._context)
            except UsageError as error:
                raise UsageError(f"held-out {error}") from error
            self._before = shared_logps(self._model, self._pairs, self._precision, self._context)
            self._add(0, self._before)

    def attach(self, trainer: Trainer) -> None:
        """Measure the method's own loss on the pairs with `trainer`, whose model is not trained yet."""
        if not self._pairs:
            return
        with self._bill:
            self._trainer = trainer
            if not self._curve["loss"]:
                self._curve["loss"].append(self._loss())

    def make_rows(self, method: TrainingSettings, label: str) -> None:
        """Make the rows that `method` trains on, of the pairs, while the model has the reference's weights; `label`
        names those."""
        if not self._pairs:
            return

        def score(completions: Sequence[Completion]) -> Mapping[Completion, float]:
            return shared_completion_logps(self._model, completions, self._precision, self._context, label)

        with self._bill:
            self._rows = method.rows(self._pairs, score, self._context.seed)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._pairs and state.global_step in look_steps(state.max_steps):
            with self._bill, evaluating(self._model):
                read: dict[Completion, float] = {}
                self._curve["loss"].append(self._loss(read))
                self._add(state.global_step, self._logps(read))

    def restart(self) -> None:
        """Forget what was seen in an attempt at training that is given up."""
        self._curve = {name: values[: name != "loss"] for name, values in self._curve.items()}

    def remembered(self, folder: Path) -> dict[str, Any]:
        return {"curve": self._curve}

    def remember(self, state: Mapping[str, Any], folder: Path) -> None:
        self._curve = state["curve"]

    def handed_over(self) -> dict[str, Any]:
        """What another process needs to look at the pairs, as plain JSON."""
        pairs = [[pair.chosen.prompt, pair.chosen.answer, pair.rejected.answer] for pair in self._pairs]
        before = [self._before[completion] for completion in all_completions(self._pairs)]
        return {"pairs": pairs, "before": before, "rows": list(self._rows), "curve": self._curve}

    def take_over(self, state: Mapping[str, Any], trainer: Trainer) -> None:
        """Look at the pairs for the process that handed them over, with a trainer of its own."""
        self._pairs = [
            PairTokens(Completion(prompt, chosen), Completion(prompt, rejected), truncated=False, merged=False)
            for prompt, chosen, rejected in (map(tuple, ids) for ids in state["pairs"])
        ]
        self._before = dict(zip(all_completions(self._pairs), state["before"], strict=True))
        self._rows, self._curve, self._trainer = state["rows"], state["curve"], trainer

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Know what another process saw, and leave its time out of the bill as well."""
        self._curve = state["curve"]
        self._bill.seconds += state["seconds"]

    def compare(self) -> HeldOutReport | None:
        """Log-probability margins in nats before and after, and implicit rewards; None without held-out pairs."""
        if not self._pairs:
            return None
        with self._bill:
            old, new = self._differences(self._before), self._differences(self._logps())
            gains = [late - early for early, late in zip(old, new, strict=True)]
            scale = self._method.recipe().reward_scale
            return HeldOutReport(
                pairs=len(self._pairs),
                margin_before=mean(old),
                margin_after=mean(new),
                accuracy_before=mean([margin > 0 for margin in old]),
                accuracy_after=mean([margin > 0 for margin in new]),
                reward_margin=None if scale is None else scale * mean(gains),
                reward_accuracy=mean([gain > 0 for gain in gains]),
                curve=self._curve,
            )

    def _loss(self, read: dict[Completion, float] | None = None) -> float:
        """The method's own loss; into `read` come the log-probabilities that TRL takes for it and shows."""
        assert self._trainer is not None
        model = cast("torch.nn.Module", self._trainer.model)

        def note(module: torch.nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any], output: Any) -> None:
            if read is not None and "labels" in inputs and getattr(output, "log_probs", None) is not None:
                read.update(_shown(inputs, output.log_probs))

        hook = model.register_forward_hook(note, with_kwargs=True)
        try:
            with evaluating(model):
                return own_loss(self._trainer, self._rows)
        finally:
            hook.remove()

    def _logps(self, read: Mapping[Completion, float] | None = None) -> Mapping[Completion, float]:
        """Of the pairs' completions under the weights as they are, of which some may be known."""
        known = read or {}
        completions = all_completions(self._pairs)
        missing = [completion for completion in completions if completion not in known]
        logps = completion_logps(self._model, missing, self._precision, lambda units: None)
        found = {**known, **dict(zip(missing, logps, strict=True))}
        return {completion: found[completion] for completion in completions}

    def _add(self, step: int, logps: Mapping[Completion, float]) -> None:
        early, margins = self._differences(self._before), self._differences(logps)
        self._curve["step"].append(step)
        self._curve["margin"].append(mean(margins))
        self._curve["accuracy"].append(mean([margin > 0 for margin in margins]))
        self._curve["reward_accuracy"].append(mean([now > then for then, now in zip(early, margins, strict=True)]))
        self._curve["chosen_logp"].append(mean([logps[pair.chosen] for pair in self._pairs]))
        self._curve["rejected_logp"].append(mean([logps[pair.rejected] for pair in self._pairs]))

    def _differences(self, logps: Mapping[Completion, float]) -> list[float]:
        """Of each pair, how much more likely its chosen completion is, in nats."""
        return [logps[pair.chosen] - logps[pair.rejected] for pair in self._pairs]


def look_steps(steps: int) -> set[int]:
    """After which of so many steps the pairs are looked at."""
    looks = max(1, min(LOOKS, steps // STEPS_BETWEEN))
    return {math.ceil(steps * look / looks) for look in range(1, looks + 1)}


def _shown(inputs: Mapping[str, torch.Tensor], log_probs: torch.Tensor) -> Mapping[Completion, float]:
    """Log-probabilities of completions in one batch of TRL's.

    Arguments:
        inputs: `input_ids`, `attention_mask` and `labels`, (rows, width); labels are -100 where nothing is scored.
        log_probs: of each label, (rows, at most width), 0 where nothing is scored.
    """
    logps: dict[Completion, float] = {}
    sums = log_probs.float().sum(dim=1).tolist()
    columns = (inputs["input_ids"], inputs["attention_mask"].bool(), inputs["labels"] != -100)
    for ids, present, scored, total in zip(*columns, sums, strict=True):
        logps[Completion(tuple(ids[present & ~scored].tolist()), tuple(ids[scored].tolist()))] = total
    return logps
