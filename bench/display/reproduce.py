"""What `bench reproduce` prints: results to standard output, everything else to standard error."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.core.store import hub
from bench.core.values import BASE
from bench.display.console import RESULT, log, print_json, print_sections, write_line
from bench.leaderboard.published.parity import (
    ParityFinding,
    ParityVerdict,
    Sample,
    expected_by_chance,
    relative_change,
    shape,
)
from bench.leaderboard.render.numbers import MISSING, number, rate_text, signed
from bench.leaderboard.render.section import Section
from bench.models.sources import MODELS, HubModel, resolve_model
from bench.reproduce.paper import (
    FIGURES,
    OVERLAP,
    OVERLAP_RANK,
    WHERE_TO_PUT,
    Design,
    missing_files,
    read_design,
)
from bench.reproduce.rerun import Reproduction, result_path
from bench.spec.study import Study

VERDICT_HEAD = ("row", "pairs", "noise", "metric", "published", "ours", "difference", "counts from", "verdict", "")
SHAPE_HEAD = ("row", "pairs", "noise", "metric", "published", "change", "ours", "change")


def show_figures(data: Path) -> None:
    """Every figure and model, what it takes, and what of it is here; no network is asked."""
    table = Table("figure", "model", "what", "weights in memory", "hub", "own files", box=SIMPLE_HEAD, pad_edge=False)
    for name, figure in FIGURES.items():
        for model in figure.models:
            study = read_design(name, model, data=data).study
            absent = len(missing_files(study))
            files = f"{absent} missing" if absent else "here"
            table.add_row(name, model, figure.about, _weights(study), _on_the_hub(study.spec.model), files)
        small = read_design(name, scale="quickstart").study
        table.add_row(name, "quickstart", "the same design: --scale quickstart", _weights(small), "not needed", "none")
    RESULT.print(table)
    write_line(*_missing_lines(read_design("table2", data=data).study))


def show_reproduction_plan(design: Design) -> None:
    """What would be run, what it is set beside, and what is missing; nothing is done."""
    from bench.display.run import plan_lines
    from bench.harness.plan import plan_study

    spec = design.study.spec
    write_line(f"{FIGURES[design.figure].about}; {spec.model} ({design.scale}), from {_shown(design.config)}")
    if design.figure == OVERLAP:
        write_line(*overlap_commands(design))
    else:
        for grid in (part.spec for part in design.parts()):
            sizes = ", ".join("all" if size is None else str(size) for size in grid.pairs.sizes)
            rates = ", ".join(f"{rate:g}" for rate in grid.noise.rates)
            write_line(f"{', '.join(grid.methods)}: pairs {sizes}; noise {rates}; seeds {len(grid.seeds)}")
    write_line(f"measured: {', '.join(spec.tasks) if design.figure != OVERLAP else 'shares of the gradient'}")
    write_line(_beside_line(design))
    absent = _missing_lines(design.study)
    write_line(*(f"needed: {line}" for line in absent))
    if absent or design.figure == OVERLAP:
        return
    lines: dict[str, None] = {}
    for part in design.parts():
        plan = plan_study(part)
        done = sum(cell.id in plan.finished for cell in plan.cells)
        progress = f"{done} done" if plan.pairs_ready else "none known by content yet: data or pairs are not here"
        lines |= dict.fromkeys([f"{plan.combinations} cells in {part.out}: {progress}", *plan_lines(plan)])
    write_line(*lines)


def show_reproduction(result: Reproduction, form: str) -> None:
    """Our values beside the published ones, and what may explain differences."""
    if form == "json":
        print_json(result.to_json())
    else:
        print_sections([findings_section(result.findings, verdicts=result.design.scale == "full")], form)
        write_line(*explanation(result))
    for cell_id, message in result.failed.items():
        log(f"failed: {cell_id}: {message}", "red")
    log(str(result_path(result.design)))


def findings_section(findings: Sequence[ParityFinding], *, verdicts: bool) -> Section:
    """The comparison as a table without a title."""
    if verdicts:
        return Section("", VERDICT_HEAD, tuple(map(_verdict_row, findings)))
    bases = {f.metric: f for f in findings if f.cell.row == BASE}
    return Section("", SHAPE_HEAD, tuple(_shape_row(finding, bases.get(finding.metric)) for finding in findings))


def explanation(result: Reproduction) -> list[str]:
    """How to read the table: sources, how many differ and how many would by chance, and known quirks."""
    findings, published = result.findings, result.design.published
    withheld = result.design.withheld
    sources = dict.fromkeys((finding.source, finding.where) for finding in findings)
    cited_sources = "; ".join(f"{published.sources[source]}, {where}" for source, where in sources)
    lines = [f"published: {cited_sources}. Mean (standard deviation over runs) [95 % interval over items]"]
    if withheld is not None:
        return [*lines, f"no verdict: {withheld}", *shape(findings)]
    different = [f for f in findings if f.verdict is ParityVerdict.different]
    counts = [f"{sum(f.verdict is verdict for f in findings)} {verdict.value}" for verdict in ParityVerdict]
    lines.append(f"{', '.join(counts)}; about {expected_by_chance(findings):.1f} would differ by chance alone")
    lines.append("`within their spread` is no proof of equality: see from what size on a difference counts")
    cited = {id for finding in different for id in finding.quirks}
    return [*lines, *(f"[{quirk.id}] {quirk.text}" for quirk in published.quirks if quirk.id in cited)]


def overlap_commands(design: Design) -> list[str]:
    """The command lines that the overlap figure consists of."""
    sizes = ",".join(map(str, design.published.overlap.shares))
    spec = design.study.spec
    return [
        f"bench analyse overlap --config {_shown(design.config)} --sizes {sizes} --rank {OVERLAP_RANK} --seed {seed} "
        f"--out {spec.out / f'seed-{seed}'}"
        + (f" --set pairs.source={spec.pairs.source}" if spec.pairs.source.startswith("file:") else "")
        for seed in spec.seeds
    ]


def _beside_line(design: Design) -> str:
    if design.figure == OVERLAP:
        numbers, tables = sum(map(len, design.published.overlap.shares.values())), [design.published.overlap.where]
    else:
        numbers = sum(len(cell.values) for table in design.tables for cell in table.cells)
        tables = [f"{table.source}: {table.where}" for table in design.tables]
    how = "each with a verdict" if design.withheld is None else f"no verdict: {design.withheld}"
    return f"beside {numbers} published numbers of {design.model} ({'; '.join(dict.fromkeys(tables))}); {how}"


def _missing_lines(study: Study) -> list[str]:
    absent = missing_files(study)
    return [*absent, WHERE_TO_PUT] if absent else []


def _weights(study: Study) -> str:
    """Of the model's weights in the precision that the study asks for, where it is one of the catalogue's."""
    entry = MODELS.get(study.spec.model)
    bytes_each = 4 if study.spec.dtype in ("float32", "auto") else 2
    return MISSING if entry is None else f"{entry.parameters * bytes_each / 1e9:.1f} GB"


def _on_the_hub(model: str) -> str:
    """Whether the hub's cache has a model; the hub is not asked."""
    source = resolve_model(model)
    if not isinstance(source, HubModel):
        return "none"
    commit = hub.known_commit(source.repository, source.reference)
    here = commit is not None and hub.cached_folder(source.repository, commit) is not None
    return "in its cache" if here else "to download"


