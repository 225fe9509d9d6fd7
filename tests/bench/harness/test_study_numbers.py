"""What cells of a study share changes no number: each is, bit for bit, what it is alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.harness.directory import RunDirectory
from bench.harness.run import run, run_study
from bench.models.weights import WHOLE_MODEL
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study


def test_a_cell_of_a_study_is_what_it_is_alone(
    tmp_path: Path, own_home: Path, make_run: Callable[..., RunSpec]
) -> None:
    methods = {
        "profs": {"rank": 1, "layers": "all"},
        "dpo": {"learning_rate": 1e-3, "lora_rank": 2, "batch_size": 4, "max_length": 32},
    }
    spec = make_run(tmp_path, methods, pairs=16, texts=1, noise={"rates": [0.0, 0.25]}, seeds=[1])
    outcome = run_study(Study.of_run(spec))
    assert len(outcome.executed) == 1 + 2 * 2
    together = RunDirectory(spec.out).finished()
    for method in ("dpo", "profs"):  # the last of each, which found the most done already
        alone = spec.model_copy(
            update={
                "methods": {method: spec.methods[method]},
                "noise": spec.noise.model_copy(update={"rates": (0.25,), "clean_twin": False}),
                "out": tmp_path / method,
            }
        )
        assert len(run(alone).executed) == 2
        for cell_id, record in RunDirectory(alone.out).finished().items():
            assert together[cell_id].provenance[WHOLE_MODEL] == record.provenance[WHOLE_MODEL]
            assert together[cell_id].metrics == record.metrics
    hashes = {record.provenance[WHOLE_MODEL] for record in together.values()}
    assert len(hashes) == len(together)  # every cell has a model of its own
