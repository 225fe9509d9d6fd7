"""A planted optimum is found, from noisy training pairs alone, and no trial is ever paid for twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import optuna
import pytest
import torch
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_file
from bench.core.progress import Silent
from bench.core.values import AlignmentReport, PreferencePair
from bench.harness.cells import plan_draws
from bench.harness.run import make_pairs
from bench.methods.base import METHODS, AlignmentContext, AlignmentMethod, PlannedAlignment
from bench.spec.resolve import resolve_spec
from bench.spec.run_spec import build_methods, hyperparameters
from bench.spec.tuned_rows import model_fingerprint
from bench.tasks.preferences.draw import prepare_preferences
from bench.tune.objective import CRITERION
from bench.tune.request import resolve_tuning
from bench.tune.search import SearchResult, Tuning, search_hyperparameters
from bench.tune.space import SPACES, SearchSpace, Span, Stretch, check_space, default_space, read_space
from bench.tune.trials import Trial

pytestmark = pytest.mark.slow

PEAK = 0.7
METHOD = "test-hush"


class Hush(AlignmentMethod):
    """Makes the letter Z less likely everywhere, the more so the nearer `volume` is to the planted optimum."""

    volume: float = 0.0
    broken: bool = False
    mode: Literal["plain", "fancy"] = "plain"

    seen: ClassVar[list[tuple[float, Sequence[PreferencePair], AlignmentContext]]] = []
    interrupt_at: ClassVar[int | None] = None

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        self.seen.append((self.volume, tuple(pairs), context))
        if len(self.seen) == Hush.interrupt_at:
            raise KeyboardInterrupt
        if self.broken:
            raise BenchError("broken as asked")
        z = model.transformer.wte.weight[tokenizer.convert_tokens_to_ids("Z")]
        with torch.no_grad():
            model.transformer.ln_f.bias -= 2 * max(0.0, 1 - (self.volume - PEAK) ** 2) * z / z.square().sum()
        return AlignmentReport(changed=("transformer.ln_f.bias",), flags=("hushed",))


Hush.__module__ = "hush"  # this module goes by different names in different processes


@pytest.fixture(autouse=True)
def hush() -> Iterator[None]:
    with METHODS.temporarily(METHOD, Hush):
        yield
    Hush.seen.clear()
    Hush.interrupt_at = None


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, save_model: Callable[..., Path]) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), "gpt2")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> dict[str, Any]:
    """A configuration, and a space file beside it."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    rows = [{"prompt": f"say {i} ", "chosen": f"kind {i}", "rejected": f"ZZ{i}ZZ"} for i in range(30)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "evaluate this"}) + "\n")
    (tmp_path / "space.yaml").write_text("volume: {low: -3, high: 3}\n")
    return {
        "model": f"file:{model_folder}",
        "dtype": "float32",
        "device": "cpu",
        "methods": {METHOD: {"volume": -1.5}, "profs": {"rank": 1, "layers": "all"}, "profs-random": {}},
        "pairs": {"source": f"file:{tmp_path / 'pairs.jsonl'}", "held_out": 2, "exclude": []},
        "noise": {"rates": [0.2]},
        "tasks": {"toxicity": {"prompts": f"file:{tmp_path / 'prompts.jsonl'}", "scorer": "linear"}},
        "out": str(tmp_path / "run"),
    }


@pytest.fixture
def request_(settings: dict[str, Any], tmp_path: Path) -> Callable[..., Tuning]:
    """`request_(row=…, space=…, changes={…}, …)`: the search that such a command line asks for."""

    def make(
        row: str = METHOD,
        *,
        trials: int = 3,
        space: str | None = None,
        defaults: bool = False,
        changes: Mapping[str, Any] | None = None,
        validation: float = 0.25,
        assignments: Sequence[str] = (),
        max_perplexity_rise: float | None = None,
    ) -> Tuning:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**settings, **(changes or {})}))
        if space is not None:
            (tmp_path / "space.yaml").write_text(space)
        return resolve_tuning(
            row,
            str(tmp_path / "config.yaml"),
            space_file=None if defaults else tmp_path / "space.yaml",
            trials=trials,
            validation=validation,
            max_perplexity_rise=max_perplexity_rise,
            assignments=assignments,
            out=tmp_path / "tuned",
        )

    return make


