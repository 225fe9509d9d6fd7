"""What a method was given, what it took, and how its settings were found: the budget that comparisons are held to."""

from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from bench.core.values import Value

SCOPE = frozenset({"model", "model_fingerprint", "pairs", "pairs_fingerprint", "settings"})
"""Of a statement on tuning: what the settings hold for, not how they were found."""


class TuningNote(Value):
    """How a row's hyperparameters were found. It changes no weights, so that it is no part of a cell's identity."""

    trials: NonNegativeInt | None = None
    """Settings that were tried before these were chosen, failed ones and the first included; 0: none, as they came.
    None only where `settings` names what is left of a row whose other settings were put by hand."""
    seconds: NonNegativeFloat | None = None
    """Spent on the trials."""
    gain: float | None = None
    """What the winner gained on the validation pairs, in the criterion's unit; the best of several looks too good."""
    stderr: NonNegativeFloat | None = None
    """Standard error of the gain, of a single trial."""
    criterion: str | None = None
    """What was maximised."""
    validation_pairs: NonNegativeInt | None = None
    """Pairs that the trials were judged by."""
    noise: float | None = Field(default=None, ge=0, le=1)
    """Share of corrupted labels in the pairs that the search was carried out with."""
    model: str | None = None
    """Name or locator of the model that they were tried on; on another one the settings are not used."""
    model_fingerprint: str | None = None
    """SHA-256 of its weights, configuration and tokenizer, or of the commit that they come from, as in `ModelInfo`."""
    pairs: str | None = None
    """Source of the pairs that they were tried on, likewise."""
    pairs_fingerprint: str | None = None
    """SHA-256 of their file, or of the settings that they were sampled with."""
    settings: tuple[str, ...] | None = None
    """Hyperparameters of the row that this speaks of; None: all."""
    max_perplexity_rise: float | None = Field(default=None, gt=0)
    """Share by which perplexity on neutral texts was allowed to rise; None: any."""
    perplexity_rise: float | None = None
    """By how much it rose with the winner."""

    def statement(self) -> dict[str, Any]:
        """How the settings were found, whatever they hold for, as JSON."""
        return self.model_dump(mode="json", exclude=set(SCOPE))

    @model_validator(mode="after")
    def _states_trials(self) -> "TuningNote":
        if self.trials is None and self.settings is None:
            raise ValueError("trials is missing: say how many settings were tried; 0 says none")
        return self


class Ledger(Value):
    """One cell's budget. None: the method has no such thing, or nobody knows; never 0 in its stead."""

    pairs: NonNegativeInt | None
    """Pairs that the method was given; None for the unaligned model."""
    steps: NonNegativeInt | None
    """Optimiser steps."""
    tokens_trained: NonNegativeInt | None
    """Tokens read forward and backward, without padding."""
    tokens_forward: NonNegativeInt | None
    """Tokens read forward alone, without padding, what earlier cells had read for this one included."""
    trials: NonNegativeInt | None
    """Settings that were tried before these were chosen; None where the configuration does not say."""
    tuning_seconds: NonNegativeFloat | None
    """Spent on those trials."""
    seconds: NonNegativeFloat
    """Wall time of the method alone: with what it reused of earlier cells' work, without diagnostics."""
    peak_rss_bytes: NonNegativeInt
    """Highest resident memory while the method ran, model and processes that the method started included."""
    peak_device_bytes: NonNegativeInt | None
    """Highest accelerator memory from loading the model to the end of the method, of several devices the sum of their
    peaks; None on a CPU."""
    energy_joules: NonNegativeFloat | None
    """Taken by everything that `energy_source` names, whoever used it, while the method ran."""
    energy_seconds: NonNegativeFloat
    """How long that was: unlike `seconds` without what earlier cells had done, and with diagnostics."""
    energy_source: str | None
    """The counters that were read, e.g. "RAPL package-0"; None where none could be."""
    energy_missing: str | None
    """Why there is no energy; None where there is."""
