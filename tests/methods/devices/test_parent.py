"""Several devices train on the batches of one, in their order and at their worth, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport, PreferencePair
from bench.methods.base import METHODS, AlignmentContext, PlannedAlignment
from bench.methods.devices import launch
from bench.methods.devices.shares import Exchange, OwnShare, part_sizes
from bench.methods.objectives.dpo import DPO
from bench.methods.shared import SharedWork
from bench.methods.training.backoff import MemoryExhaustedError

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]
Digest = Callable[[PreTrainedModel], str]
Train = Callable[..., tuple[AlignmentReport, PreTrainedModel]]


@pytest.fixture
def train(
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
    planted: Planted,
    surroundings: Callable[..., dict[str, Any]],
    make_recorder: Callable[..., Any],
) -> Train:
    """Trains a fresh model; everything but its weights must be as it was."""

    def start(name: str, pairs: int, **settings: Any) -> tuple[AlignmentReport, PreTrainedModel]:
        model = make_model("llama")
        before = surroundings(model, tiny_tokenizer)
        recorder, folder = make_recorder(), context.scratch / "checkpoints"
        given = replace(
            context, held_out=planted(3, 9), shared=SharedWork(), progress=recorder, seed=5, checkpoints=folder
        )
        method: Any = METHODS[name](max_length=32, **settings)
        report = method.align(model, tiny_tokenizer, planted(pairs), context=given)
        assert surroundings(model, tiny_tokenizer) == before
        assert recorder.units[f"{name} training"] == report.details["steps"]
        assert any("writes no checkpoints" in note for note in recorder.notes) == (method.devices > 1)
        return report, model

    return start


def assert_alike(one: Any, other: Any) -> None:
    """Equal but for rounding, however deep the numbers are."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_alike(value, other[key])
    elif isinstance(one, list | float):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4)
    else:
        assert other == one


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        # 9 pairs an epoch are two batches and a pair, of which the second process has nothing
        ("dpo", {"learning_rate": 1e-2, "validation": 2, "evaluate_every": 4, "epochs": 2, "patience": 1}),
        # batches of unequal tokens, two to a step, and three rows in the last
        ("sft", {"learning_rate": 0.3, "tuning": "full", "optimizer": "sgd", "gradient_accumulation": 2}),
    ],
)
def test_two_devices_train_what_one_does(
    name: str, settings: dict[str, Any], train: Train, make_model: MakeModel, context: AlignmentContext
) -> None:
    alone, expected = train(name, 11, **settings)
    shared, found = train(name, 11, devices=2, **settings)
    untrained = dict(make_model("llama").named_parameters())
    for key, weight in expected.named_parameters():
        assert torch.allclose(weight, found.get_parameter(key), atol=1e-5), key
    assert not all(torch.allclose(weight, untrained[key], atol=1e-3) for key, weight in found.named_parameters())
    for part in ("curves", "held_out", "validation", "steps", "tokens", "memory_backoff", "trainable_parameters"):
        assert_alike(alone.details[part], shared.details[part])
    assert (shared.effort, shared.changed, shared.flags) == (alone.effort, alone.changed, alone.flags)
    assert alone.details["workers"] is None
    assert shared.details["workers"]["count"] == 2
    assert 0 < shared.details["workers"]["start_seconds"] < shared.details["train_seconds"]
    assert not list(context.scratch.glob("devices-*"))


def test_one_device_needs_nothing_of_it(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("parent", "launch", "handover", "shares", "worker"):
        monkeypatch.setitem(sys.modules, f"bench.methods.devices.{module}", None)
    report, _ = train("dpo", 4)
    assert report.details["workers"] is None


@pytest.mark.parametrize(
    ("rows", "parts", "sizes"), [(8, 2, [4, 4]), (5, 2, [3, 2]), (1, 3, [1, 0, 0]), (7, 4, [2, 2, 2, 1])]
)
def test_parts_of_a_batch(rows: int, parts: int, sizes: list[int]) -> None:
    assert part_sizes(rows, parts) == sizes


def test_shares_are_the_batches_of_one_device() -> None:
    loader = DataLoader(
        cast(Any, list(range(13))),
        batch_size=6,
        shuffle=True,
        generator=torch.Generator(),
        collate_fn=lambda rows: {"rows": rows},
    )
    sampler: Any = loader.sampler

    def batches(rank: int, parts: int) -> list[dict[str, Any]]:
        sampler.generator.manual_seed(1)
        return list(OwnShare(loader, rank, parts))

    whole = [batch["rows"] for batch in batches(0, 1)]
    shares = [batches(rank, 2) for rank in (0, 1)]
    assert [batch["part_sizes"] for batch in shares[0]] == [[3, 3], [3, 3], [1, 0]]
    joined = [
        [row for share in parts for row in share["rows"]][: sum(parts[0]["part_sizes"])]
        for parts in zip(*shares, strict=True)
    ]
    assert joined == whole
    assert sorted(row for batch in whole for row in batch) == list(range(13))


def test_accelerates_own_division_is_not_the_batches_of_one_device() -> None:
    """Why there is one of ours (docs/decisions/008): a process comes a step short, or pairs are trained on twice."""

    def division(rows: int, *, even: bool) -> list[list[list[int]]]:
        whole = BatchSampler(SequentialSampler(range(rows)), batch_size=4, drop_last=False)
        return [list(BatchSamplerShard(whole, 2, rank, split_batches=True, even_batches=even)) for rank in (0, 1)]

    assert division(9, even=False) == [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7]]]
    assert division(9, even=True) == [[[0, 1], [4, 5], [8, 0]], [[2, 3], [6, 7], [1, 2]]]
    assert division(11, even=False) == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10]]]


