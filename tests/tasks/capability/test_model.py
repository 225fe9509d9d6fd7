"""The model as lm-eval sees it, held against lm-eval's own on the same requests."""

import copy
import weakref

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM

from bench.core.errors import BenchError
from bench.core.passes.batching import BatchSize
from bench.core.passes.packing import can_pack
from bench.core.progress import Silent
from bench.tasks.capability import model as lm_eval_model
from bench.tasks.capability.model import InProcessModel

PAIRS = [
    ("Is it?", "y"),  # one token
    ("Is it?", "n"),  # another one after the same context: one pass for both
    ("Is it?", " yes, it certainly is"),
    ("The end ", "of it"),  # the space belongs to the answer
    ("", "nothing before it"),
    ("", "x"),
    ("too long " * 40, "y"),
    ("too long " * 40, " and an answer of several tokens"),
    ("exactly " * 31 + "as", " long"),
]

SHAPE = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
GROUPED = SHAPE | {"num_key_value_heads": 1}
FAMILIES = {
    "learned positions": ("gpt2", {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 256}),
    "learned positions, offset by two": ("opt", SHAPE | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "rotary": ("llama", GROUPED),
    "rotary, computed by hand": ("llama", GROUPED | {"attn_implementation": "eager"}),
    "rotary, parallel blocks": ("gpt_neox", SHAPE),
    "a window narrower than the questions": ("mistral", GROUPED | {"sliding_window": 8}),
    "a window wider than some": ("mistral", GROUPED | {"sliding_window": 50}),
    "a window in some layers": (
        "gemma3_text",
        GROUPED | {"head_dim": 16, "sliding_window": 50, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "a window of its own kind": (
        "gpt_neo",
        {
            "num_layers": 2,
            "num_heads": 2,
            "hidden_size": 32,
            "window_size": 8,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 256,
        },
    ),
    "linear biases": ("bloom", {"n_layer": 2, "n_head": 2, "hidden_size": 32}),
    "a state": ("mamba", {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}),
    "experts": ("mixtral", GROUPED | {"num_local_experts": 4, "sliding_window": None}),
}
PACKED = {
    "learned positions",
    "learned positions, offset by two",
    "rotary",
    "rotary, computed by hand",
    "rotary, parallel blocks",
    "a window wider than some",
    "a window in some layers",
    "experts",
}


@pytest.fixture
def make_family(tiny_tokenizer):
    """Makes a tiny model of `FAMILIES`, with weights so large that a wrong position or mask must show."""

    def make(family):
        kind, settings = FAMILIES[family]
        how, rest = settings.get("attn_implementation"), {**settings}
        rest.pop("attn_implementation", None)
        config = AutoConfig.for_model(
            kind, vocab_size=len(tiny_tokenizer), bos_token_id=1, eos_token_id=0, pad_token_id=0, **rest
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, **({"attn_implementation": how} if how else {}))
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(3)
        return model.eval()

    return make


@pytest.fixture
def bos_tokenizer(tiny_tokenizer):
    """Adds its beginning-of-sequence token by itself, as Gemma's does."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    start = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return tokenizer


def instances(pairs, kind="loglikelihood"):
    return [Instance(kind, {}, pair, index) for index, pair in enumerate(pairs)]


def agree(ours, theirs):
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("kind", ["tiny_tokenizer", "bos_tokenizer"])
def test_log_likelihoods_are_lm_evals(tiny_model, kind, packs, request, monkeypatch):
    """One token and several, no context, contexts longer than the window, with and without a first token added."""
    if not packs:
        monkeypatch.setattr(lm_eval_model, "can_pack", lambda model: False)
    tokenizer = request.getfixturevalue(kind)
    texts = [*PAIRS, (tokenizer.bos_token + "It begins", " here")]
    stock = HFLM(pretrained=tiny_model, tokenizer=copy.deepcopy(tokenizer), batch_size=1)
    theirs = stock.loglikelihood(instances(texts), disable_tqdm=True)
    for batch_size in (1, 3, 64):
        model = InProcessModel(tiny_model, tokenizer, batch_size, Silent())
        agree(model.loglikelihood(instances(texts)), theirs)
        assert model.truncated == 2


QUESTIONS = [
    (f"Question {number}: {'what is it ' * (number % 4 + 2)}", answer)
    for number in range(8)
    for answer in (" one", " another one", " none of these", " x", " y")
]


def test_a_common_context_is_read_once(make_model, tiny_tokenizer):
    """Five answers to one context: 26 tokens of it, and of the answers what none before has in common with them."""
    model, read = make_model("llama"), []
    ours = InProcessModel(model, tiny_tokenizer, 64, Silent())
    model.register_forward_pre_hook(
        lambda module, args, named: read.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    context = "A question of 26 letters: "
    ours.loglikelihood(instances([(context, answer) for answer in ("one", "one more", "other", "x", "y")]))
    assert len(context) == 26
    assert read == [(1, 26 + len("one mor") + len("the"))]


def test_long_batches_are_read_in_parts(make_model, tiny_tokenizer, monkeypatch):
    whole = InProcessModel(make_model("llama"), tiny_tokenizer, 64, Silent()).loglikelihood(instances(QUESTIONS))
    monkeypatch.setattr(lm_eval_model, "CPU_MOST_PACKED", 100)
    agree(InProcessModel(make_model("llama"), tiny_tokenizer, 64, Silent()).loglikelihood(instances(QUESTIONS)), whole)
    monkeypatch.setattr(lm_eval_model, "MOST_LOGITS", 1)
    agree(InProcessModel(make_model("llama"), tiny_tokenizer, 64, Silent()).loglikelihood(instances(QUESTIONS)), whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_models_agrees_with_lm_eval(family, make_family, tiny_tokenizer):
    model = make_family(family)
    assert can_pack(model) == (family in PACKED)
    stock = HFLM(pretrained=model, tokenizer=copy.deepcopy(tiny_tokenizer), batch_size=1)
    theirs = stock.loglikelihood(instances(QUESTIONS), disable_tqdm=True)
    for batch_size in (3, 64):
        agree(InProcessModel(model, tiny_tokenizer, batch_size, Silent()).loglikelihood(instances(QUESTIONS)), theirs)


def test_a_first_token_is_added_once(bos_tokenizer, make_model):
    model = InProcessModel(make_model("llama"), bos_tokenizer, 4, Silent())
    plain, _ = model._encode_pair("It begins", " here")
    written, _ = model._encode_pair(bos_tokenizer.bos_token + "It begins", " here")
    assert plain == written
    assert plain.count(bos_tokenizer.bos_token_id) == 1


def test_a_first_token_matters(make_model, tiny_tokenizer, bos_tokenizer):
    llama = make_model("llama")
    without, with_it = (
        InProcessModel(llama, tokenizer, 4, Silent()).loglikelihood(instances(PAIRS[:1]))[0][0]
        for tokenizer in (tiny_tokenizer, bos_tokenizer)
    )
    assert without != pytest.approx(with_it, abs=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_batches_of_1_and_64_agree(family, make_model, tiny_tokenizer):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 200, (96,), generator=generator).tolist()
    pairs = [("question " * (length // 9 + 1), " answer"[: 1 + length % 7]) for length in lengths]
    alone, together = (
        InProcessModel(make_model(family), tiny_tokenizer, size, Silent()).loglikelihood(instances(pairs))
        for size in (1, 64)
    )
    agree(together, alone)


def test_generation_is_lm_evals(make_model, tiny_tokenizer):
    model = make_model("gpt2")
    prompts = [(text, {"until": ["\n"], "max_gen_toks": 8}) for text in ("a", "a longer one", "b", "something else")]
    stock = HFLM(pretrained=model, tokenizer=copy.deepcopy(tiny_tokenizer), batch_size=1)
    theirs = stock.generate_until(instances(prompts, "generate_until"), disable_tqdm=True)
    for batch_size in (1, 3):
        ours = InProcessModel(model, tiny_tokenizer, batch_size, Silent())
        assert ours.generate_until(instances(prompts, "generate_until")) == theirs


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens"])
def test_cut_questions_are_counted_in_generation(make_model, tiny_tokenizer, name):
    """A window of 64 leaves 56 tokens for a question; each character is one."""
    ours = InProcessModel(make_model("gpt2", n_positions=64), tiny_tokenizer, 2, Silent())
    prompts = [("x" * length, {"until": ["\n"], name: 8}) for length in (3, 56, 57, 80)]
    ours.generate_until(instances(prompts, "generate_until"))
    assert ours.truncated == 2
    with pytest.raises(BenchError, match="has 64 tokens written, which leaves no room .* window of 64; set a smaller"):
        ours.generate_until(instances([("x", {"until": ["\n"], name: 64})], "generate_until"))


class Noted(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def exhaust(monkeypatch, most, held=None):
    """Memory runs out with more than `most` sequences; `held` gathers what the failed attempts had."""

    def check(n_sequences):
        if n_sequences > most:
            if held is not None:
                taken = torch.zeros(3)
                held.append(weakref.ref(taken))
            raise torch.OutOfMemoryError("no more")

    padded, packed = lm_eval_model.InProcessModel._model_call, lm_eval_model.InProcessModel._read_packed
    for name, real, sequences in (("_model_call", padded, 0), ("_read_packed", packed, 1)):

        def call(self, *args, real=real, sequences=sequences):
            check(len(args[sequences]))
            return real(self, *args)

        monkeypatch.setattr(lm_eval_model.InProcessModel, name, call)


@pytest.mark.parametrize("packs", [True, False])
def test_out_of_memory_halves_the_batch_and_changes_nothing(make_model, tiny_tokenizer, monkeypatch, packs):
    if not packs:
        monkeypatch.setattr(lm_eval_model, "can_pack", lambda model: False)
    gpt2, pairs = make_model("gpt2"), [(f"context {row}", " answer"[: 1 + row % 7]) for row in range(40)]
    whole = InProcessModel(gpt2, tiny_tokenizer, 64, Silent()).loglikelihood(instances(pairs))
    held, freed, progress = [], [], Noted()
    monkeypatch.setattr(
        "bench.core.passes.batching.free_memory", lambda device: freed.append(all(each() is None for each in held))
    )
    exhaust(monkeypatch, 7, held)
    size = BatchSize(64)
    agree(InProcessModel(gpt2, tiny_tokenizer, size, progress).loglikelihood(instances(pairs)), whole)
    assert freed
    assert all(freed)  # memory is given back when nothing holds what the failed attempt had
    assert "out of memory with" in progress.notes[-1]
    progress.notes.clear()
    agree(InProcessModel(gpt2, tiny_tokenizer, size, progress).loglikelihood(instances(pairs)), whole)
    assert progress.notes == []  # the next model begins with what fits


def test_out_of_memory_in_generation(make_model, tiny_tokenizer, monkeypatch):
    prompts = [("text " * row, {"until": ["\n"], "max_gen_toks": 3}) for row in range(1, 6)]
    gpt2 = make_model("gpt2")
    whole = InProcessModel(gpt2, tiny_tokenizer, 5, Silent()).generate_until(instances(prompts, "generate_until"))
    real = HFLM._model_generate

    def generate(self, context, **settings):
        if len(context) > 2:
            raise torch.OutOfMemoryError("no more")
        return real(self, context, **settings)

    monkeypatch.setattr(HFLM, "_model_generate", generate)
    small = InProcessModel(gpt2, tiny_tokenizer, 5, Silent()).generate_until(instances(prompts, "generate_until"))
    assert small == whole


def test_a_single_sequence_that_does_not_fit_is_named(make_model, tiny_tokenizer, monkeypatch):
    exhaust(monkeypatch, 0)
    with pytest.raises(BenchError, match="out of memory with a single question"):
        InProcessModel(make_model("gpt2"), tiny_tokenizer, 4, Silent()).loglikelihood(instances(PAIRS))


@pytest.mark.parametrize("pair", [("context", "answer" * 50), ("context", "")])
def test_an_answer_that_cannot_be_scored_is_named(make_model, tiny_tokenizer, pair):
    with pytest.raises(BenchError, match="of answer"):
        InProcessModel(make_model("gpt2"), tiny_tokenizer, 4, Silent()).loglikelihood(instances([pair]))
