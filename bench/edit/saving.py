"""A checkpoint that is written whole, proven to load as what was aligned, or not there at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_atomic
from bench.core.hashing import sha256_tensor
from bench.core.progress import Progress
from bench.models.checkpoint import quiet_transformers
from bench.models.weights import tensor_sha256s

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

PROBE = "The weather was fine, so that they went to the market and bought"
"""What the loaded model is asked to continue, to see that it computes what the saved one did."""


@dataclass(frozen=True)
class SavedBehaviour:
    """All that a checkpoint has to keep."""

    tensors: Mapping[str, str]
    """SHA-256 by name."""
    tokens: Sequence[int]
    """Of `PROBE`."""
    chat_template: Any
    logits: str
    """SHA-256 of the logits after each of the tokens."""
    generation: Mapping[str, Any]


def check_target(out: Path) -> None:
    """Make the folder that `out` is to stand in.

    Raises:
        UsageError: `out` exists and is not an empty folder, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; --out takes a new or empty folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out.parent}: {error.strerror}") from error


def save_checkpoint(
    model: PreTrainedModel,
    source: Path,
    out: Path,
    *,
    tensors: Mapping[str, str],
    documents: Mapping[str, str],
    copies: Sequence[Path],
    progress: Progress,
) -> None:
    """Write a whole checkpoint or none: to a neighbour first, checked, then renamed. Uses `model` UP: its weights are
    given back before they are loaded again, so that there is never more than one copy of them.

    Arguments:
        model: the aligned one.
        source: the folder of the model before: its tokenizer and generation settings are passed on as they were.
        out: where to; see `check_target`.
        tensors: hashes of the model's weights.
        documents: further text files, by name.
        copies: further files to copy.
        progress: shows the step.

    Raises:
        BenchError: what was written does not load as what was aligned; says in what it differs.
    """
    with (
        progress.track("save and check the checkpoint", None),
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".edit-") as temporary,
        quiet_transformers(),
    ):
        folder = Path(temporary) / "checkpoint"
        tokenizer = _keep_settings(model, source)
        expected = behaviour(model, tokenizer, tensors)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for path in copies:
            shutil.copyfile(path, folder / path.name)
        for name, text in documents.items():
            write_atomic(folder / name, text)
        for path in folder.iterdir():
            path.chmod(0o644)  # safetensors makes files that nobody else can read
        device = str(model.device)
        movable: Any = model  # transformers types this call only in part
        movable.to("meta")
        check_saved(folder, expected, device)
        if out.exists():
            out.rmdir()
        folder.rename(out)


def behaviour(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tensors: Mapping[str, str] | None = None
) -> SavedBehaviour:
    """What there is to compare of a model: every bit of its weights, and what it does with a short text."""
    import torch

    tokens = tokenizer(PROBE)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens], device=model.device)).logits
    return SavedBehaviour(
        tensors=tensor_sha256s(model) if tensors is None else tensors,
        tokens=tokens,
        chat_template=tokenizer.chat_template,
        logits=sha256_tensor(logits.reshape(-1)),
        generation=_settings(model.generation_config),
    )


def check_saved(folder: Path, expected: SavedBehaviour, device: str) -> None:
    """Load a checkpoint as anyone would and make sure that it is what was aligned.

    Arguments:
        folder: the checkpoint; no code in it is run.
        expected: the aligned model's.
        device: where that was, since arithmetic differs between devices.

    Raises:
        BenchError: they differ; names the first difference.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loader: Any = AutoModelForCausalLM  # transformers types these calls only in part
    loaded = behaviour(loader.from_pretrained(folder).to(device).eval(), AutoTokenizer.from_pretrained(folder))
    names = [
        name
        for name in {**expected.tensors, **loaded.tensors}
        if expected.tensors.get(name) != loaded.tensors.get(name)
    ]
    for what, differs in (
        (f"weights ({len(names)} tensors, {names[0]} first)" if names else "", bool(names)),
        ("tokens of a short text", loaded.tokens != expected.tokens),
        ("chat template", loaded.chat_template != expected.chat_template),
        ("logits of a short text", loaded.logits != expected.logits),
        ("generation settings", loaded.generation != expected.generation),
    ):
        if differs:
            raise BenchError(
                f"the saved checkpoint does not load as the model that was aligned: its {what} differ; nothing was "
                "kept. This is a bug here or in the installed transformers: please report it"
            )


def _keep_settings(model: PreTrainedModel, source: Path) -> PreTrainedTokenizerBase:
    """Give the model the generation settings that it came with; returns the tokenizer as it came.

    For the work itself both were given a padding token if they had none.
    """
    from transformers import AutoTokenizer, GenerationConfig

    if (source / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(source)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
    return tokenizer


def _settings(generation: GenerationConfig) -> Mapping[str, Any]:
    """Without what says who wrote them."""
    settings: dict[str, Any] = generation.to_dict()
    return {
        name: value for name, value in settings.items() if name not in ("_from_model_config", "transformers_version")
    }