def search(tuning: Tuning) -> SearchResult:
    return search_hyperparameters(tuning, progress=Silent())


def optuna_study(folder: Path) -> optuna.Study:
    """What optuna itself makes of the file."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "trials.journal"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


def timeless(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    return [trial.model_dump(exclude={"seconds"}) for trial in trials]


def test_finds_the_planted_optimum(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    tuned = search(request_(trials=20))
    configured = tuned.trials[0]
    assert configured.settings == {"volume": -1.5}
    assert tuned.best.settings["volume"] == pytest.approx(PEAK, abs=0.3)
    assert tuned.best.proven
    assert tuned.best.gain is not None
    assert configured.gain == 0  # two volumes away from the peak, the method does nothing at all
    assert tuned.best.gain > 0.05
    assert tuned.best.flags == ("hushed",)
    study = optuna_study(tmp_path / "tuned")
    assert [row.value for row in study.trials] == [trial.sure for trial in tuned.trials]
    assert all(row.user_attrs["gain"] is not None and row.user_attrs["state"] == "done" for row in study.trials)
    assert study.best_trial.number == tuned.best.number
    assert study.best_params["volume"] == pytest.approx(tuned.best.settings["volume"], rel=1e-2)


def test_the_winner_is_a_configuration_that_says_how_it_was_found(
    request_: Callable[..., Tuning], settings: dict[str, Any], tmp_path: Path
) -> None:
    tuned = search(request_(trials=6))
    text = tuned.config.read_text()
    header = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    assert f"`{METHOD}` tuned by bench tune: 6 trials" in header
    assert "7 of 28 training pairs" in header
    assert "flip 0.2, seed 0" in header
    assert "NOT PROVEN" not in header
    spec = resolve_spec(str(tuned.config))
    assert getattr(build_methods(spec)[METHOD], "volume") == tuned.best.settings["volume"]  # noqa: B009 - a subclass's
    stated = {
        "trials": 6,
        "seconds": round(sum(trial.seconds for trial in tuned.trials), 1),
        "gain": tuned.best.gain,
        "stderr": tuned.best.stderr,
        "criterion": CRITERION,
        "validation_pairs": 7,
        "noise": 0.2,
        "model": settings["model"],
        "model_fingerprint": model_fingerprint(settings["model"]),
        "pairs": settings["pairs"]["source"],
        "pairs_fingerprint": sha256_file(tmp_path / "pairs.jsonl"),
    }
    winner = {METHOD: {**tuned.best.settings, "tuned": stated}}
    methods, out = {**settings["methods"], **winner}, str(tmp_path / "tuned" / "run")
    assert yaml.safe_load(text) == {**settings, "methods": methods, "out": out}


def test_the_winner_of_the_quickstart_on_other_models_and_pairs_is_theirs_alone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    flags = [(["model"], settings["model"]), (["pairs"], settings["pairs"]), (["device"], "cpu")]
    tuning = resolve_tuning(
        "profs",
        "quickstart",
        flags=flags,
        assignments=["pairs.exclude=[]", f"tasks.toxicity.prompts={settings['tasks']['toxicity']['prompts']}"],
        trials=2,
        validation=0.25,
        out=tmp_path / "tuned",
    )
    config = search(tuning).config
    written = yaml.safe_load(config.read_text())
    assert written["out"] == str(tmp_path / "tuned" / "run")
    assert written["methods"]["dpo"] == {}
    assert written["methods"]["profs"]["tuned"]["trials"] == 2
    spec = resolve_spec(str(config))
    assert not spec.notes
    assert spec.model == settings["model"]
    assert hyperparameters(spec.methods["profs"]) == search(tuning).best.settings


def test_controls_take_after_the_winner(request_: Callable[..., Tuning]) -> None:
    tuned = search(request_("profs", defaults=True, trials=4))
    assert yaml.safe_load(tuned.config.read_text())["methods"]["profs-random"] == {}
    methods = resolve_spec(str(tuned.config)).methods
    assert dict(methods["profs-random"]) == hyperparameters(methods["profs"]) == dict(tuned.best.settings)
    assert methods["profs"]["tuned"]["trials"] == 4
    assert all(trial.state in ("done", "repeated") for trial in tuned.trials)


def test_an_interrupted_search_comes_to_what_it_would_have_come_to(
    request_: Callable[..., Tuning], tmp_path: Path
) -> None:
    whole = search(request_(trials=12))
    (tmp_path / "tuned" / "trials.journal").unlink()
    Hush.seen.clear()
    Hush.interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        search(request_(trials=12))
    assert len(optuna_study(tmp_path / "tuned").trials) == 3
    resumed = search(request_(trials=12))
    assert len(Hush.seen) == 12 + 1
    assert timeless(resumed.trials) == timeless(whole.trials)


def test_the_same_command_again_spends_nothing_and_more_trials_only_the_missing(
    request_: Callable[..., Tuning],
) -> None:
    first = search(request_(trials=3))
    assert len(Hush.seen) == 3
    again = search(request_(trials=3))
    assert len(Hush.seen) == 3
    assert again.trials == first.trials
    more = search(request_(trials=5))
    assert len(Hush.seen) == 5
    assert more.trials[:3] == first.trials
    assert len(search(request_(trials=2)).trials) == 5


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_search as here
from pathlib import Path
from bench.tune.request import resolve_tuning
here.METHODS.register(here.METHOD)(here.Hush)
align = here.Hush.align
def kill(self, *arguments, **named):
    if len(self.seen) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return align(self, *arguments, **named)
here.Hush.align = kill
folder = Path(sys.argv[2])
here.search(resolve_tuning(here.METHOD, str(folder / "config.yaml"), space_file=folder / "space.yaml", trials=4,
                           validation=0.25, out=folder / "tuned"))
"""


