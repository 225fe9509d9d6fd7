"""What trying merge and save beforehand costs, as a ratio to the training of one quickstart cell in the same run."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from bench.core.progress import Silent
from bench.edit.rehearsal import rehearse_saving
from bench.methods.objectives.rehearsal import rehearse_adapter
from bench.models.placed import place_model
from benchmarks.dpo_training import METHOD, N_PAIRS, Steps, one_thread, run_ours
from benchmarks.profs_edit import MODEL, ROUNDS, cost, make_pairs

CELL_PAIRS = 164
"""That the quickstart trains on."""


def measure() -> dict[str, float]:
    """Ratios between the best of a few rounds of both rehearsals, and the steps of a training at the pace of the best.

    The training is without its reference pass, and the cell without its evaluation, so that the true ratios are lower.

    Returns:
        `rehearsal_over_training`: what `bench edit` tries, adapters and saving, against the steps of one training;
        `adapter_rehearsal_over_training`: what `bench run` tries, adapters alone;
        both also with `_processor`: in processor time, which other work hardly disturbs.
    """
    placed = place_model(MODEL, device="cpu", dtype="float32")
    placed.source.fetch(Silent())
    config = placed.source.config()
    model, tokenizer = placed.load(Silent())
    pairs = make_pairs(tokenizer, N_PAIRS)
    METHOD.warm_up()
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        run_ours(model, tokenizer, pairs[:4])  # things done once in a process
        rehearse_adapter(METHOD, config)
        steps = Steps()
        run_ours(model, tokenizer, pairs, steps)
        adapters = [cost(partial(rehearse_adapter, METHOD, config)) for _ in range(ROUNDS)]
        saves = [cost(partial(rehearse_saving, placed, Path(folder, "edited"), ())) for _ in range(ROUNDS)]
    n_steps = METHOD.steps(CELL_PAIRS)
    ratios = {}
    for suffix, name in (("", "seconds"), ("_processor", "processor_seconds")):
        adapter, save = (min(getattr(one, name) for one in rounds) for rounds in (adapters, saves))
        training = n_steps * min(getattr(step, name) for step in steps.costs())
        ratios[f"rehearsal_over_training{suffix}"] = (adapter + save) / training
        ratios[f"adapter_rehearsal_over_training{suffix}"] = adapter / training
    return ratios
