"""`make bench`: every speed and memory claim of the suite, measured on this machine in this run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.display.quiet import silence_libraries


class Claim(NamedTuple):
    """A ratio that is claimed, and the bound it is held to."""

    name: str
    what: str
    bound: float
    error: str = ""
    """Name of its standard error, where the two sides are the same work and only chance tells them apart."""

    def holds(self, ratios: Mapping[str, float]) -> bool:
        """Whether it is within its bound; its standard error is shown, and excuses nothing."""
        return ratios[self.name] <= self.bound

    def measured(self, ratios: Mapping[str, float]) -> str:
        """The ratio as text, with its standard error if it has one."""
        ratio = ratios[self.name]
        if self.error:
            return f"{ratio:.3f} ± {ratios[self.error]:.3f}"
        return f"{ratio:.3f}" if self.bound < SMALL else f"{ratio:.2f}"


SMALL = 0.1
"""Bounds below it are shown with a digit more."""
CLAIMS = (
    Claim("edit_seconds_over_forward", "ProFS edit / bare length-sorted forward pass: time", 1.15),
    Claim("edit_processor_seconds_over_forward", "  the same: processor time", 1.15),
    Claim("edit_peak_memory_over_forward", "  the same: peak memory", 1.3),
    Claim("sweep_seconds_over_edit", "72 edits (6 noise rates × 4 ranks × 3 sizes) / one edit: time", 1.5),
    Claim("sweep_processor_seconds_over_edit", "  the same: processor time", 1.5),
    Claim("train_seconds_over_bare", "DPO training step / bare TRL step on the same batch: time", 1.05),
    Claim("train_processor_seconds_over_bare", "  the same: processor time", 1.05),
    Claim("train_peak_memory_over_bare", "  the same: peak memory", 1.05),
    Claim("tuning_sweep_over_bare", "6 noise rates of DPO / 6 bare TRL trainings + 1 reference pass: time", 1.0),
    Claim("tuning_sweep_processor_over_bare", "  the same: processor time", 1.0),
    Claim("tuning_sweep_over_training", "  / 6 of ours alone + 1 reference pass: time", 1.0, "tuning_sweep_error"),
    Claim("tuning_sweep_processor_over_training", "  the same: processor time", 1.0, "tuning_sweep_processor_error"),
    Claim("rehearsal_over_training", "trying merge and save / the DPO training of a quickstart cell: time", 0.02),
    Claim("rehearsal_over_training_processor", "  the same: processor time", 0.02),
    Claim("adapter_rehearsal_over_training", "trying the merge alone / the same: time", 0.02),
    Claim("adapter_rehearsal_over_training_processor", "  the same: processor time", 0.02),
    Claim("evaluation_over_single", "toxicity evaluation / one prompt at a time: time", 0.2),
    Claim("evaluation_over_single_processor", "  the same: processor time", 0.2),
    Claim("evaluation_over_generate", "toxicity evaluation / bare length-sorted generate: time", 1.15),
    Claim("evaluation_over_generate_processor", "  the same: processor time", 1.15),
    Claim("scoring_bilstm_over_writing", "scoring with bilstm / writing what is scored: time", 0.05),
    Claim("scoring_linear_over_writing", "scoring with linear / writing what is scored: time", 0.05),
    Claim("scoring_words_over_writing", "scoring with words / writing what is scored: time", 0.05),
    Claim("sampled_over_greedy", "sampling at temperature 1 / bare greedy generate, same rows and lengths: time", 1.3),
    Claim("sampled_over_greedy_processor", "  the same: processor time", 1.3),
    Claim("nucleus_over_greedy", "sampling with top_p 0.9 / the same greedy generate: time", 1.3),
    Claim("nucleus_over_greedy_processor", "  the same: processor time", 1.3),
    Claim("six_samples_over_six_times", "6 samples of each prompt / sampling each prompt 6 times: time", 0.75),
    Claim("six_samples_over_six_times_processor", "  the same: processor time", 0.75),
    Claim("perplexity_seconds_over_forward", "perplexity / the bare forward passes it needs: time", 1.1),
    Claim("perplexity_processor_seconds_over_forward", "  the same: processor time", 1.1),
    Claim("capability_seconds_over_direct", "capability / lm-eval called directly: time", 0.6),
    Claim("capability_processor_seconds_over_direct", "  the same: processor time", 0.6),
    Claim("capability_log_likelihood_difference", "  largest difference of a log-likelihood, float32", 1e-4),
    Claim("study_over_alone", "6 rates × 3 seeds × {profs, dpo} as one study / cell by cell: time", 0.6),
)


def main() -> None:
    """Measure everything and print it beside its bound."""
    silence_libraries()
    from benchmarks import (
        capability,
        dpo_training,
        perplexity,
        profs_edit,
        rehearsal,
        sampling,
        scoring,
        study,
        toxicity_batching,
    )

    console = Console()
    table = Table("measured", "ratio", "bound", "", box=None, pad_edge=False)
    ratios: dict[str, float] = {}
    modules = (profs_edit, dpo_training, rehearsal, toxicity_batching, sampling, scoring, perplexity, capability, study)
    for part in modules:
        ratios |= part.measure()
    for claim in CLAIMS:
        mark = "holds" if claim.holds(ratios) else "MISSED"
        table.add_row(claim.what, claim.measured(ratios), f"≤ {claim.bound:g}", mark)
    console.print(table)
    console.print(f"same texts one at a time and batched: {ratios['same_texts']:.0f} of {ratios['alone']:.0f}")
    same, documents = ratios["capability_same_outcomes"], ratios["capability_documents"]
    console.print(f"same outcomes as lm-eval called directly: {same:.0f} of {documents:.0f}")


if __name__ == "__main__":
    main()