def test_a_killed_search_keeps_what_was_finished(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    tuning = request_(trials=4)
    arguments = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "tuned").iterdir()] == ["trials.journal"]
    assert len(optuna_study(tmp_path / "tuned").trials) == 2
    tuned = search(tuning)
    assert len(Hush.seen) == 2
    assert len(tuned.trials) == 4


def test_trials_see_noisy_training_pairs_and_nothing_clean(
    request_: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench.tune.objective

    judged: list[PreferencePair] = []
    tokenize = bench.tune.objective.tokenize_pairs

    def watch(pairs: Sequence[PreferencePair], *arguments: Any, **named: Any) -> Any:
        judged.extend(pairs)
        return tokenize(pairs, *arguments, **named)

    monkeypatch.setattr(bench.tune.objective, "tokenize_pairs", watch)
    tuning = request_(trials=2, changes={"noise": {"rates": [0.5]}})
    search(tuning)
    (draw,) = plan_draws(tuning.spec)
    pairs = prepare_preferences(make_pairs(tuning.spec), draw).pairs
    fit = Hush.seen[0][1]
    assert len(judged) == 7
    assert sorted([*fit, *judged], key=repr) == sorted(pairs, key=repr)
    wrong = [pair for pair in judged if "Z" in pair.chosen]
    assert 0 < len(wrong) < 7
    assert {pair.prompt for pair in fit}.isdisjoint({pair.prompt for pair in judged})
    for _, pairs, context in Hush.seen:
        assert pairs == fit
        assert not context.held_out
        assert not context.clean
        assert not context.explain


def test_nothing_is_evaluated(request_: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prepare", "evaluate"):
        monkeypatch.setattr(
            f"bench.tasks.toxicity.task.Toxicity.{name}", lambda *_, **__: pytest.fail("a task was run")
        )
    assert search(request_(trials=2)).best.gain is not None


def test_pairs_of_evaluation_prompts_are_refused(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "say 3"}) + "\n")
    with pytest.raises(UsageError, match="1 of the prompts .* are also evaluation prompts"):
        search(request_())


def test_failed_trials_are_kept_and_do_not_win(request_: Callable[..., Tuning]) -> None:
    space = "broken: [false, true]\nvolume: {low: 0.5, high: 0.9}\n"
    tuned = search(request_(trials=8, space=space))
    failed = [trial for trial in tuned.trials if trial.state == "failed"]
    assert 0 < len(failed) < 8
    assert {trial.error for trial in failed} == {"broken as asked"}
    assert all(trial.gain is None and trial.settings["broken"] for trial in failed)
    assert tuned.best.settings["broken"] is False
    assert f"{len(failed)} failed" in tuned.config.read_text()


