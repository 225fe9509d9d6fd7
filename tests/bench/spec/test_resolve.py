from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from bench.core.errors import UsageError
from bench.leaderboard.records.ledger import TuningNote
from bench.spec.resolve import resolve_spec
from bench.spec.run_spec import (
    STANDARD_TASKS,
    RunSpec,
    build_methods,
    build_tasks,
    hyperparameters,
    shipped_configs,
    stated_tuning,
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "methods": {"profs": {"rank": 3}, "dpo": {"beta": 0.2}},
                "noise": {"rates": [0.1]},
                "tasks": {"toxicity": {"limit": 5}, "perplexity": {}},
            }
        )
    )
    return path


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_config_is_a_valid_spec(name: str) -> None:
    spec = resolve_spec(name)
    assert next(iter(build_methods(spec))) == "base"
    assert build_tasks(spec)


def test_nothing_given_means_the_quickstart() -> None:
    assert resolve_spec(None) == resolve_spec("quickstart")


def test_the_file_wins_over_defaults_flags_over_the_file_and_set_over_flags(config: Path) -> None:
    spec = resolve_spec(
        str(config),
        flags=[(["noise", "rates"], [0.3]), (["model"], "gpt2")],
        assignments=["noise.rates=[0.5]"],
    )
    assert spec.methods["profs"] == {"rank": 3}
    assert spec.model == "gpt2"
    assert spec.noise.rates == (0.5,)
    assert spec.seeds == RunSpec().seeds


def test_choosing_methods_keeps_their_settings_and_drops_the_others(config: Path) -> None:
    spec = resolve_spec(str(config), methods=["dpo", "base"])
    assert spec.methods == {"dpo": {"beta": 0.2}}
    assert list(build_methods(spec)) == ["base", "dpo"]


def test_a_flag_for_one_task_keeps_the_others_where_the_file_names_none(config: Path) -> None:
    config.write_text("model: gpt2\n")
    spec = resolve_spec(str(config), scorer="bilstm", assignments=["methods.dpo.beta=0.2"])
    assert set(spec.tasks) == set(STANDARD_TASKS)
    assert spec.methods == {"profs": {}, "dpo": {"beta": 0.2}}


def test_an_empty_entry_means_default_settings(config: Path) -> None:
    config.write_text("methods:\n  profs:\n")
    assert resolve_spec(str(config)).methods == {"profs": {}}


def test_limit_reaches_every_task(config: Path) -> None:
    spec = resolve_spec(str(config), limit=7)
    assert {name: settings["limit"] for name, settings in spec.tasks.items()} == {"toxicity": 7, "perplexity": 7}


def test_one_method_can_stand_in_several_rows(config: Path) -> None:
    config.write_text("methods: {dpo-gentle: {use: dpo, beta: 0.5}, dpo: {}}\n")
    methods = build_methods(resolve_spec(str(config)))
    assert [(name, getattr(method, "beta", None)) for name, method in methods.items()] == [
        ("base", None),
        ("dpo-gentle", 0.5),
        ("dpo", 0.1),
    ]


TUNED = "methods: {dpo: {beta: 0.1, tuned: {trials: 4}}, profs: {rank: 3, tuned: {trials: 17}}, profs-random: {}}\n"


def test_a_row_says_how_it_was_tuned_beside_its_hyperparameters(config: Path) -> None:
    config.write_text(TUNED)
    spec = resolve_spec(str(config))
    own = {"model": spec.model, "pairs": spec.pairs.source}  # what it does not say it was tuned on
    stated = [stated_tuning(spec, name) for name in spec.methods]
    assert stated == [TuningNote(trials=4, **own), TuningNote(trials=17, **own), None]
    assert spec.methods["profs-random"] == {"rank": 3}  # the control was not tuned: it takes after what was
    assert build_methods(spec)["dpo"].model_dump()["beta"] == 0.1


@pytest.mark.parametrize(
    ("assignments", "trials"),
    [
        ((), 4),
        (("methods.profs.rank=5",), 4),
        (("methods.dpo.beta=0.5",), None),
        (("methods.dpo.beta=0.5", "methods.dpo.tuned.trials=5"), 5),
        (("methods.dpo.tuned={trials: 6}", "methods.dpo.epochs=2"), 6),
        (("methods.dpo.use=cdpo",), None),
    ],
)
def test_what_a_row_says_of_its_tuning_does_not_hold_for_other_hyperparameters(
    assignments: Sequence[str], trials: int | None, config: Path
) -> None:
    config.write_text(TUNED)
    spec = resolve_spec(str(config), assignments=assignments)
    build_methods(spec)
    stated = stated_tuning(spec, "dpo")
    assert (stated and stated.trials) == trials


