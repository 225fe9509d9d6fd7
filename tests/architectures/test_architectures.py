"""Every causal language model that the installed transformers can make tiny: what works with right numbers, and what is
refused by a message. `make test-architectures` runs it and writes docs/run/architectures.md."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from bench.core.errors import BenchError
from bench.core.passes.padding import writing_batches
from bench.core.passes.skeleton import weightless_model
from bench.core.progress import Silent
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import AlignmentContext, AlignmentMethod, PlannedAlignment
from bench.methods.objectives.dpo import DPO
from bench.methods.projection.profs import ProFS
from bench.models.placed import PlacedModel, place_model
from bench.tasks.outputs.continuations import GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.outputs.losses import window_losses
from bench.tasks.outputs.windows import Window
from bench.tasks.texts.prompts import make_prompt

pytestmark = [
    pytest.mark.architectures,
    pytest.mark.filterwarnings("ignore"),  # of libraries, about single architectures
    pytest.mark.timeout(300),
]
PAGE = Path(__file__).parents[2] / "docs" / "run" / "architectures.md"
TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
SIZES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("sizes.yaml").read_text(encoding="utf-8"))
TINY: dict[str, Any] = {
    **{"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 512},
}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
LARGEST = 5_000_000
"""Parameters of a model that still counts as tiny."""
TEXTS = ["".join(chr(97 + (7 * index + 3 * place) % 26) for place in range(3 + 5 * index % 23)) for index in range(8)]
PAIRS = [
    PreferencePair(f"The {word} is", f" a calm thing of {index}.", f" a vile thing, {word}!")
    for index, word in enumerate(["house", "river", "street", "cat", "tree", "song"])
]
METHODS: dict[str, AlignmentMethod] = {
    "profs": ProFS(layers="all", rank=1),
    "dpo": DPO(max_steps=2, batch_size=2, max_length=128),
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    evaluate: str
    profs: str
    dpo: str


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[str, Row | None]]:
    """What was found by type, None where no tiny model could be made; written to the page once all types were tried."""
    found: dict[str, Row | None] = {}
    yield found
    if found.keys() == set(TYPES):
        PAGE.write_text(page(found), encoding="utf-8")


def tiny_model(model_type: str, vocabulary: int) -> PreTrainedModel | str:
    """A random model, weights large enough that what a token depends on shows; or why there is none."""
    settings = {**TINY, **SPECIAL, "vocab_size": vocabulary, **SIZES.get(model_type, {})}
    settings = {name: value for name, value in settings.items() if value is not None}
    try:
        config = AutoConfig.for_model(model_type, **settings)
        if config.is_encoder_decoder:
            return "encoder-decoder"
        size = sum(weight.numel() for weight in weightless_model(config).parameters())
        if size > LARGEST:
            return f"{size:,} parameters"
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config).float().eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1 and model_type not in ("rwkv", "xlstm"):
                    weight.mul_(8)
    except Exception as error:  # of any kind: configurations are checked by 150 classes
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return model


@pytest.mark.parametrize("model_type", TYPES)
def test_an_architecture_works_with_right_numbers_or_is_refused_by_a_message(
    model_type: str,
    rows: dict[str, Row | None],
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    model = tiny_model(model_type, len(tiny_tokenizer))
    rows[model_type] = None
    if isinstance(model, str):
        pytest.skip(f"no tiny model: {model}")
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    placed = place_model(f"file:{tmp_path / 'model'}", device="cpu", dtype="float32")
    found = {"evaluate": outcome(lambda: evaluate(placed))}
    for name, method in METHODS.items():
        context = AlignmentContext(seed=0, model_fingerprint=name, scratch=tmp_path)
        found[name] = outcome(lambda method=method, context=context: align(method, placed, context))
    rows[model_type] = Row(**found)


def outcome(work: Callable[[], str]) -> str:
    """What `work` says, or the message it refuses with; any other error is a fault and raised."""
    try:
        return work()
    except BenchError as error:
        assert any(word in str(error) for word in ("set ", "take ", "use ", "correct ")), str(error)
        return f"refused: {reason(str(error))}"


def evaluate(placed: PlacedModel) -> str:
    """Texts and losses at batch sizes 1 and 8, which must agree."""
    model, tokenizer = placed.load(Silent())
    windows = [Window(index, tuple(tokenizer(text)["input_ids"]), 1) for index, text in enumerate(TEXTS)]
    alone, together = (window_losses(model, windows, size, Silent()) for size in (1, 8))
    assert together == pytest.approx(alone, rel=1e-3)
    prompts, settings = [make_prompt(text) for text in TEXTS], GenerationSettings(max_new_tokens=5)
    one, other = (
        generate(model, tokenizer, prompts, settings, seed=0, batch_size=size, progress=Silent()) for size in (1, 8)
    )
    assert [text.tokens for text in one] == [text.tokens for text in other]
    return f"works, {writing_batches(model)}"


def align(method: AlignmentMethod, placed: PlacedModel, context: AlignmentContext) -> str:
    """An alignment, of which the first loss or what is left of the directions must be right."""
    model, tokenizer = placed.load(Silent())
    method.check(PlannedAlignment(model.config, len(PAIRS), pairs=PAIRS, tokenizer=tokenizer))
    report = method.align(model, tokenizer, PAIRS, context=context)
    assert report.changed and all(weight.isfinite().all() for weight in model.parameters())
    return f"works{_checked(method, report, model)}"


def _checked(method: AlignmentMethod, report: AlignmentReport, model: PreTrainedModel) -> str:
    details: dict[str, Any] = json.loads(json.dumps(report.details))
    if isinstance(method, ProFS):
        left = [matrix["left"] for layer in details["layers"] for matrix in layer["matrices"]]
        assert left and max(left) < 1e-5
        return ""
    loss = details["curves"]["loss"][0]
    if loss == pytest.approx(math.log(2), abs=1e-4):
        return ""
    config = model.config.get_text_config()
    assert hasattr(config, "num_experts_per_tok"), f"the first loss is {loss}, not ln 2"
    return ", experts: TRL's loss that balances them is added, or they are drawn at random"


def reason(message: str) -> str:
    """A message in a cell: without the list of an architecture's modules."""
    return message.partition("; known families")[0].partition("; modules")[0].replace("|", "/").replace("\n", " ")


