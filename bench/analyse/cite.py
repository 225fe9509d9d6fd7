"""`bench cite`: BibTeX for the suite, and for the methods, data and scorers that a run used."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import metadata

from bench.core.errors import UsageError
from bench.core.values import BASE, Value
from bench.leaderboard.records.record import Record
from bench.methods.base import METHODS
from bench.methods.labels import method_label
from bench.tasks.base import TASKS
from bench.tasks.references import data_names, data_reference
from bench.tasks.scorers.base import SCORERS

NO_DATA = ("none", "file")
"""What records say of data that are nobody's publication."""


class Citation(Value):
    """Something that was used, and what to cite for it."""

    subject: str
    """What it is, e.g. "method DPO"."""
    entries: tuple[str, ...]
    """BibTeX; none where no publication is known."""


def suite_citation() -> Citation:
    """The suite itself, in the installed version."""
    about = metadata("alignment-bench")
    entry = f"""@software{{alignment-bench,
  title   = {{alignment-bench}},
  author  = {{{{The alignment-bench developers}}}},
  version = {{{about["Version"]}}},
  license = {{{about["License-Expression"]}}}
}}"""
    return Citation(subject="the suite", entries=(entry,))


def citations(records: Sequence[Record]) -> list[Citation]:
    """What a run's records used, the suite first, each thing once."""
    found = [suite_citation(), *_methods(records), *_tasks(records), *_data(records), *_scorers(records)]
    return list({citation.subject: citation for citation in found}.values())


def _methods(records: Iterable[Record]) -> Iterator[Citation]:
    for name in sorted({record.method.name for record in records} - {BASE}):
        try:
            entries = _references(METHODS[name])
        except (ImportError, UsageError):
            entries = ()
        yield Citation(subject=f"method {method_label(name)}", entries=entries)


def _tasks(records: Iterable[Record]) -> Iterator[Citation]:
    for name in sorted({name for record in records for name in record.evaluation}):
        if name in TASKS and (entries := _references(TASKS[name])):
            yield Citation(subject=f"task {name}", entries=entries)


def _data(records: Iterable[Record]) -> Iterator[Citation]:
    names = {record.data.source for record in records}
    names |= {name for record in records for name in data_names(dict(record.evaluation))}
    for name in sorted(names):
        if name not in NO_DATA and not name.startswith("file:"):
            entry = data_reference(name)
            yield Citation(subject=f"data {name}", entries=() if entry is None else (entry.strip(),))


def _scorers(records: Iterable[Record]) -> Iterator[Citation]:
    for identity in (identity for record in records for identity in record.evaluation.values()):
        scorer = identity.get("scorer") if isinstance(identity, Mapping) else None
        if isinstance(scorer, Mapping) and (name := str(scorer.get("scorer", ""))):
            packages = sorted({str(file).partition("/")[0] for file in scorer.get("files") or ()})
            origin = f" ({', '.join(packages)})" if packages else ""
            yield Citation(
                subject=f"scorer {name}{origin}", entries=_references(SCORERS[name]) if name in SCORERS else ()
            )


def _references(cls: type) -> tuple[str, ...]:
    """Of a class and its parents, its own first."""
    entries = (entry for one in cls.__mro__ for entry in vars(one).get("references", ()))
    return tuple(dict.fromkeys(entry.strip() for entry in entries))


def bibtex(those: Sequence[Citation]) -> str:
    """One file: every entry once, below the first thing that it is for; what has none is said in a comment."""
    written: set[str] = set()
    lines: list[str] = []
    for citation in those:
        subject = " ".join(citation.subject.split())
        if not citation.entries:
            lines.append(f"% {subject}: no publication is known here; cite its source")
        for entry in citation.entries:
            lines.append(f"% {subject}" if entry not in written else f"% {subject}: see above")
            lines += [entry, ""] if entry not in written else [""]
            written.add(entry)
    return "\n".join(lines).rstrip() + "\n"
