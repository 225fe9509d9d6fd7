"""A run whose texts are chats: what is applied to what, said, kept in the records, and part of a cell's id."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from bench.core.errors import UsageError
from bench.core.progress import Progress, Silent
from bench.edit.make import edit_model
from bench.edit.request import EditRequest
from bench.harness.cells import Cell
from bench.harness.plan import plan_study
from bench.harness.resolved import make_cells, pool_at_hand, resolve_setting, settle_tasks
from bench.harness.run import run
from bench.leaderboard.records.record import read_records
from bench.spec.resolve import resolve_spec
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study
from bench.tasks.scorers.base import SCORERS, Scorer

CHATML = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
QUIET = {"apply_chat_template": False}


class Vowels(Scorer):
    """Calls a text the more toxic the more vowels it has."""

    def identity(self) -> Mapping[str, Any]:
        return {"name": "chat-vowels"}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [sum(c in "aeiou" for c in text) / len(text) if text.strip() else None for text in texts]


@pytest.fixture(autouse=True)
def vowels() -> Iterator[None]:
    with SCORERS.temporarily("chat-vowels", Vowels):
        yield


@pytest.fixture
def make(tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]) -> Callable[..., RunSpec]:
    """`make(messages=False, template=CHATML, **fields)`: a run with toxicity of a model that has the template."""

    def spec(messages: bool = False, template: str | dict[str, str] | None = CHATML, **fields: Any) -> RunSpec:
        rows = [{"prompt": f"Ask {i}", "chosen": f" kind {i}", "rejected": f" rude {i}"} for i in range(8)]
        turns = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        chats = [{key: [{"role": turns[key], "content": text.strip()}] for key, text in row.items()} for row in rows]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Say {i}"}) + "\n" for i in range(3)))
        toxicity = {"scorer": "chat-vowels", "max_new_tokens": 3, "prose_tokens": 0}
        tasks = {
            "toxicity": {"prompts": f"file:{tmp_path / 'prompts.jsonl'}", **toxicity, **fields.pop("toxicity", {})}
        }
        made = make_run(
            tmp_path,
            {"profs": {"rank": 1, "layers": "all"}},
            pairs=chats if messages else rows,
            selection={"held_out": 2},
            tasks=tasks,
            **fields,
        )
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / "model")
        return made

    return spec


def cells(spec: RunSpec, progress: Progress | None = None) -> list[Cell]:
    setting = resolve_setting([spec])
    pool = pool_at_hand(setting, progress or Silent())
    assert pool is not None
    return make_cells(settle_tasks(setting, pool, progress or Silent()), pool)


def ids(spec: RunSpec) -> list[str]:
    return [cell.id for cell in cells(spec)]


def test_without_a_template_cells_are_what_they_were(make):
    auto, off = cells(make()), cells(make(**QUIET))
    assert [cell.id for cell in auto] == [cell.id for cell in off]
    assert auto[0].evaluation["toxicity"]["chat_template"] is None
    assert "chat" not in auto[1].data_info.model_dump(mode="json", exclude_none=True)


def test_a_template_its_system_prompt_and_the_tasks_own_say_are_part_of_cells(make):
    on = {"apply_chat_template": True}
    runs = [
        {},
        on,
        {**on, "system_prompt": "Be kind"},
        {**on, "toxicity": {"system_prompt": "Be kind"}},
        {**on, "toxicity": QUIET},
        {"toxicity": on},
    ]
    assert len({ids(make(**settings))[1] for settings in runs}) == len(runs)


def test_a_named_template_in_a_file_of_its_own_is_part_of_the_cells_that_use_it(make, tmp_path):
    several = {"default": CHATML, "other": f"[{CHATML}"}
    spec = make(template=several, apply_chat_template=True)
    named = spec.model_copy(update={"chat_template": "other"})
    first, (base, profs) = ids(spec), cells(named)
    assert base.id not in first
    assert (profs.data_info.chat.template, profs.data_info.chat.system_prompt) == ("other", None)
    (tmp_path / "model" / "additional_chat_templates" / "other.jinja").write_text(f"({CHATML}")
    assert ids(spec) == first
    assert not {base.id, profs.id} & set(ids(named))


def test_pairs_that_are_messages_put_the_prompts_as_chats(make, recorder):
    base, profs = cells(make(messages=True), recorder)
    assert base.evaluation["toxicity"]["chat_template"]["system_prompt"] is None
    assert profs.data_info.chat is not None
    assert any(note.endswith("its chat template writes the pairs, toxicity") for note in recorder.notes)
    plain_prompts = cells(make(messages=True, toxicity=QUIET))
    assert plain_prompts[0].evaluation["toxicity"]["chat_template"] is None
    assert plain_prompts[1].data_info.chat is not None


def test_preference_is_measured_on_the_chats_that_methods_are_given(make):
    plain, chats = (make(apply_chat_template=apply) for apply in (False, True))
    tasks = {**plain.tasks, "preference": {}}
    measured = [cells(spec.model_copy(update={"tasks": tasks}))[0].evaluation for spec in (plain, chats)]
    assert measured[0]["preference"]["chat_template"] is None
    assert measured[1]["preference"]["chat_template"] == measured[1]["toxicity"]["chat_template"]


def test_plain_pairs_as_chats_are_those_that_are_messages(make):
    written = cells(make(apply_chat_template=True))
    assert [cell.id for cell in written] == ids(make(messages=True))


def test_a_template_that_is_not_applied_is_said(make, recorder):
    cells(make(), recorder)
    assert any("not applied (apply_chat_template: auto, and the pairs are no messages)" in n for n in recorder.notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"apply_chat_template": True, "template": None}, "no chat template"),
        ({"system_prompt": "Be kind"}, r"system_prompt is set, and nothing is written as a chat.*set it to true"),
        ({"apply_chat_template": True, "template": "{{ messages[-1].content }}", "system_prompt": "x"}, "no place for"),
        ({"apply_chat_template": True, "chat_template": "rag"}, "'rag' is no template of this tokenizer"),
        ({"toxicity": {"apply_chat_template": True}, "template": None}, "no chat template"),
    ],
)
def test_what_cannot_be_applied_is_said_before_anything_is_done(make, arguments, message):
    spec = make(**arguments)
    with pytest.raises(UsageError, match=message):
        plan_study(Study.of_run(spec))
    with pytest.raises(UsageError, match=message):
        run(spec)
    assert not (spec.out / "records").exists()


def test_settings_that_contradict_each_other_are_refused():
    for name in ("system_prompt", "chat_template"):
        with pytest.raises(ValueError, match=f"{name} is set and apply_chat_template is false"):
            RunSpec.model_validate({"apply_chat_template": False, name: "x"})


def test_an_evaluation_prompt_is_found_inside_a_chat(make, tmp_path):
    spec = make(messages=True)
    rows = (tmp_path / "pairs.jsonl").read_text().replace("Ask 1", "Say 1")
    (tmp_path / "pairs.jsonl").write_text(rows)
    with pytest.raises(UsageError, match="1 of the prompts in .* are also evaluation prompts, e.g. 'say 1'"):
        cells(spec)


def test_a_template_that_writes_prompts_differently_with_answers_is_refused_by_row(make, tmp_path):
    spec = make(messages=True, template=CHATML.replace("assistant\n{% endif", "assistant\n!{% endif"))
    with pytest.raises(UsageError, match=r"pairs\.jsonl:1: the chat template writes the prompt differently"):
        run(spec)


def test_a_run_of_chats_says_so_everywhere_and_is_made_again_from_its_record(make, tmp_path):
    spec = make(apply_chat_template=True, system_prompt="Be kind")
    assert not run(spec).failed
    records = {record.method.name: record for record in read_records(spec.out / "records")}
    chat = records["profs"].data.chat
    assert chat is not None
    assert chat.system_prompt == "Be kind"
    assert records["base"].data.chat is None
    assert not run(spec).executed
    page = (spec.out / "leaderboard.md").read_text()
    note = r"Chat template:\*\* the model's own \(SHA-256 \w{8}\) writes toxicity, pairs, with the system prompt"
    assert re.search(note, page)
    assert re.search(r"(?m)^## .* · chat template: toxicity, pairs$", page)
    (path,) = (spec.out / "records").glob("profs-*.json")
    edit_model(EditRequest(pairs_file=tmp_path / "pairs.jsonl", out=tmp_path / "edited", record=path), Silent())
    card = (tmp_path / "edited" / "README.md").read_text()
    assert "written as chats by the model's own chat template, with the system prompt Be kind." in card
    assert "\n\n- Source:" in card


def test_the_flag_is_for_all_that_can_be_a_chat():
    flags = [(("apply_chat_template",), True), (("tasks", "capability", "apply_chat_template"), True)]
    spec = resolve_spec("quickstart", tasks=["toxicity", "capability"], flags=flags)
    assert spec.apply_chat_template is True
    assert spec.tasks["capability"]["apply_chat_template"] is True
    without = resolve_spec("quickstart", tasks=["toxicity"], flags=flags)
    assert without.apply_chat_template is True
    assert set(without.tasks) == {"toxicity"}
