"""The time that a command will take: from the model's size at first, then from what is finished."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from types import ModuleType

import pytest

import bench.harness.run as harness
from bench.core.progress import Silent
from bench.harness import schedule
from bench.harness.forecast import Forecast, Stage
from bench.harness.workload import TABLE, Rate, Work, method_work, task_work
from bench.meters.pilot import Speed, measure_speed
from bench.methods.base import METHODS
from bench.methods.controls.canary import Empty
from bench.tasks.base import TASKS


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forecast(clock: Clock) -> Forecast:
    return Forecast(clock)


def take(forecast: Forecast, clock: Clock, cell: str, what: str, seconds: float) -> None:
    with forecast.stage(cell, what):
        clock.now += seconds


def test_a_finished_stage_corrects_those_of_its_kind(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage(cell, what, 10.0, computes=False) for cell in "abc" for what in ("align", "measure")])
    assert (forecast.seconds_left(), forecast.share) == (60.0, 0.0)
    take(forecast, clock, "a", "align", 40.0)
    assert forecast.seconds_left() == 2 * 40 + 3 * 10
    assert forecast.share == 40 / (40 + 110)
    take(forecast, clock, "a", "measure", 5.0)
    assert forecast.seconds_left() == 2 * 40 + 2 * 5


def test_a_finished_stage_corrects_one_of_its_kind_by_how_much_there_is_to_do(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage("few pairs", "align", 10.0), Stage("many pairs", "align", 100.0)])
    take(forecast, clock, "few pairs", "align", 5.0)
    assert forecast.seconds_left() == 50.0


def test_the_pilots_error_is_believed_of_other_kinds_the_more_of_them_have_run(
    forecast: Forecast, clock: Clock
) -> None:
    forecast.expect([Stage("a", what, 10.0) for what in ("align", "toxicity", "perplexity")])
    take(forecast, clock, "a", "align", 40.0)
    assert forecast.seconds_left() == pytest.approx(2 * 10 * math.sqrt(4))
    take(forecast, clock, "a", "toxicity", 40.0)
    assert forecast.seconds_left() == pytest.approx(10 * 4 ** (2 / 3))


def test_a_download_says_nothing_of_how_fast_the_model_works(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage("m", "fetch", 10.0, computes=False), Stage("a", "align", 10.0)])
    take(forecast, clock, "m", "fetch", 500.0)
    assert forecast.seconds_left() == 10.0


def test_a_counted_step_is_believed_the_more_of_it_is_done(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage("a", "align", 100.0)])
    with forecast.stage("a", "align"):
        clock.now += 10
        assert forecast.seconds_left() == 90.0
        forecast.step(0.01, 10.0)  # the first batch of a hundred, as a rule the longest
        assert forecast.seconds_left() == pytest.approx(0.1 * 990 + 0.9 * 90)
        clock.now += 10
        forecast.step(0.25, 20.0)
        assert forecast.seconds_left() == pytest.approx(0.5 * 60 + 0.5 * 80)
        clock.now += 60
        forecast.step(1.0, 80.0)
        assert forecast.seconds_left() == 0.0
    assert forecast.seconds_left() == 0.0


def test_a_short_step_leaves_time_for_what_follows_it(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage("a", "align", 100.0)])
    with forecast.stage("a", "align"):
        clock.now += 5
        forecast.step(0.5, 5.0)
        assert forecast.seconds_left() == 95.0


def test_work_of_an_unknown_kind_leaves_the_end_open_until_it_has_run_once(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage(cell, what, seconds) for cell in "ab" for what, seconds in [("own", None), ("known", 3.0)]])
    assert (forecast.is_open_ended, forecast.share, forecast.seconds_left()) == (True, None, 6.0)
    take(forecast, clock, "a", "own", 7.0)
    assert not forecast.is_open_ended
    assert forecast.seconds_left() == 3 + 7 + 3


def test_nothing_more_is_expected_of_a_cell_that_failed(forecast: Forecast, clock: Clock) -> None:
    forecast.expect([Stage(cell, what, 10.0) for cell in "ab" for what in ("align", "measure")])
    heard: list[str] = []
    forecast.listen(lambda stage, seconds: heard.append(stage.cell))
    with pytest.raises(ValueError, match="NaN"), forecast.stage("a", "align"):
        clock.now += 99
        raise ValueError("NaN")
    forecast.drop("a")
    assert (forecast.seconds_left(), heard) == (20.0, [])


def test_seconds_are_parameters_times_tokens_over_speed_and_calls_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.harness.workload.TABLE", {**TABLE, "share": 0.5, "operations_a_pass": 100})
    rate = Rate(1e8, Speed(flops=4e10, call_seconds=1e-5), "float32")
    assert rate.seconds(Work(tokens=1000)) == pytest.approx(2 * 1e8 * 1000 / 2e10)
    assert rate.seconds(Work(passes=50, seconds=3)) == pytest.approx(50 * 100 * 1e-5 + 3)


def test_training_takes_as_many_passes_as_its_epochs_say() -> None:
    one = method_work(METHODS["dpo"](epochs=1, batch_size=4), 100, 0)
    three = method_work(METHODS["dpo"](epochs=3, batch_size=4), 100, 0)
    edit = method_work(METHODS["profs"](), 100, 0)
    assert one is not None and three is not None and edit is not None
    pair = 2 * TABLE["pairs"]["tokens"]
    assert one.tokens == pair * (100 * 3 + 100)  # forwards and backwards, and the reference
    assert three.tokens == pair * (300 * 3 + 100)
    assert edit.tokens == pair * 100
    assert method_work(Empty(), 100, 0) is None


def test_a_limit_of_capability_is_for_each_of_its_tasks() -> None:
    def tokens(name: str, **settings: object) -> float:
        work = task_work(name, TASKS[name](**settings), 32)
        assert work is not None
        return work[0].tokens

    assert tokens("capability", limit=10, tasks=("rte", "boolq")) == 2 * tokens("capability", limit=10, tasks=("rte",))
    read = TABLE["tasks"]["toxicity"]["read"]
    assert tokens("toxicity", limit=10, samples=5, temperature=1.0, max_new_tokens=20) == 10 * (read + 5 * 20)
    assert task_work("of-a-plug-in", TASKS["perplexity"](), 32) is None


def test_the_pilot_measures_both_speeds() -> None:
    speed = measure_speed("cpu", "float32")
    assert speed.flops > 1e6
    assert 0 < speed.call_seconds < 1
    assert speed.slowdown >= 1


class Watcher(Silent):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def follow(self, forecast: Forecast) -> None:
        self.seconds.append(forecast.seconds_left())


def test_a_run_is_forecast_before_its_first_cell_and_not_where_all_is_done_or_nobody_looks(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pilots: list[str] = []

    def pilot(device: str, dtype: str, seconds: float) -> Speed:
        pilots.append(device)
        return Speed(1e12, 1e-6)

    monkeypatch.setattr(schedule, "_speed", pilot)
    harness.run_study(fake_study.small(tmp_path, out=str(tmp_path / "unseen")))
    assert pilots == []
    watcher = Watcher()
    study = fake_study.small(tmp_path)
    harness.run_study(study, progress=watcher)
    assert len(watcher.seconds) == 1 and watcher.seconds[0] > 0
    pilots.clear()
    harness.run_study(study, progress=watcher)
    assert (pilots, len(watcher.seconds)) == ([], 1)


def test_a_cell_that_is_done_leaves_the_forecast(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_speed", lambda *_: Speed(1e12, 1e-6))
    forecasts: list[Forecast] = []
    watcher = Watcher()
    monkeypatch.setattr(watcher, "follow", forecasts.append)
    harness.run_study(fake_study.small(tmp_path), progress=watcher)
    assert forecasts[0].seconds_left() == 0.0


def test_cells_that_are_finished_here_correct_the_forecast_of_the_others(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_speed", lambda *_: Speed(1e12, 1e-6))
    record, here = fake_study.make_record, {"platform": platform.platform()}
    monkeypatch.setattr(fake_study, "make_record", lambda cell: record(cell).model_copy(update={"provenance": here}))
    harness.run_study(fake_study.small(tmp_path))
    watcher = Watcher()
    harness.run_study(fake_study.small(tmp_path, seeds=[0, 1]), progress=watcher)
    assert watcher.seconds == [pytest.approx(4 * (2 + 1))]


def test_a_machine_on_which_no_pilot_runs_leaves_the_time_open(
    fake_study: ModuleType, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Speed:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(schedule, "_speed", fail)
    watcher = Watcher()
    assert len(harness.run_study(fake_study.small(tmp_path), progress=watcher).executed) == 5
    assert watcher.seconds == [0.0]
