"""Which commit of a hub data set is read: pinned for the default tasks, looked up once a process for any other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bench.core.errors import BenchError

PINNED: Mapping[str, str] = {
    "aps/super_glue": "3de24cf8022e94f4ee4b9d55a6f539891524d646",
    "nyu-mll/glue": "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    "Rowan/hellaswag": "218ec52e09a7e7462a5400043bb9a69a41d06b76",
    "allenai/winogrande": "01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    "allenai/ai2_arc": "210d026faf9955653af8916fad021475a3f00453",
    "allenai/openbookqa": "388097ea7776314e93a529163e0fea805b8a6454",
}
"""Where lm-eval's definitions of the default tasks read, at the commits that other evaluations pin too."""


def dataset_commit(repository: str, revision: str | None) -> str:
    """The commit that is read of a hub data set.

    Arguments:
        repository: "ORG/NAME" or "NAME".
        revision: a commit, branch or tag; None for the pinned commit, or for what `main` is now where none is pinned.

    Raises:
        BenchError: it can be looked up neither online nor in the hub's own cache.
    """
    if revision is None and repository in PINNED:
        return PINNED[repository]
    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    remedy = (
        f"go online once, or run `hf download --repo-type dataset {repository}` where there is a network and copy its "
        "cache (HF_HOME) here"
    )
    return branch_commit(repository, revision or "main", remedy)


@cache
def branch_commit(repository: str, branch: str, remedy: str) -> str:
    """What a branch or tag of a data set is now: asked of the hub, or of its cache when offline.

    Asked once a process, so that what a record says was read is what was read, should the branch move meanwhile.

    Arguments:
        remedy: what to do where neither knows.

    Raises:
        BenchError: neither knows.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        return str(HfApi().dataset_info(repository, revision=branch, timeout=20).sha)
    except Exception as error:  # offline, unknown, private: the cache may still know
        reference = Path(HF_HUB_CACHE) / f"datasets--{repository.replace('/', '--')}" / "refs" / branch
        if not reference.is_file():
            raise BenchError(
                f"cannot look up what '{branch}' of the hub data set {repository} is now ({type(error).__name__}), and "
                f"the hub's cache does not know it; {remedy}"
            ) from error
        return reference.read_text(encoding="utf-8").strip()
