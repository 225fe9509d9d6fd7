"""Names that people bring from elsewhere, or write in another case, lead to ours."""

from __future__ import annotations

import pytest
import typer.main

from bench.cli.app import app
from bench.core.registry import unknown
from bench.core.suggestions import elsewhere_called, suggestion
from bench.methods.base import METHODS
from bench.spec.run_spec import RunSpec
from bench.tasks.base import TASKS


@pytest.mark.parametrize(
    ("kind", "name", "known", "message"),
    [
        ("method", "DPO", METHODS, "did you mean 'dpo'?"),
        ("method", "ProFS", METHODS, "did you mean 'profs'?"),
        ("method", "ipo", METHODS, "use dpo with --set methods.dpo.loss=ipo;"),
        ("task", "MMLU", TASKS, "use capability with --set tasks.capability.tasks=[mmlu] "),
        ("task", "ppl", TASKS, "did you mean 'perplexity'?"),
        ("noise model", "Flip_Near_Ties", ["flip-near-ties"], "did you mean 'flip-near-ties'?"),
    ],
)
def test_a_name_from_elsewhere_is_answered_with_ours(kind: str, name: str, known: list[str], message: str) -> None:
    assert message in str(unknown(kind, name, known))


def test_settings_of_other_tools_lead_to_fields_that_exist() -> None:
    fields = {field for cls in map(METHODS.__getitem__, ("profs", "dpo")) for field in cls.model_fields}
    fields |= {*RunSpec.model_fields, *TASKS["toxicity"].model_fields}
    assert suggestion("setting", "lr", fields) == "learning_rate"
    assert set(elsewhere_called("setting").values()) <= fields


def test_methods_and_tasks_of_other_tools_lead_to_some_that_exist() -> None:
    for kind, known in (("method", METHODS), ("task", TASKS)):
        for name, written in elsewhere_called(kind).items():
            assert name not in known
            assert written.partition(" ")[0].strip(",") in known


def test_flags_of_other_tools_are_none_of_any_command() -> None:
    group = typer.main.get_command(app)
    ours = {flag for command in commands(group) for parameter in command.params for flag in parameter.opts}
    assert not ours & elsewhere_called("flag").keys()
    named = {part for written in elsewhere_called("flag").values() for part in written.split() if part[:2] == "--"}
    assert named <= ours


def commands(command: object) -> list[object]:
    """A command and all below it."""
    return [command, *(inner for child in getattr(command, "commands", {}).values() for inner in commands(child))]
