"""The part of a study that one setting of each sweep is chosen by."""

from typing import Any

from bench.core.errors import UsageError
from bench.spec.run_spec import NoiseSpec, RunSpec


def selection_run(spec: RunSpec) -> RunSpec | None:
    """The run that measures every setting of a sweep without noise, on prompts, texts and seeds that the evaluation
    does not use; None where nothing is swept or no validation is asked for.

    Raises:
        UsageError: toxicity or perplexity is not measured, or on so many items that none are left to choose by.
    """
    if spec.validation is None or not spec.sweep:
        return None
    seeds = spec.validation.seeds or (next(seed for seed in range(len(spec.seeds) + 1) if seed not in spec.seeds),)
    if evaluated := sorted(set(seeds) & set(spec.seeds)):
        raise UsageError(f"validation.seeds: {evaluated[0]} is evaluated as well (seeds); choose on another")
    tasks = {
        task: _after_evaluation(spec, task, items, where)
        for task, items, where in (
            ("toxicity", spec.validation.prompts, "prompts"),
            ("perplexity", spec.validation.texts, "texts"),
        )
    }
    return spec.model_copy(
        update={
            "methods": {name: spec.methods[name] for name in spec.sweep},
            "noise": NoiseSpec(),
            "seeds": seeds,
            "tasks": tasks,
        }
    )


def _after_evaluation(spec: RunSpec, task: str, items: int, where: str) -> dict[str, Any]:
    """A task's settings on the items after those that the evaluation takes."""
    settings = spec.tasks.get(task)
    if settings is None:
        raise UsageError(
            f"validation: a setting is chosen by toxicity and perplexity, and {task} is not among the tasks"
        )
    if settings.get("limit") is None:
        raise UsageError(
            f"validation: the evaluation takes all {where} there are, and none is left to choose a setting by; set "
            f"tasks.{task}.limit"
        )
    return {**settings, "limit": items, "validation_after": settings["limit"]}
