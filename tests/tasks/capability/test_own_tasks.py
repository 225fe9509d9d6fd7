"""Tasks of the user's own YAML: found, hashed, refused where they are wrong, measured as lm-eval would."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.tasks.base import EvaluationContext
from bench.tasks.capability.task import Capability

PAGE = Path(__file__).parents[3] / "docs" / "measure" / "capability.md"
CAPITALS = {
    "task": "capitals",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"validation": "mine/capitals.jsonl"}},
    "validation_split": "validation",
    "output_type": "multiple_choice",
    "doc_to_text": "The capital of {{country}} is",
    "doc_to_choice": "{{cities}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
ROWS = [
    {"country": f"land {row}", "cities": ["a long name", "short", "another long name"], "answer": row % 2}
    for row in range(6)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`mine/` with one task, and the working directory above it."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    write_rows(mine / "capitals.jsonl", ROWS)
    write(mine, CAPITALS)
    return mine


@pytest.fixture
def indifferent(make_model):
    """A model to which all tokens are alike: it chooses the answer with the fewest."""
    model = make_model("gpt2", n_positions=512)
    torch.nn.init.zeros_(model.get_input_embeddings().weight)
    return model


def write(folder, config, name="capitals"):
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluate(task, model, tokenizer):
    task.prepare(Silent())
    return task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=8)).metric


def contexts(task, model, tokenizer, monkeypatch):
    """What lm-eval asked the model, one text a request."""
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "bench.tasks.capability.model.InProcessModel.loglikelihood",
            lambda self, requests: asked.extend(request.args for request in requests) or [(0.0, False)] * len(requests),
        )
        evaluate(task, model, tokenizer)
    return [context for context, _ in asked]


def test_the_documentation_s_example_runs_as_written(folder, indifferent, tiny_tokenizer):
    blocks = re.findall(r"```(yaml|json)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "capitals.yaml").write_text(blocks[0][1])
    (folder / "capitals.jsonl").write_text(blocks[1][1])
    settings = yaml.safe_load(blocks[2][1])["tasks"]["capability"]
    assert "boolq" in settings["tasks"]
    metric = evaluate(Capability(**{**settings, "tasks": ("capitals",)}), indifferent, tiny_tokenizer)
    part = metric.tasks["capitals"]
    assert (part.n, part.details["num_fewshot"]) == (4, 1)
    # Shortest in bytes: Lyon and Nice tie against Paris, Tokyo, Osaka and Kyoto tie, Kisumu is wrong, Lima is right.
    assert part.items.values[2:] == (0.0, 1.0)
    assert part.details["acc_norm"]["n"] == 4
    assert set(Capability(**settings).identity()["documents"]) == {"capitals", "boolq"}


def test_a_task_of_ones_own_is_measured(folder, indifferent, tiny_tokenizer):
    metric = evaluate(Capability(tasks=("capitals",), include_path=("mine",)), indifferent, tiny_tokenizer)
    assert metric.tasks["capitals"].items.values == tuple(float(row["answer"] == 1) for row in ROWS)
    assert metric.unit == "accuracy"


def test_identity_follows_definitions_and_data_but_not_the_place(folder):
    task = {"tasks": ("capitals",), "include_path": (folder,)}
    before = Capability(**task).identity()
    assert str(folder.parent) not in json.dumps(before)
    moved = folder.parent / "moved"
    folder.rename(moved)
    moved.joinpath("elsewhere").mkdir()
    folder.mkdir()
    (moved / "capitals.jsonl").rename(folder / "capitals.jsonl")
    assert Capability(tasks=("capitals",), include_path=(moved,)).identity() == before
    write_rows(folder / "capitals.jsonl", ROWS[:5])
    changed_data = Capability(tasks=("capitals",), include_path=(moved,)).identity()
    assert changed_data["documents"] != before["documents"]
    assert changed_data["definitions"] == before["definitions"]
    write(moved, {**CAPITALS, "doc_to_text": "{{country}}:"})
    changed_text = Capability(tasks=("capitals",), include_path=(moved,)).identity()
    assert changed_text["definitions"] != before["definitions"]
    (moved / "utils.py").write_text("ANSWER = 42\n")
    assert Capability(tasks=("capitals",), include_path=(moved,)).identity() != changed_text


def test_groups_and_tags_are_their_tasks(folder, indifferent, tiny_tokenizer):
    write(folder, {"include": "capitals.yaml", "task": "other", "tag": "places"}, "other")
    write(folder, {**CAPITALS, "tag": ["places"]})
    write(folder, {"group": "all_places", "task": ["places"]}, "group")
    for name in ("places", "all_places"):
        metric = evaluate(Capability(tasks=(name,), include_path=("mine",)), indifferent, tiny_tokenizer)
        assert set(metric.tasks) == {"capitals", "other"}
    with pytest.raises(UsageError, match="'capitals' is asked for twice: by 'capitals' and by 'all_places'"):
        Capability(tasks=("capitals", "all_places"), include_path=("mine",)).identity()


def test_a_default_task_may_stand_in_a_group_and_be_replaced(folder):
    write(folder, {"group": "mixed", "task": ["capitals", "boolq"]}, "group")
    identity = Capability(tasks=("mixed",), include_path=("mine",)).identity()
    assert set(identity["documents"]["boolq"]) == {"sha256"}
    assert Capability(tasks=("mixed",), include_path=("mine",)).assets()
    write(folder, {**CAPITALS, "task": "boolq"}, "boolq")
    replaced = Capability(tasks=("mixed",), include_path=("mine",))
    assert set(replaced.identity()["documents"]["boolq"]) == {"files"}
    assert not replaced.assets()


def test_a_task_without_acc_stands_there_with_its_own_metric(folder, make_model, tiny_tokenizer):
    generated = {**CAPITALS, "output_type": "generate_until", "doc_to_target": "{{cities[answer]}}"}
    del generated["doc_to_choice"]
    generated |= {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 4}}
    generated |= {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
    write(folder, generated)
    write_rows(
        folder / "capitals.jsonl", [{**row, "cities": ["eeee", "no", "x"], "answer": row["answer"]} for row in ROWS]
    )
    model = make_model("gpt2", n_positions=512)
    with torch.no_grad():  # the same logits everywhere: high for the byte "e"
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1)
        model.transformer.wte.weight.zero_()
        model.transformer.wte.weight[tiny_tokenizer("e")["input_ids"]] = 1
    metric = evaluate(Capability(tasks=("capitals",), include_path=("mine",)), model, tiny_tokenizer)
    assert metric.tasks["capitals"].details["metric"] == metric.unit == "exact_match"
    assert metric.tasks["capitals"].items.values == tuple(float(row["answer"] == 0) for row in ROWS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_type": "loglikelihood_rolling", "metric_list": [{"metric": "word_perplexity"}]}, "use the task perp"),
        (
            {"output_type": "generate_until", "generation_kwargs": {"do_sample": True, "until": ["\n"]}},
            "draws random samples",
        ),
        ({"unsafe_code": True}, "runs code that the model wrote"),
        ({"metric_list": [{"metric": "f1"}]}, r"no metric that is a mean over documents.*\(it has f1\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(folder, changes, message):
    write(folder, {**CAPITALS, **changes})
    with pytest.raises(UsageError, match=message):
        Capability(tasks=("capitals",), include_path=("mine",)).prepare(Silent())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task: capitals\n  doc_to_text: [", r"cannot read .*capitals\.yaml.*line 2.*move it out of include_path"),
        ("task: capitals\ninclude: base.yaml\n", r"includes .*base\.yaml, which is not there"),
        ("task: capitals\ninclude: capitals.yaml\n", "which is itself"),
        ("- capitals\n", "no .yaml file with `task:` or `group:`"),
        ("task: capitals\ndataset_path: json\n", "names no files"),
        ("task: capitals\n", "makes its documents in Python"),
        ("task: capitals\nclass: !function utils.Mine\n", "makes its documents in Python"),
        (
            "task: capitals\ndataset_path: json\ndataset_kwargs: {data_files: nowhere.jsonl}\n",
            r"reads nowhere\.jsonl, which is not there",
        ),
        ("task: capitals\ndataset_path: json\ndataset_kwargs: {data_files: 'https://x/y'}\n", "download it and name"),
        ("group: capitals\ntask: [{task: inline, doc_to_text: x}]\n", "'inline', which no file defines"),
    ],
)
def test_a_wrong_file_is_named_before_anything_is_loaded(folder, content, message):
    (folder / "capitals.yaml").write_text(content)
    with pytest.raises(UsageError, match=message):
        Capability(tasks=("capitals",), include_path=("mine",)).identity()


def test_a_missing_folder_and_an_unknown_name_are_named(folder):
    with pytest.raises(UsageError, match="yours is no folder"):
        Capability(tasks=("capitals",), include_path=("yours",)).identity()
    with pytest.raises(UsageError, match="unknown lm-eval task 'capitols'; did you mean capitals"):
        Capability(tasks=("capitols",), include_path=("mine",)).identity()


def test_an_empty_data_file_is_named_before_anything_is_loaded(folder):
    (folder / "capitals.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"'capitals' reads mine/capitals\.jsonl, which is empty"):
        Capability(tasks=("capitals",), include_path=("mine",)).identity()


def test_a_definition_that_does_not_fit_its_data_is_named(folder):
    write(folder, {**CAPITALS, "doc_to_target": "{{no_such_column.x}}"})
    with pytest.raises(BenchError, match=r"cannot load 'capitals' \(UndefinedError\).*; correct its YAML or its data$"):
        Capability(tasks=("capitals",), include_path=("mine",)).prepare(Silent())


def test_a_task_s_own_number_of_examples_counts_unless_another_is_asked_for(folder, indifferent, tiny_tokenizer):
    write(folder, {**CAPITALS, "num_fewshot": 2})
    for asked, number in ((None, 2), (1, 1), (0, 0)):
        task = Capability(tasks=("capitals",), include_path=("mine",), num_fewshot=asked)
        assert evaluate(task, indifferent, tiny_tokenizer).tasks["capitals"].details["num_fewshot"] == number
    write(folder, {**CAPITALS, "num_fewshot": 0})
    task = Capability(tasks=("capitals",), include_path=("mine",), num_fewshot=3)
    assert evaluate(task, indifferent, tiny_tokenizer).tasks["capitals"].details["num_fewshot"] == 0


def test_examples_are_the_same_for_every_model_and_never_the_asked_document(
    folder, indifferent, tiny_tokenizer, monkeypatch
):
    task = Capability(tasks=("capitals",), include_path=("mine",), num_fewshot=3)
    first = contexts(task, indifferent, tiny_tokenizer, monkeypatch)
    assert contexts(task, indifferent, tiny_tokenizer, monkeypatch) == first
    for row, context in enumerate(first[::3]):  # three answers a question
        *shown, question = context.split("\n\n")
        assert len(set(shown)) == 3
        assert f"land {row} " in question
        assert all(f"land {row} " not in text for text in shown)
        assert all(text.endswith(("short", "a long name")) for text in shown)
    reseeded = Capability(tasks=("capitals",), include_path=("mine",), num_fewshot=3, fewshot_seed=2)
    assert contexts(reseeded, indifferent, tiny_tokenizer, monkeypatch) != first


@pytest.mark.parametrize(
    "changes",
    [{"fewshot_split": "validation"}, {"validation_split": None, "test_split": "validation"}],
)
def test_examples_that_would_hold_the_asked_document_are_refused(folder, changes):
    write(folder, {**CAPITALS, **changes})
    Capability(tasks=("capitals",), include_path=("mine",)).prepare(Silent())
    with pytest.raises(UsageError, match="would show the asked document"):
        Capability(tasks=("capitals",), include_path=("mine",), num_fewshot=1).prepare(Silent())


def test_more_examples_than_documents_are_refused(folder):
    with pytest.raises(UsageError, match="6 documents to take examples from, too few for 6"):
        Capability(tasks=("capitals",), include_path=("mine",), num_fewshot=6).prepare(Silent())


TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[say]{% endif %}"
)


@pytest.fixture
def chatty(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_chat_template_and_system_instruction_reach_the_model(folder, indifferent, chatty, monkeypatch):
    task = Capability(
        tasks=("capitals",),
        include_path=("mine",),
        apply_chat_template=True,
        system_instruction="Be right.",
        num_fewshot=1,
    )
    turns = contexts(task, indifferent, chatty, monkeypatch)[0]
    assert turns.startswith("[system]Be right.[user]")
    assert turns.endswith("is[say]")
    assert (turns.count("[user]"), turns.count("[assistant]")) == (2, 1)
    single = task.model_copy(update={"fewshot_as_multiturn": False})
    together = contexts(single, indifferent, chatty, monkeypatch)[0]
    assert (together.count("[user]"), together.count("[assistant]")) == (1, 0)


def test_a_system_instruction_needs_no_chat(folder, indifferent, tiny_tokenizer, monkeypatch):
    task = Capability(tasks=("capitals",), include_path=("mine",), system_instruction="Be right. ")
    assert contexts(task, indifferent, tiny_tokenizer, monkeypatch)[0] == "Be right. The capital of land 0 is"


def test_a_tokenizer_without_chat_template_is_refused(folder, indifferent, tiny_tokenizer):
    task = Capability(tasks=("capitals",), include_path=("mine",), apply_chat_template=True)
    with pytest.raises(UsageError, match="no chat template"):
        evaluate(task, indifferent, tiny_tokenizer)


def test_a_template_that_takes_no_system_turn_is_named_not_bypassed(folder, indifferent, chatty):
    chatty.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    )
    settings = {"tasks": ("capitals",), "include_path": ("mine",), "apply_chat_template": True}
    evaluate(Capability(**settings), indifferent, chatty)
    with pytest.raises(UsageError, match="refuses the turns system, user: no system"):
        evaluate(Capability(**settings, system_instruction="Be right."), indifferent, chatty)
