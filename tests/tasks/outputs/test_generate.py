from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from bench.core.errors import BenchError
from bench.core.passes.batching import BatchSize
from bench.core.progress import Advance, Silent
from bench.tasks.outputs.continuations import Continuation, GeneratedRow, GenerationSettings
from bench.tasks.outputs.generate import _continuation, generate, prompt_rows, write_rows
from bench.tasks.outputs.writer import Writer
from bench.tasks.texts.prompts import make_prompt

PROMPTS = [
    make_prompt(text) for text in ("You are", "I", "The whole of it was", "a much longer prompt than others, or so")
]
GREEDY = GenerationSettings(max_new_tokens=8)
SAMPLED = GenerationSettings(max_new_tokens=8, samples=3, temperature=1.0, top_p=0.9)


class Notes(Silent):
    """Keeps what is noted, and the units of work done."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0.0

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        def advance(units: float) -> None:
            self.done += units

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    settings: GenerationSettings,
    prompts: list[Any] = PROMPTS,
    *,
    seed: int = 0,
    batch_size: int = 3,
) -> list[Continuation]:
    return generate(model, tokenizer, prompts, settings, seed=seed, batch_size=batch_size, progress=Silent())


def likeliest_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, count: int) -> list[int]:
    """Greedy decoding as plainly as it can be written: no batch, no padding, no cache."""
    tokens = list(tokenizer(text)["input_ids"])
    start = len(tokens)
    for _ in range(count):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
    return tokens[start:]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_greedy_text_is_that_of_a_plain_loop(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, batch_size: int
) -> None:
    tiny_model.generation_config.eos_token_id = None
    tiny_tokenizer_eos = tiny_tokenizer.eos_token_id
    expected = [likeliest_tokens(tiny_model, tiny_tokenizer, prompt.text, 8) for prompt in PROMPTS]
    assert all(tiny_tokenizer_eos not in tokens for tokens in expected)
    found = write(tiny_model, tiny_tokenizer, GREEDY, batch_size=batch_size)
    assert [continuation.text for continuation in found] == [
        tiny_tokenizer.decode(tokens).rstrip("\ufffd") for tokens in expected
    ]
    assert [continuation.prompt_id for continuation in found] == [prompt.id for prompt in PROMPTS]
    assert {(continuation.n_tokens, continuation.ended) for continuation in found} == {(8, False)}


def test_samples_depend_neither_on_batches_nor_on_neighbours(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = write(tiny_model, tiny_tokenizer, SAMPLED, batch_size=64)
    assert write(tiny_model, tiny_tokenizer, SAMPLED, batch_size=1) == found
    assert write(tiny_model, tiny_tokenizer, SAMPLED, PROMPTS[::-1], batch_size=5) == [
        continuation for start in (9, 6, 3, 0) for continuation in found[start : start + 3]
    ]
    assert [(continuation.prompt_id, continuation.sample) for continuation in found] == [
        (prompt.id, sample) for prompt in PROMPTS for sample in range(3)
    ]


def test_samples_differ_from_each_other_and_between_seeds(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = [continuation.text for continuation in write(tiny_model, tiny_tokenizer, SAMPLED)]
    assert len(set(found)) == len(found)
    others = [continuation.text for continuation in write(tiny_model, tiny_tokenizer, SAMPLED, seed=1)]
    assert not set(found) & set(others)


def test_a_prompt_is_computed_once_for_all_of_its_samples(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    shapes: list[tuple[int, ...]] = []
    tiny_model.register_forward_pre_hook(
        lambda module, args, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    write(tiny_model, tiny_tokenizer, SAMPLED, batch_size=64)
    assert shapes == [(4, 39)] + [(12, 1)] * 7


@pytest.mark.parametrize("new_tokens", [1, 8])
@pytest.mark.parametrize("family", ["gpt2", "llama", "sliding"])
def test_samples_are_the_same_where_prompts_cannot_be_shared(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    new_tokens: int,
) -> None:
    if family == "sliding":
        config = MistralConfig(**{**make_model("llama").config.to_dict(), "sliding_window": 5})
        torch.manual_seed(0)
        model: PreTrainedModel = MistralForCausalLM(config).eval()
    else:
        model = make_model(family)
    settings = SAMPLED.model_copy(update={"max_new_tokens": new_tokens})
    shared = write(model, tiny_tokenizer, settings, batch_size=7)
    monkeypatch.setattr("bench.tasks.outputs.writer.is_plain", lambda cache: False)
    assert write(model, tiny_tokenizer, settings, batch_size=7) == shared


def test_a_model_that_keeps_more_of_a_prompt_than_keys_and_values_samples_too(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=len(tiny_tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    prompts = [make_prompt("as long"), make_prompt("as this")]
    model = MambaForCausalLM(config).eval()
    found = write(model, tiny_tokenizer, SAMPLED, prompts, batch_size=4)
    assert write(model, tiny_tokenizer, SAMPLED, prompts, batch_size=1) == found


def test_an_end_of_text_ends_the_text(tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = likeliest_tokens(tiny_model, tiny_tokenizer, "You are", 8)
    end = tokens[2]
    tiny_model.generation_config.eos_token_id = [end]
    found = write(tiny_model, tiny_tokenizer, GREEDY)[0]
    assert (found.n_tokens, found.ended) == (tokens.index(end), True)
    assert found.text == tiny_tokenizer.decode(tokens[: tokens.index(end)]).rstrip("\ufffd")


def test_a_model_that_ends_at_once_says_nothing(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_model.generation_config.eos_token_id = list(range(len(tiny_tokenizer)))
    found = write(tiny_model, tiny_tokenizer, GREEDY)
    assert {(continuation.text, continuation.n_tokens, continuation.ended) for continuation in found} == {("", 0, True)}


def test_the_models_own_generation_defaults_have_no_say(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    expected = write(tiny_model, tiny_tokenizer, GREEDY)
    defaults = tiny_model.generation_config
    defaults.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1, num_beams=2)
    before = defaults.to_dict()
    assert write(tiny_model, tiny_tokenizer, GREEDY) == expected
    assert tiny_model.generation_config is defaults
    assert defaults.to_dict() == before


def test_model_and_random_state_stay_as_they_are(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    expected = write(model, tiny_tokenizer, SAMPLED)
    model.train()
    state, config = torch.get_rng_state(), model.config.to_dict()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert write(model, tiny_tokenizer, SAMPLED) == expected  # dropout would have changed it
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.to_dict() == config
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    assert tiny_tokenizer.padding_side == "right"
    model(torch.tensor([[2, 3]])).logits.sum().backward()  # nothing cached in inference mode


def test_batches_are_halved_when_memory_runs_out(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write(tiny_model, tiny_tokenizer, SAMPLED)
    whole = tiny_model.generate
    shapes: list[tuple[int, int]] = []

    def limited(input_ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        if input_ids.numel() > 2 * (len(PROMPTS[-1].text) + 1):
            raise torch.OutOfMemoryError("no more")
        if settings["generation_config"].max_new_tokens > 1:  # else prompts are only read, to be continued later
            shapes.append(tuple(input_ids.shape))  # type: ignore[arg-type]
        tokens: torch.Tensor = whole(input_ids=input_ids, **settings)
        return tokens

    monkeypatch.setattr(tiny_model, "generate", limited)
    notes, size = Notes(), BatchSize(8)

    def run() -> list[Continuation]:
        return generate(tiny_model, tiny_tokenizer, PROMPTS, SAMPLED, seed=0, batch_size=size, progress=notes)

    assert run() == expected
    assert notes.notes[:2] == [
        "out of memory with 8 prompts of 39 tokens: going on with 4 at a time",
        "out of memory with 4 prompts of 39 tokens: going on with 2 at a time",
    ]
    assert notes.done == sum(rows for rows, _ in shapes) == len(expected)  # nothing was written twice
    assert shapes[0] == (2, 40)  # a prompt and the first token of two samples
    assert max(rows for rows, _ in shapes) > 2  # narrow rows share more
    noted = len(notes.notes)
    assert run() == expected
    assert len(notes.notes) == noted  # what fits is remembered, so memory does not run out again


def test_memory_too_small_for_one_prompt_is_an_error(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(**settings: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(tiny_model, "generate", exhausted)
    with pytest.raises(BenchError, match="out of memory with a single prompt of 39 tokens; free some"):
        write(tiny_model, tiny_tokenizer, GREEDY)


def test_an_observer_sees_the_logits_of_each_token_and_changes_nothing(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    seen: dict[int, list[torch.Tensor]] = {}
    rows = prompt_rows(tiny_tokenizer, PROMPTS, samples=1)
    plain, watched = (
        Writer(tiny_model, tiny_tokenizer, GREEDY, 0, observe=observe)
        for observe in (None, lambda row, logits: seen.setdefault(row.index, []).append(logits))
    )
    for writer in (plain, watched):
        assert write_rows(writer, rows, 3, Silent(), "write") == 3
    assert watched.written == plain.written
    for row in rows:
        tokens = [*row.tokens, *watched.written[row.index]]
        with torch.no_grad():
            expected = tiny_model(torch.tensor([tokens])).logits[0, len(row.tokens) - 1 : -1]
        assert len(seen[row.index]) > 1
        assert torch.allclose(torch.stack(seen[row.index]), expected, atol=1e-5)


def test_a_prompt_that_does_not_fit_the_window_is_named(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    prompt = make_prompt("x" * 250)
    assert write(tiny_model, tiny_tokenizer, GenerationSettings(max_new_tokens=6), [prompt])[0].n_tokens == 6
    with pytest.raises(BenchError, match=f"prompt {prompt.id} has 250 tokens"):
        write(tiny_model, tiny_tokenizer, GenerationSettings(max_new_tokens=7), [prompt])


def test_no_prompts_give_no_texts(tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert write(tiny_model, tiny_tokenizer, GREEDY, []) == []


def test_several_samples_need_a_temperature() -> None:
    with pytest.raises(ValidationError, match="set a temperature above 0"):
        GenerationSettings(samples=2)


def test_the_leading_space_is_kept_where_the_tokenizer_drops_it() -> None:
    backend = Tokenizer(models.WordLevel({"▁You": 0, "▁are": 1, "▁odd": 2}, unk_token="▁odd"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert tokenizer.decode([1, 2]) == "are odd"
    assert _continuation(GeneratedRow(0, "id", 0, [0]), [1, 2], tokenizer, frozenset()).text == " are odd"


def test_half_a_character_at_the_end_is_left_out(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    prompt, whole = tiny_tokenizer("caf")["input_ids"], tiny_tokenizer("é!é")["input_ids"]
    assert _continuation(GeneratedRow(0, "id", 0, prompt), whole[:-1], tiny_tokenizer, frozenset()).text == "é!"
    assert _continuation(GeneratedRow(0, "id", 0, prompt), whole, tiny_tokenizer, frozenset()).text == "é!é"
