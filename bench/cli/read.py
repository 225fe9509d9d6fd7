"""Commands that read finished runs: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Format, PrintFormat, Set, option


def score(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    scorer: Annotated[list[str], option("Who judges: see `bench list scorers`. Repeatable.", "--scorer")],
    assignments: Set = None,
    cells: Annotated[str | None, option("Only cells whose id matches, e.g. 'dpo-*'.", show_default="all")] = None,
) -> None:
    """Judge the stored text of finished cells by another scorer, without generating; write the board anew."""
    from bench.display.console import progress_display
    from bench.display.scoring import show_rescoring
    from bench.scoring.rescore import make_scorers, rescore
    from bench.spec.overrides import parse_assignment

    settings = {".".join(path): value for path, value in map(parse_assignment, assignments or ())}
    scorers = make_scorers(scorer, settings)
    with progress_display() as progress:
        outcome = rescore(directory, scorers, cells=cells, progress=progress)
    show_rescoring(outcome, directory)
    if outcome.failed:
        raise typer.Exit(1)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="RUN_DIR, or RUN_DIR:CELL; CELL may be a row's name.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same for what is set against it.")],
    metric: Annotated[str | None, option("Only this one, e.g. toxicity.", show_default="all shared")] = None,
    top: Annotated[int, option("Prompts that changed most, in each direction.", min=0)] = 5,
    format: PrintFormat = "table",
    show_text: Annotated[bool, option("Show prompts and continuations unmasked.", "--show-text")] = False,
) -> None:
    """Set one cell against another on the same items: differences, intervals, tests, and the prompts behind them."""
    from bench.display.comparison import show_comparison
    from bench.leaderboard.compare.two_models import compare_models as compare_cells

    show_comparison(compare_cells(first, second, metric=metric, top=top, show_text=show_text), format)


def cite(
    directory: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run's directory.")] = None,
) -> None:
    """Print BibTeX for the suite and, of a run, for its methods, data and scorers."""
    from bench.display.cite import show_citations

    show_citations(directory)


def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run's or study's directory.")],
    out: Annotated[Path | None, option("Folder for the report.", show_default="RUN/report")] = None,
    figures: Annotated[str | None, option("Formats of pictures: png, svg, pdf.", show_default="png,svg")] = None,
    no_titles: Annotated[bool, option("No titles in pictures: a paper has captions.", "--no-titles")] = False,
    format: Annotated[Format, option("How to print the tables.", "--format", "-f")] = "table",
) -> None:
    """Draw a study's curves over noise and numbers of pairs, with the numbers behind them and what they come to."""
    from bench.display.report import report_run

    report_run(directory, format, out, figures=figures, titles=not no_titles)