def page(rows: dict[str, Row | None]) -> str:
    """The page's Markdown; the same message is written once, below the table."""
    made = {name: row for name, row in rows.items() if row is not None}
    messages: dict[str, int] = {}

    def cell(name: str, text: str) -> str:
        if not text.startswith("refused: "):
            return text
        general = re.sub(r"are [\d.e-]+ nats", "are … nats", text.replace(f"'{name}'", "'…'"))
        return f"refused [{messages.setdefault(general, len(messages) + 1)}]"

    lines = [
        f"| {name} | {cell(name, row.evaluate)} | {cell(name, row.profs)} | {cell(name, row.dpo)} |"
        for name, row in made.items()
    ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("transformers", "peft", "trl"))
    left_out = ", ".join(name for name, row in rows.items() if row is None)
    numbered = [f"{number}. {text.removeprefix('refused: ')}" for text, number in messages.items()]
    return f"""# Architectures

Written by `make test-architectures`: random models of two blocks in float32 on a CPU, with {packages}. *Works* means:

- **evaluate**: texts and losses are the same at batch sizes 1 and 8, in the batches that are named;
- **ProFS**: nothing of the removed directions is left in the matrices;
- **DPO**: training starts from ln 2, or from more where experts are balanced, and the merged model is the trained one.

What is refused is so before work, by a message below the table. How well real models of a type align is not said.

| type | evaluate | ProFS | DPO |
|---|---|---|---|
{chr(10).join(lines)}

{chr(10).join(numbered)}

Of {len(rows)} types that transformers lists as causal language models {len(made)} were tried. No tiny model was made of
these, which are encoder-decoders, parts of larger models, or not easily made small:

{left_out}
"""
