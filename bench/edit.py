"""Align one model outside a benchmark and save it as a checkpoint that anything can load."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import UsageError
from bench.core.files import write_json
from bench.core.progress import Progress
from bench.devices import device_kind, resolve_device, resolve_dtype
from bench.models import resolve_model
from bench.overrides import assign, parse_assignment
from bench.provenance import provenance
from bench.validation import validated
from methods.base import METHODS, AlignmentContext, AlignmentMethod
from tasks.pairs import load_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def edit_model(
    locator: str,
    method_name: str,
    pairs_file: Path,
    out: Path,
    *,
    assignments: Sequence[str],
    seed: int,
    device: str,
    dtype: str,
    progress: Progress,
) -> Path:
    """Align a model with the pairs in a file and save it to a new folder.

    Arguments:
        locator: the model, as for `bench run --model`.
        method_name: a registered method.
        pairs_file: JSONL with prompt, chosen, rejected.
        out: a folder that does not exist yet, or is empty.
        assignments: `key=value` hyperparameters.
        seed: of everything random in the method.
        device, dtype: as for `bench run`.
        progress: where to show what is going on.

    Returns:
        The folder: weights in safetensors, tokenizer, generation config, and what was done, as `alignment.json`.

    Raises:
        UsageError: before any model is loaded, for everything that can be known by then.
        BenchError: the method could not align the model.
    """
    method = _method(method_name, assignments)
    _check_target(out)
    if not pairs_file.is_file():
        raise UsageError(f"no such pairs file: {pairs_file}")
    source = resolve_model(locator)
    device = resolve_device(device)
    dtype = resolve_dtype(dtype, device)
    source.fetch(progress)
    pool = load_pairs(f"file:{pairs_file}", progress, load_tokenizer=source.load_tokenizer)
    method.check(source.config(), len(pool.pairs), dtype=dtype, device=device)
    with progress.track("load the model", None):
        model, tokenizer = source.load(dtype=dtype, device=device)
    fingerprint = source.fingerprint()
    with tempfile.TemporaryDirectory(prefix="alignment-bench-") as scratch:
        context = AlignmentContext(
            seed=seed,
            model_fingerprint=f"{fingerprint}-{dtype}-{device_kind(device)}",
            scratch=Path(scratch),
            progress=progress,
        )
        report = method.align(model, tokenizer, pool.pairs, context=context)
    about = {
        "model": {"locator": source.locator, "revision": source.revision, "fingerprint": fingerprint, "dtype": dtype},
        "method": {"name": method_name, "config": method.model_dump(mode="json")},
        "data": {"n_pairs": len(pool.pairs), "pairs_sha256": pool.sha256, "seed": seed},
        "alignment": report.model_dump(mode="json"),
        "provenance": provenance(),
    }
    _save(model, tokenizer, about, out, progress)
    return out


def _method(name: str, assignments: Sequence[str]) -> AlignmentMethod:
    config: dict[str, Any] = {}
    for text in assignments:
        place, value = parse_assignment(text)
        config = assign(config, place, value)
    return validated(METHODS[name], config, name)


def _check_target(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; --out takes a new or empty folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out.parent}: {error.strerror}") from error


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    about: Mapping[str, Any],
    out: Path,
    progress: Progress,
) -> None:
    """Write a whole checkpoint or none: to a neighbour first, checked, then renamed."""
    with (
        progress.track("save the checkpoint", None),
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".edit-") as temporary,
    ):
        folder = Path(temporary) / "checkpoint"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / "alignment.json", about)
        check_saved(model, folder)
        if out.exists():
            out.rmdir()
        folder.rename(out)


def check_saved(model: PreTrainedModel, folder: Path) -> None:
    """Make sure that what was saved is what was aligned, bit for bit.

    Raises:
        RuntimeError: a tensor differs; names it.
    """
    import torch
    from safetensors import safe_open

    weights = model.state_dict()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a dict: iterating it is not supported
                if not torch.equal(stored.get_tensor(name), weights[name].cpu()):
                    raise RuntimeError(f"{name} in {path.name} differs from the aligned model's")
