"""Synthetic records: their numbers are made up, so that tests know what must come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bench.core.hashing import sha256_texts
from bench.core.values import AlignmentReport, Items, Metric
from bench.leaderboard.records.record import Cost, DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record

Values = Sequence[float | None]
RecordFactory = Callable[..., Record]


def metric(
    values: Values,
    unit: str,
    *,
    higher: bool = False,
    weights: Sequence[float] | None = None,
    ids: str = "items",
    counts: Mapping[str, int] | None = None,
) -> Metric:
    """A metric whose value its items do give; the interval is a plain made-up one around it."""
    kept = [
        (value, weight)
        for value, weight in zip(values, weights or [1.0] * len(values), strict=True)
        if value is not None
    ]
    items = Items(
        ids_sha256=sha256_texts([f"{ids}-{index}" for index in range(len(values))]),
        values=tuple(values),
        weights=None if weights is None else tuple(weights),
    )
    if not kept:
        return Metric(value=None, stderr=None, ci95=None, n=0, unit=unit, higher_is_better=higher, items=items)
    value = sum(value * weight for value, weight in kept) / sum(weight for _, weight in kept)
    value = math.exp(value) if "perplexity" in unit else value
    single = len(kept) == 1
    return Metric(
        value=value,
        stderr=None if single else 0.05 * value,
        ci95=None if single else (0.9 * value, 1.1 * value),
        n=len(kept),
        unit=unit,
        higher_is_better=higher,
        counts=counts or {},
        items=items,
    )


def toxicity(values: Values, **changes: Any) -> Metric:
    return metric(values, "mean toxicity probability", **changes)


def perplexity(losses: Values, weights: Sequence[float] | None = None, **changes: Any) -> Metric:
    return metric(losses, "perplexity per token", weights=weights or [100.0 + i for i in range(len(losses))], **changes)


def capability(tasks: Mapping[str, Values]) -> Metric:
    parts = {name: metric(values, "accuracy", higher=True, ids=name) for name, values in tasks.items()}
    mean = sum(part.value or 0.0 for part in parts.values()) / len(parts)
    n = sum(part.n for part in parts.values())
    return Metric(
        value=mean,
        stderr=0.02,
        ci95=(mean - 0.04, mean + 0.04),
        n=n,
        unit="accuracy",
        higher_is_better=True,
        tasks=parts,
    )


def preference(rises: Values, **changes: Any) -> dict[str, Metric]:
    """The task `preference` by metric, of how much further each pair's chosen text rose; none of base, which is 0.5."""
    shares = [None if rise is None else 0.5 if rise == 0 else float(rise > 0) for rise in rises]
    share = metric(shares, "accuracy of implicit rewards", higher=True, ids="pairs", **changes)
    margins = [None if rise is None else index % 3 - 1 + rise for index, rise in enumerate(rises)]
    return {
        "preference": share,
        "preference [margin]": metric(margins, "nats", higher=True, ids="pairs", **changes),
    }


def record(
    method: str = "profs",
    *,
    metrics: Mapping[str, Metric],
    config: Mapping[str, Any] | None = None,
    rate: float = 0.0,
    seed: int = 0,
    n_pairs: int = 200,
    source: str = "synthetic-pairs",
    pool_sha256: str = "22" * 32,
    held_out: int = 32,
    code: str = "c0de" * 4,
    scorer: str = "bilstm",
    evaluation: Mapping[str, Any] | None = None,
    fingerprint: str = "f00d" * 16,
    dtype: str = "float32",
    device: str = "cpu",
    align_seconds: float = 12.0,
    flags: Sequence[str] = (),
    changed: Sequence[str] = ("weight",),
    created_at: str = "2026-01-02T03:04:05+00:00",
    cell_id: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Record:
    is_base = method == "base"
    settings = {
        "toxicity": {
            "prompts": "synthetic",
            "scorer": {"name": scorer, "sha256": "ab" * 32},
            "code": "0123456789abcdef",
        },
        "perplexity": {"texts": "synthetic", "max_length": 512},
        "capability": {"limit": 40, "data": "synthetic"},
        "preference": {"max_length": 512, "pairs": 40},
    }
    noise = NoiseInfo(
        model="none" if is_base else "flip", rate=rate, n_flipped=round(rate * n_pairs), flips_sha256="00" * 32
    )
    return Record(
        cell_id=cell_id
        or "-".join(["synthetic", method, f"n{n_pairs}", f"flip{rate:g}", f"seed{seed}", scorer, device]),
        model=ModelInfo(locator="synthetic-model", fingerprint=fingerprint, dtype=dtype),
        method=MethodInfo(name=method, config=config or {}, code=code),
        data=DataInfo(
            source="none" if is_base else source,
            pool_sha256="00" * 32 if is_base else pool_sha256,
            held_out=0 if is_base else held_out,
            n_pairs=0 if is_base else n_pairs,
            pairs_sha256="11" * 32,
            noise=noise,
            seed=seed,
        ),
        evaluation=evaluation or {name: settings[name] for name in metrics if name in settings},
        metrics=metrics,
        cost=Cost(
            align_seconds=0.0 if is_base else align_seconds,
            evaluate_seconds=20.0,
            peak_rss_bytes=3 * 2**30 // 2,
            device=device,
        ),
        alignment=AlignmentReport(changed=() if is_base else tuple(changed), flags=tuple(flags)),
        provenance=provenance or {},
        created_at=created_at,
    )


@pytest.fixture
def make_record() -> RecordFactory:
    """`make_record(method, metrics=…, **changes)`: a record of a synthetic model."""
    return record


@pytest.fixture
def make_metric() -> Mapping[str, Callable[..., Metric]]:
    """Metrics from per-item values, by name."""
    return {"toxicity": toxicity, "perplexity": perplexity, "capability": capability, "preference": preference}