def test_a_row_that_counts_for_nothing_has_nothing_to_learn() -> None:
    labels = torch.tensor([[1, 2]])
    loader = DataLoader(cast(Any, [0]), batch_size=2, collate_fn=lambda rows: {"labels": labels.clone()})
    assert torch.equal(next(iter(OwnShare(loader, 0, 2)))["labels"], labels)
    assert next(iter(OwnShare(loader, 1, 2)))["labels"].tolist() == [[-100, -100]]


def test_what_counts_for_nothing_is_not_gathered() -> None:
    others = {1: [torch.tensor([7.0, 0.0]), torch.tensor([9.0, 0.0])], 0: [torch.tensor([7.0]), torch.tensor([9.0])]}

    def gather(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([values.reshape(-1), *others[values.dim()]])

    exchange = Exchange(gather)
    with exchange.of_shares([2, 1, 0]):
        assert exchange.gather(torch.tensor([1.0, 2.0])).tolist() == [1, 2, 7]
        assert exchange.gather(torch.tensor(4.0)).tolist() == [4, 7]
        with exchange.of_shares(()):
            assert exchange.gather(torch.tensor(4.0)).tolist() == 4
    assert exchange.gather(torch.tensor(4.0)).tolist() == [4, 7, 9]


@pytest.mark.parametrize(
    ("name", "settings", "device", "message"),
    [
        ("dpo", {"batch_size": 5}, "cpu", "devices is 2, which does not divide batch_size 5"),
        ("dpo", {"devices": 3, "batch_size": 3}, "cuda", "devices is 3, but 2 GPUs are visible"),
        ("dpo", {}, "cuda:1", "devices is 2, which begins at the first visible GPU, and the device is cuda:1"),
        ("dpo", {}, "mps", "but only CUDA GPUs and CPUs can share training"),
        ("dpo", {"loss": {"sigmoid": 1, "sft": 0.1}}, "cpu", "but its loss sft is a mean over the tokens of a whole"),
        ("dpo", {"loss": "aot"}, "cpu", "but its loss aot sorts the pairs of a whole batch; set devices to 1"),
        ("kto", {}, "cpu", "but it estimates a divergence on whole batches"),
        ("orpo", {}, "cpu", "but its likelihood term is a mean over the tokens of a whole batch"),
        ("simpo", {"sft_weight": 0.1}, "cpu", "but its likelihood term is a mean over the tokens of a whole batch"),
        (
            "dpo",
            {"devices": 1},
            "cuda",
            "several GPUs are visible and one is used; set CUDA_VISIBLE_DEVICES.*devices to 2",
        ),
    ],
)
def test_what_devices_cannot_share_is_refused_before_a_model_is_loaded(
    name: str,
    settings: dict[str, Any],
    device: str,
    message: str,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=f"^{name}: .*{message}") as caught:
        METHODS[name](**{"devices": 2, **settings}).check(
            PlannedAlignment(make_model("llama").config, 8, device=device)
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dpo", "cdpo", "sft", "simpo"])
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0"])
def test_what_devices_can_share_is_accepted(
    name: str, device: str, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    METHODS[name](devices=2).check(PlannedAlignment(make_model("llama").config, 8, device=device))


def test_too_little_memory_halves_every_share_and_then_is_an_error(
    train: Train, context: AlignmentContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.methods.devices import parent
    from bench.methods.devices.handover import read_job

    tried: list[Any] = []

    def exhaust(name: str, folder: Path, processes: int, advance: Callable[[float], None]) -> float:
        method = read_job(folder).make_method()
        tried.append((method.batch_size, method.gradient_accumulation, processes))
        raise MemoryExhaustedError(2)

    monkeypatch.setattr(parent, "run_job", exhaust)
    with pytest.raises(BenchError, match="dpo: out of memory at step 2 with one pair a forward pass"):
        train("dpo", 8, batch_size=8, devices=2)
    assert tried == [(8, 1, 2), (4, 2, 2), (2, 4, 2)]
    assert not list(context.scratch.glob("devices-*"))


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_after_an_interruption_the_model_is_as_it_was(
    tuning: str,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Planted,
    digest: Digest,
    surroundings: Callable[..., dict[str, Any]],
    context: AlignmentContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.methods.devices import parent

    def interrupt(*_: Any) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(parent, "run_job", interrupt)
    model = make_model("llama")
    before, around = digest(model), surroundings(model, tiny_tokenizer)
    with pytest.raises(KeyboardInterrupt):
        DPO(devices=2, tuning=cast(Any, tuning), max_length=32).align(
            model, tiny_tokenizer, planted(4), context=context
        )
    assert (digest(model), surroundings(model, tiny_tokenizer)) == (before, around)
    assert not list(context.scratch.glob("devices-*"))


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[float]]]:
    """Runs a script in the place of the launcher and gives the progress that it told."""

    def run(code: str, advance: Callable[[float], None] | None = None) -> list[float]:
        told: list[float] = []
        monkeypatch.setattr(launch, "command", lambda folder, processes: [sys.executable, "-c", code])
        launch.run_job("dpo", tmp_path, 2, advance or told.append)
        return told

    yield run


TELL = "open('progress.jsonl', 'w').write('{\"steps\": 0}\\n{\"steps\": 1}\\n')\n"
FAULT = (
    "import json\n"
    "def fault(rank, at, message, readable=False, memory=False):\n"
    "    told = dict(rank=rank, at=at, message=message, readable=readable, out_of_memory=memory, step=3)\n"
    "    json.dump(told, open(f'fault-{rank}.json', 'w'))\n"
)


def test_progress_is_passed_on(script: Callable[..., list[float]]) -> None:
    assert script(TELL) == [0, 1]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "fault(0, 2.0, 'RuntimeError: peer gone'); fault(1, 1.0, 'ValueError: bad row')",
            "process 1: ValueError: bad",
        ),
        ("fault(0, 1.0, 'dpo: training diverged', readable=True)", "^dpo: training diverged$"),
        ("print('what is wrong')", r"^dpo: training on 2 devices failed \(status 4\); the model is as it was. what is"),
        ("pass", "nothing was printed"),
    ],
)
def test_the_first_cause_of_a_failure_is_told(code: str, message: str, script: Callable[..., list[float]]) -> None:
    with pytest.raises(BenchError, match=message):
        script(f"{FAULT}{code}\nraise SystemExit(4)")


