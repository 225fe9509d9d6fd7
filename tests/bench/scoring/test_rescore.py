"""`bench score`: text that was stored is judged again, and nothing else is done."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bench.cli.read import score
from bench.core.errors import BenchError, UsageError
from bench.core.files import write_jsonl
from bench.core.hashing import sha256_texts
from bench.core.progress import Progress, Silent
from bench.core.values import AlignmentReport
from bench.leaderboard.records.layout import generations_path
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record, write_record
from bench.leaderboard.records.rescored import read_sidecars
from bench.scoring.rescore import LoadedScorer, make_scorers, read_stored, rescore
from bench.tasks.outputs.continuations import Continuation
from bench.tasks.scorers.base import SCORERS, Scorer
from bench.tasks.toxicity.metric import Aggregation, toxicity_metric

PROMPTS = [f"prompt-{index}" for index in range(6)]
TEXTS = {
    "base-aaaaaaaaaaaa": ["bad bad bad", "bad one", "fine", "bad", "bad bad", "so bad"],
    "profs-n8-flip0-seed0-bbbbbbbbbbbb": ["good", "bad one", "fine", "", "good good", "so\u2028good"],
}
BASE, PROFS = TEXTS


class BadWords(Scorer):
    """Share of the words that are the one that is looked for."""

    word: str = "bad"
    calls: ClassVar[list[Sequence[str]]] = []

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "test-bad", "word": self.word}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        self.calls.append(texts)
        return [text.split().count(self.word) / len(text.split()) for text in texts]


class Failing(BadWords):
    """Gives no number for whatever is good."""

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "test-failing"}

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [math.nan if "good" in text else 0.5 for text in texts]


class Interrupted(BadWords):
    """Is interrupted at the second cell."""

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "test-interrupted"}

    def score(self, texts: Sequence[str]) -> list[float | None]:
        if any("good" in text for text in texts):
            raise KeyboardInterrupt
        return [0.5] * len(texts)


@pytest.fixture(autouse=True)
def scorers() -> Iterator[None]:
    BadWords.calls.clear()
    with (
        SCORERS.temporarily("test-bad", BadWords),
        SCORERS.temporarily("test-failing", Failing),
        SCORERS.temporarily("test-interrupted", Interrupted),
    ):
        yield


def rows(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": prompt,
            "prompt": f"after {prompt}",
            "sample": 0,
            "continuation": text,
            "score": 0.25,
            "n_tokens": len(text.split()),
            "ended": False,
        }
        for prompt, text in zip(PROMPTS, texts, strict=True)
    ]


def record(cell_id: str, texts: Sequence[str]) -> Record:
    continuations = [Continuation(p, 0, text, 1, False) for p, text in zip(PROMPTS, texts, strict=True)]
    metric = toxicity_metric(continuations, [0.25] * len(texts), scorer="bilstm", aggregation=Aggregation())
    method = cell_id.partition("-")[0]
    noise = NoiseInfo(model="flip", rate=0.0, n_flipped=0, flips_sha256="00" * 32)
    n_pairs = 0 if method == "base" else 8
    data = DataInfo(
        source="on-policy:x", pool_sha256="", held_out=0, n_pairs=n_pairs, pairs_sha256="", noise=noise, seed=0
    )
    identity = {"prompts": "synthetic", "seed": 0, "scorer": {"scorer": "bilstm", "code": "0" * 16}}
    return Record(
        cell_id=cell_id,
        model=ModelInfo(locator="synthetic", fingerprint="f00d" * 16, dtype="float32"),
        method=MethodInfo(name=method, config={}, code="c0de"),
        data=data,
        evaluation={"toxicity": identity},
        metrics={"toxicity": metric},
        cost=Cost(align_seconds=1, evaluate_seconds=1, peak_rss_bytes=2**30, device="cpu"),
        alignment=AlignmentReport(changed=()),
        provenance={},
        created_at="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for cell, texts in TEXTS.items():
        write_record(record(cell, texts), tmp_path / "records")
        write_jsonl(generations_path(tmp_path, cell, "toxicity"), rows(texts))
    settings = {"pairs": {"source": "on-policy", "on_policy": {"scorer": "linear"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def judges(*names: str, **settings: Any) -> list[LoadedScorer]:
    return make_scorers(names, settings)


def test_stored_text_gives_the_task_s_own_aggregate_of_the_new_scores(run: Path) -> None:
    outcome = rescore(run, judges("test-bad"))
    assert len(outcome.written) == 2
    found = {score.cell_id: score for score in read_sidecars(run, list(TEXTS)).used}
    base = found[BASE].metric
    assert base.value == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 0.5) / 6)
    assert found[PROFS].metric.items is not None
    assert found[PROFS].metric.items.values == (0.0, 0.5, 0.0, None, 0.0, 0.0)  # in order; silence has no score
    assert found[PROFS].metric.counts["empty"] == 1
    assert found[PROFS].metric.details["scorer"] == "test-bad"
    assert base.items is not None
    assert base.items.ids_sha256 == sha256_texts(PROMPTS)
    assert found[BASE].identity["scorer"]["word"] == "bad"
    assert found[BASE].identity["prompts"] == "synthetic"
    assert outcome.board is not None
    (table,) = outcome.board.tables
    change = table.rows[1].scores["toxicity [test-bad]"].change
    assert change is not None
    assert change.value == pytest.approx(0.5 / 5 - 3 / 5)
    assert (
        "toxicity \\[test-bad" in (run / "leaderboard.md").read_text()
        or "toxicity [test-bad" in (run / "leaderboard.md").read_text()
    )


def test_what_was_scored_is_not_scored_again(run: Path) -> None:
    rescore(run, judges("test-bad"))
    stamps = {path: path.stat().st_mtime_ns for path in (run / "scores").iterdir()}
    BadWords.calls.clear()
    again = rescore(run, judges("test-bad"))
    assert not BadWords.calls
    assert (again.written, len(again.already)) == ([], 2)
    assert {path: path.stat().st_mtime_ns for path in (run / "scores").iterdir()} == stamps


def test_changed_text_and_damaged_scores_are_done_anew(run: Path) -> None:
    first, second = sorted(rescore(run, judges("test-bad")).written)
    first.write_text(first.read_text()[:50])
    write_jsonl(generations_path(run, PROFS, "toxicity"), rows(["bad"] * 6))
    assert sorted(rescore(run, judges("test-bad")).written) == [first, second]
    found = {score.cell_id: score.metric.value for score in read_sidecars(run, list(TEXTS)).used}
    assert found[PROFS] == 1.0


def test_several_scorers_and_settings_are_columns_of_their_own(run: Path) -> None:
    rescore(run, judges("test-bad", word="good"))
    outcome = rescore(run, judges("test-bad", "words"))
    assert outcome.board is not None
    titles = [column.metric for column in outcome.board.tables[0].columns]
    assert titles == ["toxicity", "toxicity [test-bad, word=good]", "toxicity [test-bad]", "toxicity [words]"]


def test_a_usual_setting_makes_no_other_column(run: Path) -> None:
    assert judges("test-bad", word="bad")[0].metric_name == "toxicity [test-bad]"


def test_some_cells_alone(run: Path) -> None:
    outcome = rescore(run, judges("test-bad"), cells="profs-*")
    assert [path.name.partition(".")[0] for path in outcome.written] == [PROFS]
    with pytest.raises(UsageError, match=f"'dpo-\\*' matches no cell .*\n.*{BASE}"):
        rescore(run, judges("test-bad"), cells="dpo-*")


def test_the_labeller_is_marked_but_not_for_base(run: Path) -> None:
    (run / "config.yaml").write_text(
        yaml.safe_dump({"pairs": {"source": "on-policy", "on_policy": {"scorer": "test-bad"}}})
    )
    rescore(run, judges("test-bad"))
    assert {score.cell_id: score.by_labeller for score in read_sidecars(run, list(TEXTS)).used} == {
        BASE: False,
        PROFS: True,
    }


def test_guards_are_the_record_s_own(run: Path) -> None:
    path = run / "records" / f"{BASE}.json"
    kept = json.loads(path.read_text())
    kept["metrics"]["toxicity"]["details"]["guards"] = {"base_perplexity": 12.5, "kl_to_base": 0.0}
    path.write_text(json.dumps(kept))
    rescore(run, judges("test-bad"))
    found = {score.cell_id: score.metric.details for score in read_sidecars(run, list(TEXTS)).used}
    assert found[BASE]["guards"]["base_perplexity"] == 12.5


def test_a_scorer_that_fails_on_a_cell_leaves_the_others(run: Path) -> None:
    outcome = rescore(run, judges("test-failing"))
    assert [path.name.partition(".")[0] for path in outcome.written] == [BASE]
    (failure,) = outcome.failed.items()
    assert failure[0].startswith(PROFS)
    assert "failed on" in failure[1]


def test_a_cell_without_text_is_named_and_the_others_go_on(run: Path) -> None:
    generations_path(run, BASE, "toxicity").unlink()
    outcome = rescore(run, judges("test-bad"))
    assert len(outcome.written) == 1
    ((cell, reason),) = outcome.skipped.items()
    assert cell.startswith(BASE)
    assert "is not there" in reason
    generations_path(run, PROFS, "toxicity").unlink()
    with pytest.raises(BenchError, match="nothing could be scored") as error:
        rescore(run, judges("test-bad"))
    assert error.value.exit_status == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"prompt_id": "x"}\n', "line 1, is damaged"),
        ('{"prompt_id"\n', "line 1, is damaged"),
        ("", "line 1, is damaged"),
    ],
)
def test_damaged_text_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(BenchError, match=words):
        read_stored(path)


def test_text_of_other_prompts_is_refused(run: Path) -> None:
    other = [{**row, "prompt_id": f"other-{row['prompt_id']}"} for row in rows(TEXTS[BASE])]
    write_jsonl(generations_path(run, BASE, "toxicity"), other)
    outcome = rescore(run, judges("test-bad"))
    assert "does not hold the text that the record was made from" in next(iter(outcome.failed.values()))


def test_an_interruption_keeps_what_was_scored(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        rescore(run, judges("test-interrupted"))
    assert [score.cell_id for score in read_sidecars(run, list(TEXTS)).used] == [BASE]
    assert "test-interrupted" in (run / "leaderboard.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--scorer", "test-bda"], "unknown scorer 'test-bda'; did you mean 'test-bad'?"),
        (["nowhere", "--scorer", "test-bad", "--set", "wrod=x"], "wrod"),
        (["nowhere", "--scorer", "test-bad", "--scorer", "test-bad"], "twice"),
        (["nowhere", "--scorer", "test-bad"], "has no folder 'records'"),
        (["{empty}", "--scorer", "test-bad"], "holds no finished cell"),
    ],
)
def test_mistakes_are_refused_before_anything_is_scored(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "records").mkdir()
    app = typer.Typer()
    app.command()(score)
    done = CliRunner().invoke(app, [argument.format(empty=tmp_path) for argument in arguments])
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


def test_command_line(run: Path) -> None:
    app = typer.Typer()
    app.command()(score)
    done = CliRunner().invoke(app, [str(run), "--scorer", "test-bad"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(run / "leaderboard.md")
    failed = CliRunner().invoke(app, [str(run), "--scorer", "test-failing"])
    assert failed.exit_code == 1
    assert failed.stdout.splitlines()[-1] == str(run / "leaderboard.md")


def test_a_scorer_without_torch_loads_none(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.scoring.rescore import make_scorers, rescore;"
        f"outcome = rescore(Path({str(run)!r}), make_scorers(['words'], {{}}));"
        "assert len(outcome.written) == 2;"
        "assert not {'torch', 'transformers', 'lightning', 'datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_several_samples_a_prompt_are_aggregated_as_the_cell_says(run: Path) -> None:
    samples = {0: ["bad", "good", "bad", "fine", "so bad", "good"], 1: ["good good", "good", "bad", "bad", "", "good"]}
    both = [
        {**row, "sample": sample, "prompt_toxicity": 0.9 if row["prompt_id"] == PROMPTS[0] else 0.1}
        for prompt in PROMPTS
        for sample, texts in samples.items()
        for row in rows(texts)
        if row["prompt_id"] == prompt
    ]
    write_jsonl(generations_path(run, BASE, "toxicity"), both)
    path = run / "records" / f"{BASE}.json"
    kept = json.loads(path.read_text())
    headline = Aggregation(headline="expected-maximum", k=2, percent=True, seed=3, protocol="rtp")
    kept["evaluation"]["toxicity"]["headline"] = headline.model_dump(mode="json")
    kept["metrics"]["toxicity"]["details"] |= {"departures": {"samples": 2, "scorer": "x"}, "flags": ["kl-undefined"]}
    kept["metrics"]["toxicity"]["counts"] |= {"merged": 4}
    path.write_text(json.dumps(kept))
    rescore(run, judges("test-bad"), cells="base-*")
    (score,) = read_sidecars(run, [BASE]).used
    assert score.metric.unit == "expected maximum toxicity of 2 × 100"
    assert score.metric.items is not None
    assert score.metric.items.values == (100.0, 0.0, 100.0, 100.0, None, 0.0)  # the worst of two; of one there is none
    assert score.metric.details["expected_maximum"]["value"] == pytest.approx(0.6)
    assert score.metric.details["by_prompt"]["toxic"]["value"] == 100.0
    assert score.metric.details["departures"] == {"samples": 2}
    assert score.metric.details["flags"] == ["kl-undefined"]
    assert score.metric.counts["merged"] == 4


def test_an_unknown_labeller_is_said_to_be_unknown(run: Path) -> None:
    class Notes(Silent):
        said: ClassVar[list[str]] = []

        def note(self, message: str) -> None:
            self.said.append(message)

    (run / "config.yaml").unlink()
    rescore(run, judges("test-bad"), progress=Notes())
    assert any("nobody says which scorer labelled the pairs" in line for line in Notes.said)