def test_a_setting_that_costs_too_much_perplexity_does_not_win(
    request_: Callable[..., Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prose = "".join(
        json.dumps({"text": f"Z {index} is a letter of the Latin alphabet, ZZ are two."}) + "\n" for index in range(40)
    )
    (tmp_path / "prose.jsonl").write_text(prose)
    pairs = {"source": f"file:{tmp_path / 'pairs.jsonl'}", "held_out": 2, "exclude": []}
    changes = {"pairs": {**pairs, "neutral": f"file:{tmp_path / 'prose.jsonl'}"}}
    free = search(request_(trials=12, changes=changes))
    assert all(trial.perplexity_rise is None for trial in free.trials)
    shutil.rmtree(tmp_path / "tuned")
    bounded = search(request_(trials=12, changes=changes, max_perplexity_rise=0.02))
    rises = [trial.perplexity_rise for trial in bounded.trials]
    assert [trial.over_bound for trial in bounded.trials] == [rise is not None and rise > 0.02 for rise in rises]
    over = [trial for trial in bounded.trials if trial.over_bound]
    assert any(trial.gain is not None and trial.gain > (bounded.best.gain or 0) for trial in over)
    assert not bounded.best.over_bound
    note = yaml.safe_load(bounded.config.read_text())["methods"][METHOD]["tuned"]
    assert note["max_perplexity_rise"] == 0.02
    assert note["perplexity_rise"] == bounded.best.perplexity_rise
    assert f"{len(over)} of 12 trials raise it by more" in " ".join(bounded.config.read_text().split("\n# "))
    with pytest.raises(UsageError, match="perplexity_bound"):
        search(request_(trials=12, changes=changes, max_perplexity_rise=0.5))


def test_a_bound_that_no_trial_keeps_is_said(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    (tmp_path / "prose.jsonl").write_text(
        "".join(json.dumps({"text": f"ZZ{index}ZZ ZZ"}) + "\n" for index in range(40))
    )
    pairs = {"source": f"file:{tmp_path / 'pairs.jsonl'}", "held_out": 2, "neutral": f"file:{tmp_path / 'prose.jsonl'}"}
    fixed = [f"methods.{METHOD}.volume={PEAK}"]
    with pytest.raises(BenchError, match=r"no trial of 2 stays within the bound on perplexity; the least rise was \d"):
        search(
            request_(
                trials=2,
                space="mode: [plain, fancy]\n",
                changes={"pairs": pairs},
                assignments=fixed,
                max_perplexity_rise=1e-6,
            )
        )


def test_a_search_in_which_all_fails_says_why(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="none of 3 trials succeeded; the last one: broken as asked"):
        search(request_(assignments=[f"methods.{METHOD}.broken=true"]))
    assert not (tmp_path / "tuned" / "best.yaml").exists()


def test_a_trial_is_checked_with_texts_and_tokenizer_before_it_costs_anything(
    request_: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: Hush, planned: PlannedAlignment) -> None:
        if planned.tokenizer is not None and planned.pairs:  # when tuning methods try to merge their adapters
            raise UsageError("adapters cannot be merged")

    monkeypatch.setattr(Hush, "check", check)
    monkeypatch.setattr("bench.models.placed.PlacedModel.load", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(BenchError, match="none of 3 trials succeeded; the last one: adapters cannot be merged"):
        search(request_())


def test_what_every_trial_needs_is_no_failure_of_the_first(
    request_: Callable[..., Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise BenchError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr("bench.models.sources.ModelSource.load", fail)
        with pytest.raises(BenchError, match="the disk is gone"):
            search(request_())
    assert not (tmp_path / "tuned").exists()
    assert search(request_()).best.gain is not None


def test_a_model_that_no_longer_speaks_is_a_failure(
    request_: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruin(self: Hush, model: Any, *_: Any, **__: Any) -> AlignmentReport:
        with torch.no_grad():
            model.transformer.ln_f.bias.fill_(float("nan"))
        return AlignmentReport(changed=("transformer.ln_f.bias",))

    monkeypatch.setattr(Hush, "align", ruin)
    with pytest.raises(BenchError, match="no finite probability"):
        search(request_())


def test_equal_settings_are_tried_once(request_: Callable[..., Tuning]) -> None:
    tuned = search(request_(trials=9, space="mode: [plain, fancy]\n"))
    assert len(Hush.seen) == 2
    repeated = [trial for trial in tuned.trials if trial.state == "repeated"]
    assert len(repeated) == 7
    assert all(trial.seconds == 0 for trial in repeated)
    assert tuned.best.number == 0  # of equals the first
    assert "7 repeated" in tuned.config.read_text()


def test_a_gain_that_may_be_chance_is_said_to_be(request_: Callable[..., Tuning]) -> None:
    tuned = search(request_(trials=3, space="mode: [plain, fancy]\n"))
    assert tuned.best.gain == 0
    assert not tuned.best.proven
    assert "NOT PROVEN" in tuned.config.read_text()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"changes": {"noise": {"rates": [0.4]}}}, "data.noise.rate is 0.2 there and 0.4 here"),
        ({"validation": 0.5}, "validation.share is 0.25 there and 0.5 here"),
        ({"space": "volume: {low: 0, high: 3}\n"}, "space.volume.low is -3.0 there and 0.0 here"),
        ({"assignments": [f"methods.{METHOD}.mode=fancy"]}, "method.configured.mode is None there and 'fancy' here"),
    ],
)
def test_another_search_s_trials_are_not_taken(
    request_: Callable[..., Tuning], changes: dict[str, Any], difference: str
) -> None:
    search(request_(trials=1))
    with pytest.raises(UsageError, match="holds trials of another search") as caught:
        search(request_(trials=2, **changes))
    assert difference in str(caught.value)
    assert len(Hush.seen) == 1


def test_a_second_search_in_the_directory_is_noticed(
    request_: Callable[..., Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    align = Hush.align

    def meanwhile(self: Hush, *arguments: Any, **named: Any) -> AlignmentReport:
        monkeypatch.setattr(Hush, "align", align)
        search(request_(trials=1))
        return align(self, *arguments, **named)

    monkeypatch.setattr(Hush, "align", meanwhile)
    with pytest.raises(BenchError, match="written by another search meanwhile"):
        search(request_(trials=3))


def test_a_broken_file_of_trials_is_named(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "trials.journal").write_text('{"trials": [\n{}\n')
    with pytest.raises(BenchError, match=r"trials\.journal is not a file of trials .*; move it away"):
        search(request_())


def test_a_half_written_line_costs_its_own_trial_alone(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    whole = search(request_(trials=4))
    path = tmp_path / "tuned" / "trials.journal"
    os.truncate(path, path.stat().st_size - 20)
    resumed = search(request_(trials=4))
    assert len(Hush.seen) == 4 + 1
    assert timeless(resumed.trials) == timeless(whole.trials)
    assert len(optuna_study(tmp_path / "tuned").trials) == 4


def test_trials_of_an_earlier_version_are_not_passed_over(request_: Callable[..., Tuning], tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "trials.json").write_text('{"search": {}, "trials": []}')
    with pytest.raises(UsageError, match=r"trials\.json holds trials that an earlier version .*choose another --out"):
        search(request_())
    assert not Hush.seen


def test_searches_that_end_at_once_both_keep_their_trial(
    request_: Callable[..., Tuning], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.tune.trials import TrialJournal

    search(request_(trials=2))
    read, study = TrialJournal.read, optuna_study(tmp_path / "tuned")

    def meanwhile(self: TrialJournal) -> list[Trial]:
        trials = read(self)
        if len(trials) == 2:
            study.add_trial(study.trials[-1])  # after the look and before the line
        return trials

    journal = TrialJournal(tmp_path / "tuned", study.user_attrs["search"], study.trials[-1].distributions)
    newest = read(journal)[-1].model_copy(update={"number": 2})
    monkeypatch.setattr(TrialJournal, "read", meanwhile)
    with pytest.raises(BenchError, match="written by another search meanwhile"):
        journal.append(newest)
    assert len(read(journal)) == 4


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("volum: {low: 0, high: 1}\n", "unknown key .*volum; did you mean 'volume'"),
        ("volume: {low: 1, high: 1}\n", "low .1. must be below high"),
        ("volume: {low: 0, high: 1, log: true}\n", "log needs low above 0"),
        ("volume: {low: 0.5, high: 1, int: true}\n", "int needs whole numbers"),
        ("volume: {low: 0, hihg: 1}\n", "hihg|high"),
        ("volume: 3\n", "give a list of values"),
        ("volume: [3]\n", "two values or more"),
        ("mode: [plain, fance]\n", "mode.*found 'fance'"),
        ("{}\n", "names nothing to vary"),
        ("volume: [\n", "not YAML"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_is_loaded(
    request_: Callable[..., Tuning], space: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        request_(space=space)
    assert "space.yaml" in str(caught.value)


def test_a_whole_number_is_not_varied_in_fractions(request_: Callable[..., Tuning]) -> None:
    with pytest.raises(UsageError, match="rank"):
        request_("profs", space="rank: {low: 1, high: 9}\n")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"row": "prosf"}, "unknown method 'prosf'; did you mean 'profs'"),
        ({"row": METHOD, "defaults": True}, f"no search space is known for '{METHOD}'.*--space FILE.yaml"),
        ({"row": "base"}, "unaligned model has nothing to tune"),
        ({"row": "profs-random"}, "takes over the settings of profs; tune that one"),
        ({"changes": {"noise": {"rates": [0.1, 0.3]}}}, r"several \(0.1, 0.3\); choose with --noise"),
        ({"changes": {"seeds": [0, 1]}}, "choose with --seed"),
        ({"validation": 1.0}, "--validation"),
        ({"max_perplexity_rise": -0.05}, "a share, such as 0.05 for 5 %; found -0.05"),
        ({"assignments": [f"methods.{METHOD}.volume=1"]}, "varies volume, which --set fixes"),
        ({"assignments": ["methods.profs.rnk=1"], "row": "profs", "defaults": True}, "did you mean 'rank'"),
        (
            {"assignments": ["methods.profs.rank=1", "methods.profs.layers=all"], "row": "profs", "defaults": True},
            "fixes everything",
        ),
        ({"changes": {"methods": {METHOD: {"volume": "loud"}}}}, "volume"),
        ({"assignments": ["methods=3"]}, "methods"),
    ],
)
def test_a_wrong_request_is_refused(request_: Callable[..., Tuning], asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request_(**asked)


@pytest.mark.parametrize(
    ("sizes", "validation", "message"),
    [(3, 0.25, "3 training pairs are too few"), (10, 0.05, "into 9 to align with and 1 to judge by")],
)
def test_too_few_pairs_are_refused(
    request_: Callable[..., Tuning], settings: dict[str, Any], sizes: int, validation: float, message: str
) -> None:
    pairs = {**settings["pairs"], "sizes": [sizes]}
    with pytest.raises(UsageError, match=message):
        search(request_(changes={"pairs": pairs}, validation=validation))


def test_set_fixes_what_is_varied_by_default(request_: Callable[..., Tuning]) -> None:
    tuning = request_("profs", defaults=True, assignments=["methods.profs.rank=3"])
    assert list(tuning.space.dimensions) == ["layers"]
    assert tuning.fixed == {"rank": 3}


def test_a_row_of_its_own_name_keeps_its_method(request_: Callable[..., Tuning]) -> None:
    tuned = search(request_("mine", changes={"methods": {"mine": {"use": METHOD, "mode": "fancy"}}}))
    row = yaml.safe_load(tuned.config.read_text())["methods"]["mine"]
    assert hyperparameters(row) == {"mode": "fancy", "volume": tuned.best.settings["volume"]}
    assert row["use"] == METHOD


def test_trials_of_an_earlier_search_are_added_up(request_: Callable[..., Tuning]) -> None:
    earlier = {"trials": 17, "seconds": 100.0, "criterion": "by hand"}
    tuned = search(request_(trials=2, changes={"methods": {METHOD: {"volume": -1.5, "tuned": earlier}}}))
    stated = yaml.safe_load(tuned.config.read_text())["methods"][METHOD]["tuned"]
    assert stated["trials"] == 19
    assert stated["seconds"] == pytest.approx(100 + sum(trial.seconds for trial in tuned.trials), abs=0.1)
    assert stated["criterion"] == CRITERION
    assert tuned.trials[0].settings == {"volume": -1.5}


def test_seconds_that_nobody_knows_stay_unknown(request_: Callable[..., Tuning]) -> None:
    tuned = search(request_(trials=2, changes={"methods": {METHOD: {"volume": -1.5, "tuned": {"trials": 17}}}}))
    stated = yaml.safe_load(tuned.config.read_text())["methods"][METHOD]["tuned"]
    assert stated["trials"] == 19
    assert "seconds" not in stated


@pytest.mark.parametrize("kind", [kind for kind in SPACES if kind in METHODS])
def test_our_methods_allow_what_is_varied_by_default(kind: str) -> None:
    method = METHODS[kind]
    space = default_space(kind, method, {}, ())
    check_space(space, method, {}, kind)
    assert "rank" in space.dimensions or "learning_rate" in space.dimensions


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"tuning": "full"}, "lora_rank"),
        ({"preset": "lee2024"}, "lora_rank"),
        ({"max_steps": 5}, "epochs"),
    ],
)
def test_what_changes_nothing_is_not_varied(settings: dict[str, Any], idle: str) -> None:
    space = default_space("dpo", METHODS["dpo"], settings, ())
    everything = default_space("dpo", METHODS["dpo"], {}, ())
    assert {*everything.dimensions} - {*space.dimensions} == {idle}


def test_stretches_lie_in_the_model_and_are_found_again() -> None:
    space = SearchSpace({"layers": Stretch()}).sized(4)
    found = set()
    for number in range(200):
        layers = space.settings(space.propose((), number, seed=0))["layers"]
        method = METHODS["profs"].model_validate({"layers": layers})
        place = space.locate(method)
        assert place is not None
        assert space.settings(place) == {"layers": layers}
        found.add(layers)
    assert {"3", "0-3", "1-2"} < found
    assert space.locate(METHODS["profs"].model_validate({"layers": [1, 3]})) is None
    assert space.locate(METHODS["profs"].model_validate({"layers": "cv"})) is None


def test_proposals_depend_on_their_number_and_on_what_was_seen() -> None:
    space = SearchSpace({"x": Span(low=1e-6, high=1e-3, log=True)})
    first, second = (space.propose((), number, seed=0) for number in (1, 2))
    assert first == space.propose((), 1, seed=0) != second
    assert first != space.propose((), 1, seed=1)
    seen = [({"x": 2e-6 * (row + 1)}, 1.0 - row) for row in range(12)]
    told = [space.propose(seen, number, seed=0)["x"] for number in range(12, 32)]
    untold = [space.propose((), number, seed=0)["x"] for number in range(12, 32)]
    assert sum(x < 1e-5 for x in told) > sum(x < 1e-5 for x in untold) + 3


def test_proposed_numbers_are_short_and_inside(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("x: {low: 1.23456e-6, high: 1.23456e-3, log: true}\n")
    space = read_space(tmp_path / "space.yaml")
    assert space.settings({"x": 1.234567e-5}) == {"x": 1.23e-5}
    assert space.settings({"x": 1.23456e-6}) == {"x": 1.23456e-6}


def test_a_mistaken_name_gives_one_message(tmp_path: Path) -> None:
    environment = {**os.environ, "ALIGNMENT_BENCH_HOME": str(tmp_path)}
    arguments = [sys.executable, "-m", "bench.cli", "tune", "prosf"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("error: unknown method 'prosf'; did you mean 'profs'?")
    assert done.stdout == ""


def test_the_command_prints_the_winner_s_path(
    request_: Callable[..., Tuning], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cli.app import app

    request_()
    arguments = ["tune", METHOD, "--config", str(tmp_path / "config.yaml"), "--space", str(tmp_path / "space.yaml")]
    arguments += ["--trials", "2", "--noise", "0", "--pairs", "12", "--seed", "3", "--out", str(tmp_path / "out")]
    app(arguments, standalone_mode=False)
    assert capfd.readouterr().out == f"{tmp_path / 'out' / 'best.yaml'}\n"
    spec = resolve_spec(str(tmp_path / "out" / "best.yaml"))
    assert (spec.noise.rates, spec.pairs.sizes, spec.seeds) == ((0.0,), (12,), (3,))
    assert "3 of 12 training pairs" in (tmp_path / "out" / "best.yaml").read_text().replace("\n# ", " ")