CONTROLS = ("profs-random", "profs-rematched", "profs-clean")


def test_a_control_has_the_settings_of_what_it_controls() -> None:
    spec = resolve_spec("smollm2", methods=["profs", *CONTROLS, "mean-difference", "dpo"])
    assert hyperparameters(spec.methods["profs"]) == {"rank": 1, "layers": "15-21"}
    for name in CONTROLS:
        assert spec.methods[name] == hyperparameters(spec.methods["profs"])
    assert spec.methods["mean-difference"] == {"layers": "15-21"}
    assert spec.methods["dpo"] == resolve_spec("smollm2").methods["dpo"]
    methods = build_methods(spec)
    assert {methods[name].model_dump()["layers"] for name in ("profs", *CONTROLS)} == {tuple(range(15, 22))}
    assert methods["mean-difference"].model_dump()["rank"] == 1


def test_a_control_keeps_what_is_set_for_itself_and_follows_what_is_set_for_the_other() -> None:
    spec = resolve_spec(
        "smollm2",
        methods=["profs-random", "profs-clean", "mean-difference", "profs"],
        assignments=[
            "methods.profs-random.rank=3",
            "methods.profs.rank=5",
            "methods.profs.center=none",
            "methods.profs.preset=opt-6.7b",
        ],
    )
    others = {"center": "none", "preset": "opt-6.7b"}
    assert spec.methods["profs-random"] == {**others, "rank": 3}
    assert spec.methods["profs-clean"] == {**others, "rank": 5}
    assert spec.methods["mean-difference"] == others
    build_methods(spec)


def test_a_control_takes_after_a_row_that_is_not_run() -> None:
    spec = resolve_spec("smollm2", methods=["profs-rematched"])
    assert spec.methods == {"profs-rematched": {"rank": 1, "layers": "15-21"}}


def test_a_control_without_a_row_to_take_after_has_the_defaults(config: Path) -> None:
    config.write_text("methods: {dpo: {}}\n")
    assert resolve_spec(str(config), methods=["profs-random"]).methods == {"profs-random": {}}


def test_a_control_takes_after_the_one_row_that_uses_the_method_whatever_its_name(config: Path) -> None:
    config.write_text(
        "methods: {wide: {use: profs, rank: 7}, chance: {use: profs-random}, more: {use: profs-random, layers: all}}\n"
    )
    spec = resolve_spec(str(config))
    assert spec.methods["chance"] == {"use": "profs-random", "rank": 7}
    assert spec.methods["more"] == {"use": "profs-random", "rank": 7, "layers": "all"}
    config.write_text("methods: {wide: {use: profs, rank: 7}, profs: {rank: 3}, profs-random: {}}\n")
    assert resolve_spec(str(config)).methods["profs-random"] == {"rank": 3}


def test_a_control_that_could_take_after_several_rows_is_asked_which(config: Path) -> None:
    rows = "wide: {use: profs, rank: 7}, thin: {use: profs, rank: 1}"
    config.write_text(f"methods: {{{rows}, profs-random: {{}}}}\n")
    with pytest.raises(UsageError, match=r"profs-random is a control of profs, .* several rows \(wide, thin\)"):
        resolve_spec(str(config))
    config.write_text(f"methods: {{{rows}, profs-random: {{rank: 3}}}}\n")
    assert resolve_spec(str(config)).methods["profs-random"] == {"rank": 3}


