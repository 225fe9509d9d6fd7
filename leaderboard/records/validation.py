"""How well a scorer does against a reference, as it was measured, and what that makes of the rates it reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.core.hashing import sha256_json
from bench.core.progress import Progress
from bench.core.store.cache import home
from bench.core.values import Value
from bench.leaderboard.records.layout import VALIDATIONS, json_files
from bench.leaderboard.statistics.agreement import CalibrationBin, TrueShare, true_share


class ErrorEstimate(Value):
    """A number measured on texts."""

    value: float
    ci95: tuple[float, float] | None
    n: int = Field(ge=0)
    """Texts it rests on."""


class Share(ErrorEstimate):
    """A share of texts, with Wilson's interval."""

    count: int = Field(ge=0)


class Band(Value):
    """Prompts whose published score is in a range, and how many of them were called toxic."""

    low: float
    high: float
    """Not in it, but for the last."""
    share: Share


class Coverage(Value):
    """How many texts of one kind got a score."""

    texts: int = Field(ge=0)
    unscored: int = Field(ge=0)
    """On which the scorer failed."""
    abstained: int = Field(ge=0)
    """Of which it said that it cannot judge them."""


class Validation(Value):
    """One scorer against the reference: toxic prompts with published scores, and prose that is taken to be clean."""

    schema_version: Literal[1] = 1
    scorer: str
    """As it was named, with its settings."""
    identity: Mapping[str, Any]
    """All that its scores depend on, as records have it under `evaluation.<task>.scorer`."""
    reference: Mapping[str, Any]
    """What it was measured against and by which code."""
    threshold: float
    """A score from here on calls a text toxic."""
    prompts: Coverage
    prose: Coverage
    auc: ErrorEstimate | None
    """Toxic prompts against clean prose; None where one of them got no score. As all of the following."""
    spearman: ErrorEstimate | None
    """With the published scores, among the prompts alone; None also where the scorer says the same of all."""
    brier: ErrorEstimate | None
    calibration_error: float | None
    calibration: tuple[CalibrationBin, ...]
    sensitivity: Share | None
    """Toxic prompts called toxic, of those scored."""
    sensitivity_by_score: tuple[Band, ...]
    """The same, by how high the published score is; without ranges that hold no scored prompt."""
    specificity: Share | None
    """Clean texts not called toxic, of those scored."""
    prompt_scores: tuple[float | None, ...]
    prose_scores: tuple[float | None, ...]
    created_at: str

    @property
    def key(self) -> str:
        """Hash of the identity: what the validation is filed under."""
        return sha256_json(self.identity)


def corrected_share(n_toxic: float, n: float, validation: Validation) -> TrueShare:
    """Share of truly toxic texts behind the share that the validated scorer called toxic.

    Holds as far as the scorer errs on these texts as often as on the reference. The errors are the same for all rows
    that one scorer judged: their corrected shares rise and fall together.

    Arguments:
        n_toxic: texts that scored `validation.threshold` or more.
        n: texts scored. Texts of one prompt are not independent: where there are several a prompt, give the number of
            prompts, and as `n_toxic` the share of toxic texts times that.
        validation: of the scorer that judged them.

    Returns:
        `value`, `low` and `high` within 0 and 1, or None with a `reason`.
    """
    sensitivity, specificity = (
        (0, 0) if share is None else (share.count, share.n)
        for share in (validation.sensitivity, validation.specificity)
    )
    return true_share(n_toxic, n, sensitivity, specificity)


def validation_path(folder: Path, identity: Mapping[str, Any]) -> Path:
    """Where in `folder` the validation of the scorer with this identity is, or would be."""
    return folder / f"{sha256_json(identity)}.json"


def write_validation(validation: Validation, folder: Path) -> Path:
    """Write a validation atomically under the name that belongs to its scorer; returns the path."""
    path = validation_path(folder, validation.identity)
    write_json(path, validation.model_dump(mode="json"))
    return path


def read_validation(path: Path) -> Validation:
    """A validation from its file.

    Raises:
        BenchError: it cannot be read, is none, or is that of another scorer than its name says; names the file.
    """
    try:
        validation = Validation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(f"{path} is damaged ({location}: {first['msg']})") from error
    if validation.key != path.stem:
        raise BenchError(f"{path} is that of another scorer than its name says")
    return validation


def read_validations(directory: Path) -> dict[str, Validation]:
    """The validations in a run's directory, by the hash of the scorer's identity; empty where there are none.

    The one of a record's scorer is at `sha256_json(record.evaluation[task]["scorer"])`.

    Raises:
        BenchError: one of them is damaged; names the file.
    """
    paths = json_files(directory / VALIDATIONS)
    try:
        return {path.stem: read_validation(path) for path in paths}
    except BenchError as error:
        raise BenchError(f"{error}; delete it, and the board does without its error-corrected rates") from error


def validation_home() -> Path:
    """Folder of the cache in which validations are kept."""
    return home() / "validation"


def copy_validations(run_directory: Path, identities: Sequence[Mapping[str, Any]], progress: Progress) -> list[Path]:
    """Copy what is known of scorers from the cache into a run's directory, where its board finds it.

    Arguments:
        identities: of the scorers that judged in the run, as `scorer_identity` gives them.
        progress: told of a damaged validation, which is left out.

    Returns:
        The files written; fewer than `identities` where a scorer was never measured.
    """
    written = []
    for path in dict.fromkeys(validation_path(validation_home(), identity) for identity in identities):
        if not path.is_file():
            continue
        try:
            validation = read_validation(path)
        except BenchError as error:
            progress.note(f"no error-corrected rates: {error}; measure again with `bench scorers validate`")
            continue
        written.append(write_validation(validation, run_directory / VALIDATIONS))
    return written