def _verdict_row(finding: ParityFinding) -> tuple[str, ...]:
    digits = _digits(finding)
    remark = finding.why or " ".join(f"[{id}]" for id in finding.quirks)
    if not remark and finding.verdict is ParityVerdict.different:
        remark = "no quirk known that would explain it"
    return (
        *_condition(finding),
        _sample(finding.reported, finding),
        _measured(finding),
        MISSING if finding.measured is None else signed(finding.measured.mean - finding.reported.mean, digits),
        MISSING if finding.margin is None else number(finding.margin, digits),
        finding.verdict.value,
        remark,
    )


def _shape_row(finding: ParityFinding, base: ParityFinding | None) -> tuple[str, ...]:
    published_change = own_change = MISSING
    if base is not None and base is not finding:
        published_change = _change(finding.reported, base.reported)
        if finding.measured is not None and base.measured is not None:
            own_change = _change(finding.measured, base.measured)
    own = _measured(finding) if finding.measured is not None else f"{MISSING} ({finding.why})"
    return (*_condition(finding), _sample(finding.reported, finding), published_change, own, own_change)


def _condition(finding: ParityFinding) -> tuple[str, ...]:
    cell = finding.cell
    pairs = MISSING if cell.n_pairs is None else str(cell.n_pairs)
    return cell.row, pairs, MISSING if cell.row == BASE else rate_text(cell.rate), finding.metric


def _change(value: Sample, base: Sample) -> str:
    return f"{signed(100 * relative_change(value.mean, base.mean), 1)} %"


def _measured(finding: ParityFinding) -> str:
    if finding.measured is None:
        return MISSING
    text, interval = _sample(finding.measured, finding), finding.measured.ci95
    bounds = ", ".join(number(bound, _digits(finding)) for bound in interval or ())
    return f"{text} [{bounds}]" if interval else text


def _sample(sample: Sample, finding: ParityFinding) -> str:
    digits = _digits(finding)
    spread = "" if sample.std is None else f" ({number(sample.std, digits)})"
    return f"{number(sample.mean, digits)}{spread}"


def _digits(finding: ParityFinding) -> int:
    return 3 if finding.metric.startswith(("block", "mean over blocks")) else 2


def _shown(path: Path) -> str:
    """As short as it can be said from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
