"""What `bench analyse` does: look at a model and its pairs without aligning anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_atomic, write_json
from bench.core.progress import Progress
from bench.harness.align import alignment_context, set_up_pairs
from bench.harness.directory import RunDirectory
from bench.harness.provenance import provenance
from bench.harness.run import make_pairs
from bench.methods.base import PlannedAlignment
from bench.methods.projection.profs import ProFS
from bench.models.placed import place_model
from bench.spec.messages import validated
from bench.spec.run_spec import RunSpec, build_methods, hyperparameters
from bench.tasks.preferences.draw import Draw, prepare_preferences

if TYPE_CHECKING:
    from bench.methods.projection.overlap import LayerOverlap
    from bench.tasks.preferences.data_module import PreferenceDataModule


@dataclass(frozen=True)
class OverlapReport:
    """What `bench analyse overlap` measured."""

    about: dict[str, Any]
    """Model, data and settings: plain JSON."""
    expected: float
    """√(k/D)."""
    rows: Sequence[LayerOverlap]
    """By number of pairs, ascending, and by block."""

    @property
    def sizes(self) -> list[int]:
        """Numbers of pairs, ascending."""
        return list(dict.fromkeys(row.n_pairs for row in self.rows))

    def to_json(self) -> dict[str, Any]:
        return {**self.about, "expected": self.expected, "layers": [asdict(row) for row in self.rows]}


def analyse_subspaces(
    spec: RunSpec, sizes: Sequence[int], *, rank: int, seed: int, out: Path, progress: Progress
) -> OverlapReport:
    """Measure how much of the first DPO gradient lies in the ProFS subspace, and write it to a directory.

    Arguments:
        spec: as for a run: model, pairs, and the row of ProFS, whose rank and layers are of no account. Labels are
            clean, whatever its noise.
        sizes: numbers of training pairs.
        rank: directions of each block's subspace.
        seed: of the subsample and of all draws.
        out: for overlap.json, overlap.csv, overlap.png and overlap.svg; they replace earlier ones.
        progress: where to show what is going on.

    Raises:
        UsageError: before any model is loaded, for what can be known by then, unless the pairs are yet to be sampled.
        BenchError: the model or the pairs do not allow it.
    """
    spec = overlap_spec(spec, sizes, rank)
    RunDirectory(out).check()
    method = build_methods(spec)["profs"]
    if not isinstance(method, ProFS):
        raise UsageError(f"the row 'profs' must be ProFS to be analysed, and is {type(method).__name__}")
    pool = make_pairs(spec, progress=progress)
    draw = Draw(seed=seed, held_out=spec.pairs.held_out)
    prepare_preferences(pool, replace(draw, n=max(sizes)))  # says how many there are, where they are too few
    module = set_up_pairs(pool, draw)
    rows, model = _measure(spec, method, module, progress)
    about = {
        "analysis": "overlap",
        "model": model,
        "method": method.model_dump(mode="json"),
        "data": {
            "source": module.data.source,
            "n_pairs": len(module.pairs),
            "pairs_sha256": module.data.clean_sha256,
            "seed": seed,
        },
        "provenance": provenance(),
    }
    from bench.methods.projection.overlap import expected_share

    report = OverlapReport(about, expected_share(rank, model["d_model"]), rows)
    write_overlap(report, out)
    return report


def overlap_spec(spec: RunSpec, sizes: Sequence[int], rank: int) -> RunSpec:
    """The run whose pairs are analysed: ProFS alone, as its first row in `spec` has it, on these sizes, all blocks.

    Raises:
        UsageError: a size or the rank cannot be; says which.
    """
    written = [row for name, row in spec.methods.items() if row.get("use", name) == "profs"]
    row = hyperparameters(written[0]) if written else {}
    settings = spec.model_dump(mode="json")
    settings["methods"] = {"profs": {**row, "rank": rank, "layers": "all"}}
    settings["pairs"]["sizes"] = list(sizes)
    return validated(RunSpec, settings, "")


def write_overlap(report: OverlapReport, out: Path) -> None:
    """Write the report as JSON, as a table and as two pictures.

    Raises:
        BenchError: it cannot be written.
    """
    from bench.leaderboard.figures.overlap import draw_overlap
    from bench.leaderboard.figures.style import save_figure

    settings = report.about
    title = f"{settings['model']['name']}, rank {settings['method']['rank']}"
    try:
        write_json(out / "overlap.json", report.to_json())
        write_atomic(out / "overlap.csv", to_csv(report))
        figure = draw_overlap([asdict(row) for row in report.rows], expected=report.expected, title=title)
        for suffix in ("png", "svg"):
            save_figure(figure, out / f"overlap.{suffix}")
    except OSError as error:
        raise BenchError(f"cannot write to {out}: {error.strerror}") from error


def to_csv(report: OverlapReport) -> str:
    """One line for each size and block; `low` and `high` are the extremes of the draws."""
    lines = io.StringIO()
    rows: list[dict[str, Any]] = []
    for row in report.rows:
        rows.append({})
        for name, value in asdict(row).items():
            if isinstance(value, dict):
                rows[-1] |= {name: value["mean"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
            else:
                rows[-1][name] = value
    writer = csv.DictWriter(lines, [*rows[0], "expected"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "expected": report.expected} for row in rows)
    return lines.getvalue()


def _measure(
    spec: RunSpec, method: ProFS, module: PreferenceDataModule, progress: Progress
) -> tuple[list[LayerOverlap], dict[str, Any]]:
    """The shares, and which model they are of."""
    placed = place_model(spec.model, device=spec.device, dtype=spec.dtype, chat_date=spec.chat_date)
    sizes = [size for size in spec.pairs.sizes if size is not None]
    for size in sizes:
        method.check(PlannedAlignment(placed.source.config(), size, dtype=placed.dtype, device=placed.device))
    from bench.methods.projection.overlap import measure_overlap

    model, tokenizer = placed.load(progress)
    with alignment_context(placed, module, progress=progress, diagnostics=False) as context:
        rows = measure_overlap(method, model, tokenizer, module.pairs, sizes, context=context)
    return rows, {
        "name": spec.model,
        "locator": placed.source.locator,
        "revision": placed.source.revision,
        "fingerprint": placed.source.fingerprint(),
        "dtype": placed.dtype,
        "d_model": model.config.get_text_config().hidden_size,
    }
