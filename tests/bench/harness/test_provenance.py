"""Where a number came from: a checkout says its commit."""

from __future__ import annotations

import subprocess

import pytest

from bench.core.files import PACKAGE
from bench.harness.provenance import git_state


@pytest.mark.skipif(not (PACKAGE.parent / ".git").exists(), reason="not run from a checkout")
def test_a_checkout_says_its_commit() -> None:
    done = subprocess.run(
        ["git", "-C", str(PACKAGE.parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    state = git_state()
    assert state is not None and state["commit"] == done.stdout.strip()
