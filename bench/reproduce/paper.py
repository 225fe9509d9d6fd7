"""The figures and tables of the ProFS paper that can be run again: which there are, what each needs, and its study."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import UsageError
from bench.core.files import expanded
from bench.core.registry import unknown
from bench.core.values import Value
from bench.leaderboard.published.numbers import Published, PublishedTable
from bench.spec.messages import validated
from bench.spec.resolve import Assignment
from bench.spec.run_spec import CONFIGS, read_yaml
from bench.spec.study import Study, read_study

Scale = Literal["full", "quickstart"]
PAPER = CONFIGS / "paper"
PUBLISHED = PAPER / "published.yaml"
DATA_VARIABLE = "ALIGNMENT_BENCH_PAPER_DATA"
OVERLAP = "overlap"
"""The one figure that is no study of cells."""
OVERLAP_RANK = 2
LIMITED = "--limit measures fewer items than the paper did"
OTHER_MODEL = "another model and other data: only the shape compares"

WHERE_TO_PUT = (
    "unpack what the README of ajyl/dpo_toxic on GitHub links to, and name the folder that then holds "
    f"toxicity_pairwise and intervene_data with --data FOLDER or {DATA_VARIABLE}"
)


class PaperFigure(Value):
    """One figure or table of the paper; `figures.yaml` says of each what it takes."""

    about: str
    models: tuple[str, ...]
    quickstart: str


class _Figures(Value):
    figures: Mapping[str, PaperFigure]
    files: Mapping[str, str]


_LISTED = validated(_Figures, read_yaml(Path(__file__).with_name("figures.yaml")), "figures.yaml")
FIGURES, FILES = _LISTED.figures, _LISTED.files


@dataclass(frozen=True)
class Design:
    """A figure as it is to be run."""

    figure: str
    model: str
    """The paper's, beside whose numbers ours are set."""
    scale: Scale
    config: Path
    study: Study
    published: Published
    withheld: str | None
    """Why no verdict is given; None where ours are the paper's measurements."""

    @property
    def tables(self) -> list[PublishedTable]:
        """What is published of it. Elsewhere than on the paper's data only its own numbers say anything, and only the
        sample-size figure is about numbers of pairs."""
        tables = self.published.of(self.figure, self.model)
        if self.scale == "full":
            return tables
        tables = [table for table in tables if table.source == "paper"]
        if self.figure == "sizes":
            return tables
        whole = {"n_pairs": None}
        return [
            table.model_copy(update={"cells": tuple(cell.model_copy(update=whole) for cell in table.cells)})
            for table in tables
        ]

    def parts(self) -> list[Study]:
        """The studies to run: of each row the sizes that have a published number, rows with the same sizes together."""
        if self.scale == "quickstart":
            return [self.study]
        spec, sizes = self.study.spec, _published_sizes(self.published, self.tables)
        grouped: dict[tuple[int | None, ...], list[str]] = {}
        for row in spec.methods:
            wanted = tuple(size for size in spec.pairs.sizes if size in sizes.get(row, ()))
            grouped.setdefault(wanted, []).append(row)
        specs = [
            spec.model_copy(
                update={
                    "methods": {row: spec.methods[row] for row in rows},
                    "pairs": spec.pairs.model_copy(update={"sizes": wanted}),
                }
            )
            for wanted, rows in grouped.items()
            if wanted
        ]
        return [self.study.model_copy(update={"spec": part}) for part in specs]


def find_model(name: str, model: str | None) -> str:
    """The paper's model that a figure is run for: `model`, or its first.

    Raises:
        UsageError: there is no such figure (names the nearest), or the paper has no such model, or not in this figure;
            says which it has there.
    """
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    figure = FIGURES[name]
    if model is None or model in figure.models:
        return model or figure.models[0]
    everywhere = list(dict.fromkeys(known for other in FIGURES.values() for known in other.models))
    if model not in everywhere:
        raise unknown("model of the paper", model, everywhere)
    others = [other for other, its in FIGURES.items() if model in its.models]
    raise UsageError(
        f"the paper has no figure '{name}' of {model}, only of {', '.join(figure.models)}; of {model} it has "
        f"{', '.join(others)}"
    )


def config_of(name: str, model: str, scale: Scale) -> Path:
    """The configuration of a figure."""
    return CONFIGS / FIGURES[name].quickstart if scale == "quickstart" else PAPER / f"{name}-{model}.yaml"


def read_design(
    name: str,
    model: str | None = None,
    *,
    scale: Scale = "full",
    data: Path = Path(),
    limit: int | None = None,
    flags: Sequence[Assignment] = (),
) -> Design:
    """What to run for a figure; nothing is fetched, and no file is looked for.

    Arguments:
        name: of the figure.
        model: the paper's; None for the figure's first.
        scale: `full` for the paper's model and data, `quickstart` for the same design on the quickstart's.
        data: folder that relative paths in the configuration are taken from.
        limit: items for every task.
        flags: places in the configuration and what to put there.

    Raises:
        UsageError: no such figure or model, or settings that cannot be.
    """
    if scale == "quickstart" and model is not None:
        raise UsageError(f"--model {model} and --scale quickstart exclude each other: that scale has its own model")
    chosen = find_model(name, model)
    config = config_of(name, chosen, scale)
    placed = [(key_path, f"file:{expanded(data) / path}") for key_path, path in _relative_files(read_yaml(config))]
    study = read_study(str(config), flags=[*placed, *flags], limit=limit).study
    reason = OTHER_MODEL if scale == "quickstart" else LIMITED if limit is not None else None
    published = validated(Published, read_yaml(PUBLISHED), str(PUBLISHED))
    return Design(name, chosen, scale, config, study, published, reason)


def missing_files(study: Study) -> list[str]:
    """One line for each file that has to be downloaded by hand and is not there: what it is and where to get it."""
    perplexity = study.spec.tasks.get("perplexity", {})
    locators = [study.spec.pairs.source, str(perplexity.get("source", ""))]
    paths = [expanded(locator.removeprefix("file:")) for locator in locators if locator.startswith("file:")]
    absent = [path for path in paths if not path.is_file()]
    sources = ["".join(f" ({FILES[name]})" for name in FILES if path.as_posix().endswith(name)) for path in absent]
    return [f"{path} is not there{source}" for path, source in zip(absent, sources, strict=True)]


def _relative_files(settings: Mapping[str, Any], key_path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], str]]:
    """Where `settings` name a file by a relative path, and that path."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _relative_files(value, (*key_path, key))
        elif isinstance(value, str) and value.startswith("file:"):
            path = value.removeprefix("file:")
            if not Path(path).is_absolute():
                yield [*key_path, key], path


def _published_sizes(published: Published, tables: Sequence[PublishedTable]) -> dict[str, set[int | None]]:
    """By row of ours, the numbers of pairs of the published cells that it stands beside."""
    sizes: dict[str, set[int | None]] = {}
    for table in tables:
        for cell in table.cells:
            for row in published.rows_beside(table, cell.method):
                sizes.setdefault(row, set()).add(cell.n_pairs)
    return sizes
