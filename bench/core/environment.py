"""Environment variables that accelerate, transformers' Trainer and job launchers put before what is configured.

They would change what is trained behind a record's back: `ACCELERATE_MIXED_PRECISION=bf16`, say, as `accelerate launch`
leaves it in a shell. So training is done without them.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

PREFIXES = (
    "ACCELERATE_",
    "FSDP_",
    "MEGATRON_LM_",
    "PARALLELISM_CONFIG_",
    "KUBEFLOW_TRAINER_",  # where Trainer would send what it logs, `report_to="none"` or not
)
NAMES = frozenset({"FORK_LAUNCHED", "SM_FRAMEWORK_PARAMS", "SM_HP_MP_PARAMETERS", "SMDATAPARALLEL_LOCAL_RANK"})


def overriding(names: Iterable[str]) -> list[str]:
    """Those of `names` that are of variables which would override the configuration, in order."""
    return sorted(name for name in names if name in NAMES or name.startswith(PREFIXES))


@contextmanager
def configuration_alone() -> Iterator[None]:
    """Take these variables out of the environment of this process; they are back afterwards."""
    aside = {name: os.environ.pop(name) for name in overriding(os.environ)}
    try:
        yield
    finally:
        os.environ.update(aside)
