"""`make bench`: every speed and memory claim of the suite, measured on this machine in this run."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.quiet import silence_libraries


class Claim(NamedTuple):
    """A ratio that is claimed, and the bound it is held to."""

    name: str
    what: str
    bound: float
    at_most: bool = True

    def holds(self, ratio: float) -> bool:
        return ratio <= self.bound if self.at_most else ratio >= self.bound


CLAIMS = (
    Claim("edit_seconds_over_forward", "ProFS edit / bare length-sorted forward pass: time", 1.15),
    Claim("edit_processor_seconds_over_forward", "  the same: processor time", 1.15),
    Claim("edit_peak_memory_over_forward", "  the same: peak memory", 1.3),
    Claim("sweep_seconds_over_edit", "72 edits (6 noise rates × 4 ranks × 3 sizes) / one edit: time", 1.5),
    Claim("sweep_processor_seconds_over_edit", "  the same: processor time", 1.5),
    Claim("train_seconds_over_bare", "DPO training step / bare TRL step on the same batch: time", 1.05),
    Claim("train_processor_seconds_over_bare", "  the same: processor time", 1.05),
    Claim("train_peak_memory_over_bare", "  the same: peak memory", 1.05),
    Claim("tuning_sweep_over_training", "6 noise rates of DPO / 6 bare TRL trainings + 1 reference pass: time", 1.05),
    Claim("tuning_sweep_processor_over_training", "  the same: processor time", 1.05),
    Claim("single_over_batched", "toxicity one prompt at a time / batched: time", 1.0, at_most=False),
)


def main() -> None:
    """Measure everything and print it beside its bound."""
    silence_libraries()
    from benchmarks import dpo_training, profs_edit, toxicity_batching

    console = Console()
    table = Table("measured", "ratio", "bound", "", box=None, pad_edge=False)
    ratios = {**profs_edit.measure(), **dpo_training.measure()}
    batching = toxicity_batching.measure()
    ratios["single_over_batched"] = batching["ratio"]
    for claim in CLAIMS:
        sign = "≤" if claim.at_most else "≥"
        mark = "holds" if claim.holds(ratios[claim.name]) else "MISSED"
        table.add_row(claim.what, f"{ratios[claim.name]:.2f}", f"{sign} {claim.bound:g}", mark)
    console.print(table)
    console.print(f"same texts one at a time and batched: {batching['same_texts']} of {batching['prompts']}")


if __name__ == "__main__":
    main()
