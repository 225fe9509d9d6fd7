"""What `bench cite` prints."""

import sys
from pathlib import Path

from bench.analyse.cite import bibtex, citations, suite_citation
from bench.leaderboard.records.layout import records_folder
from bench.leaderboard.records.rescored import read_scored_records


def show_citations(directory: Path | None) -> None:
    """Print BibTeX for the suite, and for what a run used.

    Raises:
        UsageError: the directory is no run's.
        BenchError: a record cannot be read.
    """
    if directory is None:
        those = [suite_citation()]
    else:
        records_folder(directory)
        those = citations(read_scored_records(directory))
    sys.stdout.write(bibtex(those))
