"""A checkpoint that is written whole, proven to load as what was aligned, or not there at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_atomic
from bench.core.hashing import sha256_tensor
from bench.core.progress import Progress
from bench.models.checkpoint import quiet_transformers
from bench.models.weights import tensor_sha256s

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBE = "The weather was fine, so that they went to the market and bought"
"""What the loaded model is asked to continue, to see that it computes what the saved one did."""


CheckpointTraits = Mapping[str, Any]
"""All that a checkpoint has to keep, by what a message calls it."""


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
    from transformers import AutoTokenizer, GenerationConfig

    with (
        progress.track("save and check the checkpoint", None),
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".edit-") as temporary,
        quiet_transformers(),
    ):
        folder = Path(temporary) / "checkpoint"
        # For the work itself both were given a padding token if they had none.
        if (source / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(source)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
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
) -> CheckpointTraits:
    """What there is to compare of a model: every bit of its weights, and what it does with a short text."""
    import torch

    tokens = tokenizer(PROBE)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens], device=model.device)).logits
    generation: dict[str, Any] = model.generation_config.to_dict()
    authors = ("_from_model_config", "transformers_version")  # they say who wrote the settings
    return {
        "weights": tensor_sha256s(model) if tensors is None else tensors,
        "tokens of a short text": tokens,
        "chat template": tokenizer.chat_template,
        "logits of a short text": sha256_tensor(logits.reshape(-1)),
        "generation settings": {name: value for name, value in generation.items() if name not in authors},
    }


def check_saved(folder: Path, expected: CheckpointTraits, device: str) -> None:
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
    for what, before in expected.items():
        after = loaded[what]
        if before == after:
            continue
        if what == "weights":
            names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            what = f"weights ({len(names)} tensors, {names[0]} first)"
        raise BenchError(
            f"the saved checkpoint does not load as the model that was aligned: its {what} differ; nothing was "
            "kept. This is a bug here or in the installed transformers: please report it"
        )
