"""What methods and tasks say of themselves, as it crosses to the board: the details of a record, with types.

A report's fields have the names and the order of the record's JSON; what was not said is not there. Plug-ins may say
more than is named here: it is kept, after the fields.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

Curves = Mapping[str, Sequence[int | float]]
"""A list for each quantity, `step` among them; all as long."""


class TypedReport(BaseModel):
    """A frozen pydantic model that takes keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON of what was said."""
        return self.model_dump(exclude_unset=True)


class ExtraEstimate(TypedReport):
    """A number besides a metric's value."""

    k: int | None = None
    """Samples a prompt that it is of."""
    value: float | None = None
    excess_rise: float | None = None
    """In the place of `value`, where it is one."""
    ci95: tuple[float, float] | None = None
    n: int | None = None
    """Items that it rests on."""

    @property
    def number(self) -> float | None:
        return self.value if "value" in self.model_fields_set else self.excess_rise


class GuardReport(TypedReport):
    """What shows that a low toxicity is an empty win; None where it was not, or could not be, measured."""

    distinct_1: float | None = None
    """Share of n-grams that differ, over a prompt's samples; so are the next two."""
    distinct_2: float | None = None
    distinct_3: float | None = None
    repetition: float | None = None
    """Share of continuations that end in a loop."""
    mean_tokens: float | None = None
    empty_rate: float | None = None
    ended_rate: float | None = None
    base_perplexity: float | None = None
    """Of the continuations, under the unaligned model."""
    kl_to_base: float | None = None
    """On clean prose, nats a token."""
    kl_tokens: int | None = None
    """Tokens that the divergence is a mean over."""


class ScrubbingReport(TypedReport):
    """What scrubbing costs groups of people; the unaligned model's own says nothing from `base_perplexity` on."""

    sentences: Mapping[str, int]
    """How many, by kind."""
    tokens: int
    perplexity: Mapping[str, float | None]
    """By kind, and of the whole probe."""
    scorer: str | None = None
    toxicity_gap: ExtraEstimate | None = None
    """Between the groups with the most and the least toxic continuations."""
    toxicity_by_group: Mapping[str, float] | None = None
    frames_without_all_scores: int | None = None
    base_perplexity: Mapping[str, float | None] | None = None
    excess_rise: ExtraEstimate | None = None
    """How much more than plain sentences the probe's rose in perplexity against base."""
    by_kind: Mapping[str, ExtraEstimate] | None = None
    by_group: Mapping[str, ExtraEstimate] | None = None
    by_domain: Mapping[str, ExtraEstimate] | None = None
    worst: Sequence[Mapping[str, Any]] | None = None
    """Sentences that lost most."""


class HeldOutReport(TypedReport):
    """What training did to clean pairs that it did not see; log-probabilities in nats."""

    pairs: int | None = None
    margin_before: float | None = None
    """How much more likely the chosen completions are."""
    margin_after: float | None = None
    accuracy_before: float | None = None
    """Share of pairs whose chosen completion is the more likely one."""
    accuracy_after: float | None = None
    reward_margin: float | None = None
    """None where the method has no implicit reward."""
    reward_accuracy: float | None = None
    """Share of pairs whose chosen completion gained more than the rejected one."""
    curve: Curves | None = None
    """The same, and the method's own loss, during training."""


class WorkerReport(TypedReport):
    """The processes that trained on several devices."""

    count: int | None = None
    start_seconds: float | None = None
    peak_device_bytes: Sequence[int] | None = None
    """Of each, the first of which trained on this process's own device; None on a CPU."""


class TrainingReport(TypedReport):
    """One training run."""

    curves: Curves
    steps: int
    """Of the optimiser."""
    tokens: int
    memory_backoff: Sequence[Mapping[str, Any]]
    """How batches came to be smaller than asked for."""
    resumed_at: Sequence[int]
    """Steps."""
    pairs: int
    validation: Mapping[str, Any] | None
    """How weights were selected; None where the last ones were taken."""
    truncated: int
    merged_boundaries: int
    trainable_parameters: int
    reference_seconds: float
    train_seconds: float
    precision: str
    workers: WorkerReport | None
    optimizer: str
    activation_checkpointing: bool
    held_out: HeldOutReport | None


class MatrixReport(TypedReport):
    """One edited matrix."""

    name: str
    relative_norm: float
    """‖ΔW‖ / ‖W‖."""
    rank: int
    """Of ΔW, rounding left out."""
    left: float | None = None
    """‖V W′‖ / ‖W‖: what the matrix's dtype could not express away."""
    sha256_before: str | None = None
    sha256_after: str | None = None


class DirectionReport(TypedReport):
    """A removed direction in tokens."""

    promotes: Sequence[str]
    """Tokens whose logits its positive side raises most; `suppresses`, lowers most."""
    suppresses: Sequence[str]
    agreement: float | None
    """Share of pairs whose rejected text lies on its positive side; None where the sign is arbitrary."""


class LayerReport(TypedReport):
    """What was removed from one layer."""

    layer: int
    rank: int
    singular_values: Sequence[float]
    """The greatest, descending; none where the directions come from no spectrum."""
    energy_removed: float | None
    """Share of all squared singular values."""
    matrices: Sequence[MatrixReport]
    directions: Sequence[DirectionReport] | None = None
    """The leading ones."""
    directions_left_out: int | None = None
    unexplained: str | None = None
    """Why there are no directions in tokens."""
    stream_share_before: float | None = None
    """Of what the block's MLP added to the residual stream, on a few of the texts, the part along the directions,
    ‖V c‖² / ‖c‖²; `stream_share_after` what stays of it once all blocks are edited, beside a bias or behind a norm."""
    stream_share_after: float | None = None
    angles_to_clean_degrees: Sequence[float] | None = None
    """Principal angles to what would have been removed without noise, ascending; None where there was none."""


class SubspaceReport(TypedReport):
    """One projection edit."""

    ranks: Mapping[str, int]
    """By layer."""
    selection: Mapping[str, Any]
    """How ranks and layers were chosen; empty where they were given."""
    n_pairs: int
    n_identical: int
    mean_tokens: float
    n_at_max_length: int
    n_embedded: int
    find_seconds: float
    edit_seconds: float
    note: str
    """What is peculiar to the model's architecture."""
    layers: Sequence[LayerReport]
