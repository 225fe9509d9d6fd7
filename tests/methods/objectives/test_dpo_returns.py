"""Whatever happens in a training run, the model comes back whole."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.objectives.dpo import DPO

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Digest = Callable[[PreTrainedModel], str]
Surroundings = Callable[..., dict[str, Any]]
MakeRecorder = Callable[..., Any]
QUICK: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8}
"""Settings that teach a tiny model the planted preference in a second."""


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_everything_but_the_weights_comes_back_and_nothing_is_printed_or_left(
    planted: Planted,
    surroundings: Surroundings,
    tuning: Any,
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working, scratch = tmp_path / "working", tmp_path / "scratch"
    working.mkdir(), scratch.mkdir()
    monkeypatch.chdir(working)
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.pad_token = None
    tiny_model.config.pad_token_id = None
    before, names = surroundings(tiny_model, tokenizer), {name: w.clone() for name, w in tiny_model.named_parameters()}
    context = AlignmentContext(0, "tiny", scratch, held_out=planted(4, 9))
    report = DPO(tuning=tuning, **QUICK).align(tiny_model, tokenizer, planted(16), context=context)
    assert surroundings(tiny_model, tokenizer) == before
    assert "forward" not in vars(tiny_model)
    changed = {name for name, weight in tiny_model.named_parameters() if not torch.equal(weight, names[name])}
    assert set(report.changed) == changed != set()
    assert capfd.readouterr() == ("", "")
    assert not list(working.iterdir())


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_diverged_run_is_an_error_and_leaves_the_weights(
    planted: Planted,
    digest: Digest,
    surroundings: Surroundings,
    tuning: Any,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    model = make_model("llama")
    before, around = digest(model), surroundings(model, tiny_tokenizer)
    with pytest.raises(BenchError, match=r"diverged: .* is (nan|inf) at step \d+ of 8.*Lower learning_rate"):
        DPO(tuning=tuning, learning_rate=1e25, batch_size=2).align(model, tiny_tokenizer, planted(16), context=context)
    assert digest(model) == before
    assert surroundings(model, tiny_tokenizer) == around


def test_a_model_that_gives_no_numbers_is_not_blamed_on_the_learning_rate(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 5] = math.nan
    with pytest.raises(BenchError, match=r"is nan at step 1 of \d+, before anything was learnt.*--dtype") as error:
        DPO(batch_size=2).align(model, tiny_tokenizer, planted(16), context=context)
    assert "learning_rate" not in str(error.value)


def test_divergence_in_the_very_last_step_is_an_error() -> None:
    from bench.methods.training.watch import Watch, refuse_divergence

    sound, broken = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.tensor([1.0, math.inf]))
    watch = Watch(DPO(), lambda units: None)
    refuse_divergence(DPO(), watch, [sound])
    with pytest.raises(BenchError, match="no longer finite after the last step"):
        refuse_divergence(DPO(), watch, [sound, broken])


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_an_interrupted_run_leaves_the_weights(
    planted: Planted,
    digest: Digest,
    surroundings: Surroundings,
    make_recorder: MakeRecorder,
    tuning: Any,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    model = make_model("llama")
    before, around = digest(model), surroundings(model, tiny_tokenizer)
    context = AlignmentContext(0, "tiny", tmp_path, progress=make_recorder(interrupt_at=3))
    with pytest.raises(KeyboardInterrupt):
        DPO(tuning=tuning, **QUICK).align(model, tiny_tokenizer, planted(64), context=context)
    assert digest(model) == before
    assert surroundings(model, tiny_tokenizer) == around


@pytest.mark.parametrize(
    ("changes", "dtype", "message"),
    [
        ({"lora_target": ("q_prj",)}, torch.float32, "'q_prj' names no module of LlamaForCausalLM"),
        ({"lora_target": ("lm_head",)}, torch.float32, "lora_target cannot hold the output head 'lm_head'"),
        ({"lora_target": ("embed_tokens",)}, torch.float32, "model.embed_tokens and lm_head share one weight"),
        ({"tuning": "full"}, torch.bfloat16, "full tuning of bfloat16 weights"),
        ({}, torch.float16, "float16 weights lose small gradients"),
        ({"max_length": 6}, torch.float32, "fills max_length = 6"),
    ],
)
def test_what_the_weights_or_pairs_do_not_allow_is_refused_and_nothing_changes(
    planted: Planted,
    surroundings: Surroundings,
    changes: dict[str, Any],
    dtype: torch.dtype,
    message: str,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
) -> None:
    model = make_model("llama").to(dtype)
    before = surroundings(model, tiny_tokenizer)
    with pytest.raises(UsageError, match=message):
        DPO(**changes).align(model, tiny_tokenizer, planted(8), context=context)
    assert surroundings(model, tiny_tokenizer) == before


def test_a_merged_model_that_is_not_the_trained_one_is_refused(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = make_model("llama")
    first, second = (layer.self_attn for layer in model.model.layers)
    second.v_proj.weight = first.v_proj.weight
    with pytest.raises(BenchError, match="merged model is not the trained one.* two modules share") as error:
        DPO(**QUICK, epochs=8).align(model, tiny_tokenizer, planted(64), context=context)
    assert "set lora_target to other modules" in str(error.value)


def test_adapters_on_embeddings_that_nothing_shares_are_merged(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> None:
    model = make_model("llama", tie_word_embeddings=False)
    report = DPO(lora_target=("embed_tokens",), **QUICK).align(model, tiny_tokenizer, planted(16), context=context)
    assert report.changed == ("model.embed_tokens.weight",)
