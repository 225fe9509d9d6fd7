"""Environment variables that accelerate, transformers' Trainer and job launchers put before what is configured.

They would change what is trained behind a record's back: `ACCELERATE_MIXED_PRECISION=bf16`, say, as `accelerate launch`
leaves it in a shell, or `WORLD_SIZE=2`, for which a training waits for a second process or averages gradients with one
that trains something else. So training is done without them.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

SETTINGS = re.compile(
    r"(ACCELERATE|FSDP|MEGATRON_LM|PARALLELISM_CONFIG"
    r"|KUBEFLOW_TRAINER)_\w*"  # the last: where Trainer would send what it logs, `report_to="none"` or not
    r"|FORK_LAUNCHED|SM_FRAMEWORK_PARAMS|SM_HP_MP_PARAMETERS|SMDATAPARALLEL_LOCAL_RANK"
)
LAUNCHERS = re.compile(
    r"((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|NODE_RANK|NPROC|MASTER_(ADDR|PORT)|MPI_LOCALRANKID|MPI_LOCALNRANKS"
    r"|(TORCHELASTIC|PET|PMI|OMPI_COMM_WORLD|MV2_COMM_WORLD)_\w+"
)
"""Of torchrun (`PET_…` are its flags), MPI and what starts MPI's processes. Slurm's own, nobody here reads."""


def overriding(names: Iterable[str]) -> list[str]:
    """Those of `names` that are of variables which would override the configuration, in order."""
    return sorted(name for name in names if SETTINGS.fullmatch(name) or LAUNCHERS.fullmatch(name))


@contextmanager
def configuration_alone() -> Iterator[None]:
    """Take these variables out of the environment of this process; they are back afterwards."""
    aside = {name: os.environ.pop(name) for name in overriding(os.environ)}
    try:
        yield
    finally:
        os.environ.update(aside)