def test_a_spec_written_out_and_read_again_is_the_same(tmp_path: Path) -> None:
    spec = resolve_spec("smollm2", methods=["profs", *CONTROLS, "mean-difference"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    assert resolve_spec(str(path)).model_dump() == spec.model_dump()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": ["prosf"]}, "unknown method 'prosf'; did you mean 'profs'"),
        ({"tasks": ["toxic"]}, "unknown task 'toxic'; did you mean 'toxicity'"),
        ({"scorer": "linear", "tasks": ["perplexity"]}, "not among --tasks perplexity"),
        ({"flags": [(["noise", "rates"], [1.5])]}, "noise.rates.0: .* found 1.5"),
        ({"flags": [(["noise", "rates"], [])]}, "at least one"),
        ({"flags": [(["seeds"], [1, 1])]}, "twice"),
        ({"flags": [(["pairs", "sizes"], [0])]}, "pairs.sizes"),
        ({"assignments": ["methods.kto.beta=1"]}, "'kto' is not in this run's methods"),
        ({"assignments": ["noise.rate=0.1"]}, "unknown key noise.rate; did you mean 'rates'"),
        ({"assignments": ["nosie=0.1"]}, "did you mean 'noise'"),
        ({"assignments": ["batch_size=none"]}, "batch_size"),
        ({"assignments": ["noise.model=flop"]}, "no such noise model"),
        ({"flags": [(["seeds"], [-1])]}, "seeds.0"),
        ({"assignments": ["pairs.neutral=wikipedia"]}, "pairs.neutral: unknown text source 'wikipedia'"),
    ],
)
def test_a_wrong_setting_is_named(config: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_spec(str(config), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("methods.dpo.bta=1", "unknown key methods.dpo.bta; did you mean 'beta'"),
        ("methods.dpo.beta=-1", "methods.dpo.beta: .* found -1"),
        ("methods.profs.rank=0", "methods.profs.rank"),
    ],
)
def test_a_wrong_hyperparameter_is_named(config: Path, assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_methods(resolve_spec(str(config), assignments=[assignment]))


def test_the_scorer_that_labels_cannot_judge(config: Path) -> None:
    spec = resolve_spec(str(config), scorer="linear", assignments=["pairs.on_policy.scorer=linear"])
    with pytest.raises(UsageError, match="'linear' would both label the pairs and judge"):
        build_tasks(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not YAML"), ("- 1", "mapping"), ("", "mapping"), ("modle: x", "did you mean 'model'")],
)
def test_a_broken_file_is_named(config: Path, text: str, message: str) -> None:
    config.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        resolve_spec(str(config))
    assert str(config) in str(caught.value)


def test_a_missing_file_points_to_the_shipped_ones() -> None:
    with pytest.raises(UsageError, match="bench list configs"):
        resolve_spec("no-such.yaml")


def test_the_controls_config_is_the_quickstart_with_controls() -> None:
    ours, quickstart = resolve_spec("controls"), resolve_spec("quickstart")
    assert set(ours.methods) == {*quickstart.methods, *CONTROLS, "mean-difference"}
    assert {name: ours.methods[name] for name in quickstart.methods} == quickstart.methods
    assert all(ours.methods[name] == hyperparameters(ours.methods["profs"]) for name in CONTROLS)
    assert (ours.model, ours.pairs, ours.tasks) == (quickstart.model, quickstart.pairs, quickstart.tasks)
    assert ours.noise.rates == (0.0, 0.3)


def test_a_preset_set_on_the_command_line_comes_before_the_file() -> None:
    """The configuration sets rank and layers; a preset that says both must not be silently ignored."""
    asked = ["methods.profs.preset=gpt2-medium", "methods.profs.center=none"]
    spec = resolve_spec("smollm2", methods=["profs", "profs-random"], assignments=asked)
    for method in (build_methods(spec)[name].model_dump() for name in ("profs", "profs-random")):
        assert (method["rank"], method["layers"], method["center"]) == (2, tuple(range(10, 24)), "none")
    later = resolve_spec("smollm2", methods=["profs"], assignments=["methods.profs.rank=7", *asked])
    assert build_methods(later)["profs"].model_dump()["rank"] == 7
    kept = resolve_spec("smollm2", methods=["profs"], assignments=["methods.profs.preset=reference"])
    assert build_methods(kept)["profs"].model_dump()["rank"] == 1


def test_a_protocol_comes_before_what_the_file_has_and_after_what_is_given_too() -> None:
    toxicity = resolve_spec("smollm2").tasks["toxicity"]
    assert (toxicity["max_new_tokens"], toxicity["scorer"]) == (20, "bilstm")
    place = ["tasks", "toxicity", "protocol"]
    chosen = resolve_spec("smollm2", flags=[(place, "profs2025")]).tasks["toxicity"]
    assert chosen == {"protocol": "profs2025"}
    kept = resolve_spec("smollm2", flags=[(place, "rtp")]).tasks["toxicity"]
    assert kept == {"protocol": "rtp", "prompts": toxicity["prompts"], "scorer": "bilstm"}
    both = resolve_spec("smollm2", flags=[(place, "profs2025")], scorer="words", assignments=["tasks.toxicity.k=1"])
    assert both.tasks["toxicity"] == {"protocol": "profs2025", "scorer": "words", "k": 1}
    assert resolve_spec("smollm2", assignments=["tasks.toxicity.protocol=profs2025"]).tasks["toxicity"] == chosen
    with pytest.raises(UsageError, match="unknown toxicity protocol 'profs2026'; did you mean 'profs2025'"):
        resolve_spec("smollm2", flags=[(place, "profs2026")])


def test_a_flag_for_a_task_that_is_not_run_is_refused() -> None:
    with pytest.raises(UsageError, match="--num-fewshot is for the capability task, which is not among"):
        resolve_spec(None, tasks=["toxicity"], flags=[(["tasks", "capability", "num_fewshot"], 5)])
