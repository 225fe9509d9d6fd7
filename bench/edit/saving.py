"""A checkpoint that is written whole, proven to load as what was aligned, or not there at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, UsageError, reason_of
from bench.core.files import kept_folder, write_atomic
from bench.core.hashing import sha256_tensor
from bench.core.progress import Progress
from bench.models.checkpoint import quiet_transformers
from bench.models.weights import tensor_sha256s

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

PROBE = "The weather was fine, so that they went to the market and bought"
"""What the loaded model is asked to continue, to see that it computes what the saved one did."""


CheckpointTraits = Mapping[str, Any]
"""All that a checkpoint has to keep, by what a message calls it."""


class KeptError(BenchError):
    """An aligned model could not be saved as asked; the message says where it is instead."""


@dataclass(frozen=True)
class PassedOn:
    """What a checkpoint has from the model before, as it came: for the work itself both are given a padding token."""

    tokenizer: PreTrainedTokenizerBase
    generation: GenerationConfig


def check_target(out: Path) -> None:
    """Make the folder that `out` is to stand in, and try whether something can be written there.

    Raises:
        UsageError: `out` exists and is not an empty folder, or cannot be written.
    """
    try:
        if out.is_symlink() and not out.exists():
            raise UsageError(
                f"{out} is a link to {out.readlink()}, which does not exist; --out takes a new or empty folder"
            )
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} exists already; --out takes a new or empty folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        is_new = not out.exists()
        out.mkdir(exist_ok=True)
        try:
            with tempfile.NamedTemporaryFile(dir=out) as probe:
                probe.write(bytes(1 << 16))
                probe.flush()
        finally:
            if is_new:
                out.rmdir()
    except OSError as error:
        raise UsageError(
            f"cannot write to {error.filename or out}: {error.strerror}; choose another folder with --out"
        ) from error


def folder_beside(out: Path) -> Path:
    """Where a checkpoint is written before it becomes `out`: on the same disk, and in `out` where that exists, since
    it may be a link or the root of a disk, in whose place nothing can be put."""
    return out if out.is_dir() else out.parent


def read_passed_on(folder: Path) -> PassedOn:
    """What a checkpoint passes on of the model in `folder`.

    Raises:
        UsageError: the generation settings there cannot be used; names the file.
    """
    from transformers import AutoTokenizer, GenerationConfig

    own = folder / "generation_config.json"
    source: dict[str, Any] = {} if own.is_file() else {"config_file_name": "config.json", "_from_model_config": True}
    reader: Any = GenerationConfig  # transformers types this call only in part
    with quiet_transformers():
        try:
            generation = reader.from_pretrained(folder, **source)
        except Exception as error:  # which depends on what is wrong with the file
            raise UsageError(
                f"the generation settings in {own if own.is_file() else folder / 'config.json'} cannot be passed on: "
                f"{reason_of(error)}; correct them"
            ) from error
        return PassedOn(AutoTokenizer.from_pretrained(folder), generation)


def write_checkpoint(
    model: PreTrainedModel,
    passed_on: PassedOn,
    folder: Path,
    *,
    documents: Mapping[str, str],
    copies: Sequence[Path],
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint that everybody can read; gives `model` the generation settings that are passed on.

    Arguments:
        folder: does not exist yet.
        documents: further text files, by name.
        copies: further files to copy.
        weights: in the place of the model's own.
    """
    model.generation_config = passed_on.generation
    model.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
    passed_on.tokenizer.save_pretrained(folder)
    for path in copies:
        shutil.copyfile(path, folder / path.name)
    for name, text in documents.items():
        write_atomic(folder / name, text)
    for path in folder.rglob("*"):  # safetensors makes files that nobody else can read
        path.chmod(0o755 if path.is_dir() else 0o644)


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
        model: the aligned one; on the meta device afterwards, unless it could not even be written.
        source: the folder of the model before: its tokenizer and generation settings are passed on as they were.
        out: where to; see `check_target`.
        tensors: hashes of the model's weights.
        documents, copies: as `write_checkpoint` has them.
        progress: shows the step.

    Raises:
        BenchError: what was written does not load as what was aligned, or cannot become `out`; says where it is.
        OSError and others: it could not be written; nothing of it is left, and the model is whole.
    """
    place = Path(tempfile.mkdtemp(dir=folder_beside(out), prefix=".edit-"))
    folder = place / "checkpoint"
    try:
        with progress.track("save and check the checkpoint", None), quiet_transformers():
            passed_on = read_passed_on(source)
            model.generation_config = passed_on.generation
            expected = behaviour(model, passed_on.tokenizer, tensors)
            write_checkpoint(model, passed_on, folder, documents=documents, copies=copies)
            device = str(model.device)
            movable: Any = model  # transformers types this call only in part
            movable.to("meta")
            try:
                check_saved(folder, expected, device)
                _move(folder, out)
            except Exception as error:
                raise KeptError(f"{reason_of(error)}; what was written is kept in {folder}") from error
    except KeptError:
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    place.rmdir()


def keep_weights(model: PreTrainedModel, out: Path, error: Exception) -> KeptError:
    """Put the weights of a model that could not be saved to `out` where they can be put, by the simplest means.

    Returns:
        What to raise: says what went wrong, and where the weights are.
    """
    if isinstance(error, KeptError):
        return error

    def write(folder: Path) -> None:
        from safetensors.torch import save_model

        save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})
        model.config.to_json_file(folder / "config.json")

    folder = kept_folder(out.parent, write)
    if folder is None:
        where = f"neither {out.parent} nor the folder for temporary files takes its weights, which are lost"
    else:
        where = f"its weights are kept in {folder}, without tokenizer and card; from_pretrained loads them"
    return KeptError(f"the aligned model could not be saved to {out}: {reason_of(error)}; {where}")


def _move(folder: Path, out: Path) -> None:
    """Make a checkpoint `out`; into a folder that is there it goes file by file, its configuration last."""
    if not out.is_dir():
        folder.rename(out)
        return
    others = [path for path in out.iterdir() if path != folder.parent]
    if others:
        raise BenchError(f"{out} is no longer empty: something wrote {others[0].name} to it meanwhile")
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "config.json"):
        path.rename(out / path.name)
    folder.rmdir()


def behaviour(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tensors: Mapping[str, str] | None = None
) -> CheckpointTraits:
    """What there is to compare of a model: every bit of its weights, and what it does with a short text."""
    import torch

    settings = settings_of(PassedOn(tokenizer, model.generation_config))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([settings["tokens of a short text"]], device=model.device)).logits
    return {
        "weights": tensor_sha256s(model) if tensors is None else tensors,
        **settings,
        "logits of a short text": sha256_tensor(logits.reshape(-1)),
    }


def settings_of(passed_on: PassedOn) -> CheckpointTraits:
    """The part of it that takes no weights."""
    generation: dict[str, Any] = passed_on.generation.to_dict()
    authors = ("_from_model_config", "transformers_version")  # they say who wrote the settings
    return {
        "tokens of a short text": passed_on.tokenizer(PROBE)["input_ids"],
        "chat template": passed_on.tokenizer.chat_template,
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
            f"the saved checkpoint does not load as the model that was aligned: its {what} differ. This is a bug here "
            "or in the installed transformers: please report it"
        )
