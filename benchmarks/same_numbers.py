"""`python -m benchmarks.same_numbers REV [--methods a,b] [--keep]`: does the working tree still make REV's numbers?

A change of structure must change no number. Here both trees do the same work, each in processes of its own with empty
caches, and what comes out is compared to the last bit: a run of every registered method on a tiny random model, clean
and with noise, with all tasks; a checkpoint of `bench edit`, a search of `bench tune`, and `bench analyse overlap`.
Left out is what says when, by which code and at what cost. Nothing is downloaded, and the model is far too small for
its numbers to mean anything. The trees run side by side, on one thread each. Both are given the same configuration,
which REV must understand. Exit status 1 if anything differs, is missing, or fails.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.tiny_run import RATES, make_inputs, write_config

HERE = Path(__file__).resolve().parents[1]
SETTINGS = {"rank": 1, "layers": "all", "learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4}
"""Of every method that has such a field; all else is as it comes."""
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "profs-cv": {"use": "profs", "rank": "cv", "cv_ranks": [1, 2], "cv_folds": 2},
    "dpo-full": {"use": "dpo", "tuning": "full", "validation": 4, "evaluate_every": 2},
    "dpo-oracle": {"use": "dpo", "oracle": True},
}
"""Further rows, for paths that no method takes by default."""
NO_RESULT = re.compile(r"(.*_)?seconds|.*_bytes|energy_.*|cell_id|created_at|code|provenance")
"""Keys of what may differ between two makings of the same numbers."""
UNAVAILABLE = "unavailable"
PROBE = """
import importlib, json, bench
known = importlib.import_module(bench.AlignmentMethod.__module__).METHODS
methods = {name: {"unavailable": known[name].unavailable(), "fields": list(known[name].model_fields)} for name in known}
print(json.dumps({"bench": bench.__file__, "methods": methods}))
"""


@dataclass(frozen=True)
class Side:
    """One of the two trees, and the folder for all that it makes."""

    tree: Path
    own: Path

    def python(self, *arguments: str) -> str:
        """What Python prints, run in the tree with caches of its own, without network and on one thread."""
        apart = {"ALIGNMENT_BENCH_HOME": self.own / "home", "HF_HOME": self.own / "hf", "PYTHONPATH": self.tree}
        fixed = {"HF_HUB_OFFLINE": 1, "OMP_NUM_THREADS": 1, "TOKENIZERS_PARALLELISM": "false"}
        env = {**os.environ, **{name: str(value) for name, value in {**apart, **fixed}.items()}}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.tree, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"in {self.tree}: {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def bench(self, command: str, *arguments: str) -> Path:
        """Run a command; returns its folder of output."""
        out = self.own / command.split()[0]
        self.python("-m", "bench.cli", *command.split(), *arguments, "--out", str(out))
        return out

    def results(self, place: Path, only: Sequence[str]) -> dict[str, Any]:
        """Everything that the tree makes of the inputs in `place`, by cell or command."""
        self.own.mkdir()
        found = json.loads(self.python("-c", PROBE))
        if not Path(found["bench"]).is_relative_to(self.tree):
            raise RuntimeError(f"{self.tree} was to be run, and {found['bench']} was")
        cells: dict[str, Any] = {name: UNAVAILABLE for name, of in found["methods"].items() if of["unavailable"]}
        fields = {name: of["fields"] for name, of in found["methods"].items() if name not in cells}
        kinds = {name: name for name in fields if name != "base"} | {n: row["use"] for n, row in VARIANTS.items()}
        rows = {
            name: {key: SETTINGS[key] for key in SETTINGS if key in fields[kind]} | dict(VARIANTS.get(name, {}))
            for name, kind in kinds.items()
            if kind in fields and (not only or name in only)
        }
        if unknown := set(only) - {"base", *rows}:
            raise RuntimeError(f"{self.tree} cannot run {', '.join(sorted(unknown))}; it can {', '.join(kinds)}")
        cells |= records(self.bench("run", "--config", write_config(place, self.own / "run.yaml", rows)))
        if sum(cell != UNAVAILABLE for cell in cells.values()) != 1 + len(RATES) * len(rows):
            raise RuntimeError(f"{self.own} lacks cells: it has {', '.join(cells)}")
        model = ("--pairs-file", str(place / "pairs.jsonl"), "--model", str(place / "model"), "--device", "cpu")
        edited = self.bench("edit", "--method", "profs", *model, "--set", "rank=1", "--set", "layers=all")
        sha256s = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in edited.glob("*.safetensors")}
        cells["bench edit profs"] = {"files": sha256s, "about": json.loads((edited / "alignment.json").read_text())}
        config = write_config(place, self.own / "profs.yaml", {"profs": {"layers": "all"}})
        tuned = self.bench("tune profs", "--config", config, "--noise", "0.3", "--trials", "4")
        best = yaml.safe_load((tuned / "best.yaml").read_text())
        cells["bench tune profs"] = {"trials": trials(tuned), "best": best}
        overlap = self.bench("analyse overlap", "--config", config, "--sizes", "8,16")
        cells["bench analyse overlap"] = json.loads((overlap / "overlap.json").read_text())
        return cells


def trials(out: Path) -> list[Any]:
    """What each trial of a search came to; revisions before the journal kept them as plain JSON."""
    if (out / "trials.json").exists():
        rows = json.loads((out / "trials.json").read_text())["trials"]
    else:
        backend = optuna.storages.journal.JournalFileBackend(str(out / "trials.journal"))
        study = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
        rows = [{**trial.user_attrs, "number": trial.number} for trial in study.get_trials()]
    return [dict(sorted(row.items())) for row in rows]


def records(out: Path) -> dict[str, Any]:
    """What a run left of each cell: its record, the hash of its weights, and what was written."""
    cells = {}
    for path in sorted((out / "records").glob("*.json")):
        record = json.loads(path.read_text())
        del record["cost"]
        rate, seed = record["data"]["noise"]["rate"], record["data"]["seed"]
        wrote = sorted((out / "generations").glob(f"{path.stem}.*.jsonl"))
        texts = {file.name.split(".")[-2]: [json.loads(line) for line in file.open()] for file in wrote}
        weights = record["provenance"]["weights_sha256"]
        cells[f"{record['method']['name']}, noise {rate}, seed {seed}"] = {
            **{"weights_sha256": weights, "generations": texts},
            **record,
        }
    return cells


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every plain value in `value` that is a result, exactly, as text, with its path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if not NO_RESULT.fullmatch(key):
                yield from leaves(inner, f"{place}.{key}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{place}[{index}]")
    else:
        yield place, json.dumps(value)


def compare(old: Mapping[str, Any], new: Mapping[str, Any], console: Console) -> bool:
    """Print each difference and a table of cells; whether all are the same."""
    table, all_same = Table("cell", "values", "", box=None, pad_edge=False), True
    for cell in dict.fromkeys([*old, *new]):
        before, after = (dict(leaves(side[cell])) if cell in side else {} for side in (old, new))
        differing = [path for path in dict.fromkeys([*before, *after]) if before.get(path) != after.get(path)]
        if cell in old and cell in new:
            for path in differing:
                change = f"{cell}: {path[1:]}: {before.get(path, 'nothing')} → {after.get(path, 'nothing')}"
                console.print(change, markup=False, highlight=False, soft_wrap=True)
            mark = f"differs in {len(differing)}" if differing else "same"
        else:
            mark = f"only in the {'old' if cell in old else 'new'} tree"
        all_same = all_same and mark == "same"
        table.add_row(
            cell, str(len(after or before)), "skipped" if old.get(cell) == new.get(cell) == UNAVAILABLE else mark
        )
    console.print(table)
    return all_same


def main() -> int:
    """Make both trees' results and compare them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_numbers", description="Compare both trees' numbers."
    )
    parser.add_argument("rev", help="git revision that the working tree is compared with")
    parser.add_argument("--methods", default="", help="only these rows, with commas between them; else all")
    parser.add_argument("--keep", action="store_true", help="keep the folder of all output")
    given, console = parser.parse_args(), Console()
    archive = subprocess.run(["git", "-C", HERE, "archive", given.rev], stdout=subprocess.PIPE, check=True).stdout
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="same-numbers-")).resolve()
        if given.keep:
            console.print(f"kept: {place}", soft_wrap=True)
        else:
            stack.callback(shutil.rmtree, place)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(place / "tree", filter="data")
        make_inputs(place)
        sides = (Side(place / "tree", place / "old"), Side(HERE, place / "new"))
        only = [name for name in given.methods.split(",") if name]
        with ThreadPoolExecutor() as pool:
            old, new = pool.map(lambda side: side.results(place, only), sides)
    same = compare(old, new, console)
    console.print("all same" if same else "NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
