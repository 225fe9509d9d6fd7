"""One contract that every registered method keeps, on tiny models of two families."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext, AlignmentMethod, PlannedAlignment

SMALL: dict[str, dict[str, Any]] = {
    **{
        name: {"rank": 1, "layers": "all"} for name in METHODS if name == "profs" or METHODS[name].control_of == "profs"
    },
    "dpo": {"max_steps": 2, "max_length": 64},
}
"""Settings that suit two layers and a few pairs; methods that are not named here take their defaults."""
PAIRS = tuple(
    PreferencePair(prompt=f"once there was {name}", chosen=f" who fed {count} hens", rejected=f" who hit {count} dogs")
    for count, name in enumerate(["Ann", "Bo", "Cy", "Dee", "Eve", "Flo", "Gus", "Hal"])
)
NEUTRAL = tuple(f"the town of {name} has a market, a mill and a bridge over the river" for name in "ABCDEFGHIJKLMNOPQR")

by_name = pytest.mark.parametrize("name", METHODS)


def method_named(name: str) -> AlignmentMethod:
    return METHODS[name](**SMALL.get(name, {}))


def align(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    scratch: Path,
    seed: int = 0,
    **diagnostics: Any,
) -> AlignmentReport:
    method = method_named(name)
    method.check(PlannedAlignment.of(model, len(PAIRS)))
    context = AlignmentContext(
        seed=seed,
        model_fingerprint="tiny",
        scratch=scratch,
        neutral=NEUTRAL if method.needs_neutral else (),
        **diagnostics,
    )
    return method.align(model, tokenizer, PAIRS, context=context)


def diagnostics() -> dict[str, Any]:
    """All that a method may look at and must not go by."""
    clean = tuple(pair.flipped() if row % 3 == 0 else pair for row, pair in enumerate(PAIRS))
    return {"held_out": PAIRS[:2], "clean": clean, "explain": True}


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def surroundings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """All that a method must leave as it was."""
    return {
        "modules": {name: (type(module), sorted(vars(module))) for name, module in model.named_modules()},
        "hooks": [
            name
            for name, module in model.named_modules()
            if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
        ],
        "modes": [module.training for module in model.modules()],
        "parameters": [
            (name, weight.dtype, weight.device, weight.requires_grad, weight.grad)
            for name, weight in model.named_parameters()
        ],
        "config": model.config.to_dict(),
        "generation": model.generation_config.to_dict(),
        "tokenizer": (tokenizer.special_tokens_map, tokenizer.padding_side, tokenizer.truncation_side, len(tokenizer)),
        "random": (torch.get_rng_state().tolist(), random.getstate(), str(numpy.random.get_state())),
    }


@by_name
def test_is_a_frozen_documented_value_that_survives_json(name: str) -> None:
    method = method_named(name)
    assert type(method).__doc__ not in (None, AlignmentMethod.__doc__)
    assert METHODS[name](**json.loads(method.model_dump_json())) == method
    with pytest.raises(ValidationError):
        METHODS[name](no_such_hyperparameter=1)
    for field in type(method).model_fields:
        with pytest.raises(ValidationError):
            setattr(method, field, getattr(method, field))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"check_pairs": lambda self, pairs, seed: None}, "Plugin has check_pairs of an"),
        ({"check_texts": lambda self, pairs, tokenizer: None}, "Plugin has check_texts of an"),
        (
            {
                "check": lambda self, model_config, n_pairs, *, dtype="float32", device="cpu": None,
                "check_pairs": lambda self, pairs, seed: None,
            },
            r"Plugin has check\(self, model_config, n_pairs, dtype, device\) and check_pairs of an",
        ),
    ],
)
def test_a_class_with_checks_that_nobody_would_call_is_refused(members: dict[str, Any], words: str) -> None:
    expected = f"{words} earlier version; move what is checked there into check\\(self, planned\\), where planned is"
    with pytest.raises(UsageError, match=expected) as caught:
        type("Plugin", (AlignmentMethod,), {"__module__": __name__, **members})
    assert "\n" not in str(caught.value)


def test_listing_and_making_methods_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.methods.base import METHODS; [METHODS[name]() for name in METHODS]; "
        "sys.exit(', '.join({'torch', 'transformers', 'trl', 'peft', 'lightning'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert done.returncode == 0


@pytest.mark.slow
def test_warming_up_imports_what_aligning_needs_and_leaves_the_random_state() -> None:
    code = """
import random, sys
import numpy, torch
from bench.methods.base import METHODS
state = lambda: (random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist())
before = state()
for name in METHODS:
    METHODS[name]().warm_up()
needed = {f"bench.methods.{name}" for name in (
    "training.trainers", "projection.embeddings", "projection.weights", "projection.subspace"
)}
missing = (needed | {"trl", "peft", "lightning"}) - set(sys.modules)
sys.exit(f"missing {missing}" if missing else 0 if state() == before else "random state changed")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


@by_name
def test_changes_the_weights_it_names_and_nothing_else(
    name: str, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    method_named(name).warm_up()  # a first import of Lightning draws random numbers
    before, around = weights(tiny_model), surroundings(tiny_model, tiny_tokenizer)
    report = align(name, tiny_model, tiny_tokenizer, tmp_path, **diagnostics())
    assert surroundings(tiny_model, tiny_tokenizer) == around
    parameters = {key for key, _ in tiny_model.named_parameters()}
    after = tiny_model.state_dict()
    assert {key for key in parameters if not torch.equal(after[key], before[key])} == set(report.changed)
    assert bool(report.changed) == (name != "base")
    assert all(weight.isfinite().all() for weight in tiny_model.parameters())
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


@by_name
def test_same_seed_same_weights(
    name: str, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    outcomes = []
    for attempt in range(2):
        model = make_model("llama")
        torch.manual_seed(attempt)
        align(name, model, tiny_tokenizer, tmp_path, seed=5)
        outcomes.append(weights(model))
    assert all(torch.equal(outcomes[0][key], outcomes[1][key]) for key in outcomes[0])


@by_name
def test_nothing_is_chosen_by_what_is_there_for_diagnostics(
    name: str, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    outcomes = []
    for given in ({}, diagnostics()):
        model = make_model("llama")
        align(name, model, tiny_tokenizer, tmp_path, **given)
        outcomes.append(weights(model))
    assert all(torch.equal(outcomes[0][key], outcomes[1][key]) for key in outcomes[0])


@by_name
def test_the_aligned_model_is_a_plain_checkpoint(
    name: str, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    align(name, tiny_model, tiny_tokenizer, tmp_path)
    tiny_model.save_pretrained(tmp_path / "saved")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    ids = torch.tensor([tiny_tokenizer("once there was a hen")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, tiny_model(ids).logits)


@by_name
def test_says_nothing_on_the_terminal(
    name: str,
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    align(name, make_model("llama"), tiny_tokenizer, tmp_path, **diagnostics())
    assert capfd.readouterr() == ("", "")
