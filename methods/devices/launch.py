"""Starts processes that train together, through accelerate's launcher, and stays in charge of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.core.environment import overriding
from bench.core.errors import BenchError
from bench.core.files import PACKAGE, write_json
from bench.core.progress import Advance
from bench.methods.devices.handover import OUTPUT, PROGRESS, first_fault
from bench.methods.training.backoff import MemoryExhaustedError

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""That processes have to end by themselves when they are told to."""
CONFIGURATION = "accelerate.json"
"""Our own, so that a user's default one has no say in what is trained."""


def command(folder: Path, processes: int) -> list[str]:
    """Accelerate's launcher for a job; `multi_gpu` is its name for several processes, on a CPU as well."""
    options = {
        "--config_file": str(folder / CONFIGURATION),
        "--num_processes": str(processes),
        "--num_machines": "1",
        "--num_cpu_threads_per_process": "1",
        "--mixed_precision": "no",  # the trainer's settings decide
        "--dynamo_backend": "no",
        "--main_process_port": "0",  # any that is free
    }
    settings = [part for option in options.items() for part in option]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *settings]
    return [*launcher, "--module", "bench.methods.devices.worker", str(folder)]


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """That of this process without what would override the configuration, our packages importable and no hub."""
    root = str(PACKAGE.parent)
    paths = [root, *filter(None, [base.get("PYTHONPATH")])]
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    own = {name: base[name] for name in base.keys() - overriding(base)}
    return {**own, **offline, "PYTHONPATH": os.pathsep.join(paths)}


def run_job(name: str, folder: Path, processes: int, advance: Advance) -> float:
    """Have a job done, and tell `advance` the steps while they are taken.

    Arguments:
        name: of the method, for messages.
        folder: has the model and the job.
        processes: how many share the work.
        advance: told the steps.

    Returns:
        Seconds until the processes were ready to train.

    Raises:
        MemoryExhaustedError: a batch did not fit into the memory of one of them.
        BenchError: training failed; says what the first process to fail said.
    """
    write_json(folder / CONFIGURATION, {"distributed_type": "MULTI_GPU", "num_processes": processes})
    started, ready, done = time.perf_counter(), None, 0
    with _launched(command(folder, processes), folder) as launcher:
        while True:
            status = launcher.poll()  # before the progress, so that none is missed
            progress = _steps(folder / PROGRESS)
            if progress and ready is None:
                ready = time.perf_counter() - started
            for steps in progress[done:]:
                advance(steps)
            done = len(progress)
            if status is not None:
                break
            time.sleep(POLL_SECONDS)
    if status:
        _refuse(name, folder, processes, status)
    assert ready is not None
    return ready


@contextmanager
def _launched(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher that does not outlive the block, whatever ends it; nor do the processes that it started."""
    with (folder / OUTPUT).open("wb") as output:
        launcher = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,  # python -m would import from wherever this process happens to be
            env=environment(os.environ),
            start_new_session=True,  # Ctrl-C is for this process, which then ends the others
        )
        try:
            yield launcher
        finally:
            if launcher.poll() is None:
                _end(launcher)


def _end(launcher: subprocess.Popen[bytes]) -> None:
    """End a launcher and all that it started: politely, and then for certain."""
    started = psutil.Process(launcher.pid).children(recursive=True)
    launcher.terminate()
    try:
        launcher.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()
    for process in psutil.wait_procs(started, timeout=0)[1]:
        process.kill()
    psutil.wait_procs(started, timeout=GRACE_SECONDS)


def _steps(path: Path) -> list[float]:
    """What was said of the progress so far, whole lines alone."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line)["steps"] for line in lines]


def _refuse(name: str, folder: Path, processes: int, status: int) -> None:
    """Raise for a job that failed, for the first reason that a process gave."""
    fault = first_fault(folder)
    if fault is not None and fault.out_of_memory:
        raise MemoryExhaustedError(fault.step)
    if fault is not None and fault.readable:
        raise BenchError(fault.message)
    lines = [line for line in (folder / OUTPUT).read_text(errors="replace").splitlines() if line.strip()]
    reason = (lines or ["nothing was printed"])[-1] if fault is None else f"process {fault.rank}: {fault.message}"
    raise BenchError(
        f"{name}: training on {processes} devices failed (status {status}); the model is as it was. {reason.strip()}"
    )
