"""Writes a configuration for somebody's own model and pairs, once it is known that it could run."""

from pathlib import Path

import yaml

from bench.core.errors import UsageError
from bench.core.files import write_atomic
from bench.core.progress import Progress
from bench.harness.resolved import read_file_pairs, resolve_setting
from bench.spec.resolve import resolve_spec
from bench.spec.starter import starter_config
from bench.spec.study import Study


def write_starter(model: str, pairs: str, file: Path, progress: Progress) -> Study:
    """Write the configuration that `starter_config` makes.

    Returns:
        The study that the file asks for.

    Raises:
        UsageError: there is no such model, its pairs cannot be used, or the file is there already.
    """
    if file.exists():
        raise UsageError(f"{file} is there already; give another --out, or move it away")
    text = starter_config(model, pairs, file)
    study = Study.of_run(resolve_spec(str(file), settings=yaml.safe_load(text)))
    for specs in study.specs():
        setting = resolve_setting(specs)
        if setting.spec.pairs.source.startswith("file:"):
            read_file_pairs(setting, progress)
    write_atomic(file, text)
    return study
