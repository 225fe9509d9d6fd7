"""The command that looks at this machine: parse, call, print. Imports nothing heavy until it needs it."""

from typing import Annotated, Any

import typer

from bench.cli.options import Device, Dtype, option, parsed
from bench.core.errors import UsageError


def doctor(
    batch_invariance: Annotated[
        str | None,
        option("Measure whether the batch size changes this model's texts and numbers here.", metavar="MODEL"),
    ] = None,
    batch_sizes: Annotated[
        str | None, option("With it: sizes to compare, with the smallest.", show_default="1,8,64")
    ] = None,
    limit: Annotated[int | None, option("With it: prompts to continue.", min=2, show_default="64")] = None,
    prompts: Annotated[
        str | None, option("With it: prompts' source, as of the toxicity task.", show_default="the quickstart's")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Show versions, devices, caches, and which sources can be reached; or measure batch invariance."""
    if batch_invariance is None:
        extra = {"--batch-sizes": batch_sizes, "--limit": limit, "--prompts": prompts}
        named = [flag for flag, value in extra.items() if value is not None]
        if named:
            raise UsageError(f"{named[0]} goes with --batch-invariance MODEL")
        from bench.display.doctor import show_diagnosis

        healthy = show_diagnosis()
    else:
        from bench.analyse.batch_invariance import LIMIT, PROMPTS, measure_invariance
        from bench.display.console import progress_display
        from bench.display.doctor import show_invariance
        from bench.spec.overrides import split_integers

        settings: dict[str, Any] = {"prompts": prompts or PROMPTS, "dtype": dtype, "device": device}
        sizes = parsed(batch_sizes, "--batch-sizes", split_integers)
        with progress_display() as progress:
            result = measure_invariance(batch_invariance, progress, sizes=sizes, limit=limit or LIMIT, **settings)
        healthy = show_invariance(result)
    if not healthy:
        raise typer.Exit(1)