def test_too_little_memory_on_any_device_is_told(script: Callable[..., list[float]]) -> None:
    with pytest.raises(MemoryExhaustedError) as caught:
        script(f"{FAULT}fault(0, 1.0, 'peer gone'); fault(1, 2.0, 'out of memory', memory=True)\nraise SystemExit(1)")
    assert caught.value.step == 3


def test_an_interruption_ends_all_processes(script: Callable[..., list[float]], tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        f"open('pids', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n{TELL}time.sleep(60)\n"
    )

    def interrupt(units: float) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        script(code, interrupt)
    assert time.monotonic() - started < 20
    assert not any(psutil.pid_exists(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_the_launcher_is_asked_for_as_arguments_and_cannot_be_reconfigured(tmp_path: Path) -> None:
    command = launch.command(tmp_path, 3)
    assert command[:4] == [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    assert command[command.index("--num_processes") + 1] == "3"
    assert command[command.index("--config_file") + 1] == str(tmp_path / "accelerate.json")
    assert command[-3:] == ["--module", "bench.methods.devices.worker", str(tmp_path)]
    made = launch.environment({"PYTHONPATH": "there", "HOME": "home"})
    assert made["PYTHONPATH"].endswith(":there")
    assert (made["HOME"], made["HF_HUB_OFFLINE"]) == ("home", "1")


def test_the_package_of_the_worker_is_found_from_anywhere(tmp_path: Path) -> None:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('bench.methods.devices.worker') is None)"
    environment = launch.environment({})
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False).returncode == 0
