"""Third-party chatter, kept off the screen: a person should see what this suite has to say."""

import logging
import os
import warnings

LOGGERS = (
    *("lightning", "lightning.pytorch", "lightning.fabric"),
    *("transformers", "trl", "datasets", "lm_eval", "accelerate", "httpx"),
    "matplotlib",  # which libraries import, and which speaks of its caches where HOME cannot be written
)


def silence_libraries() -> None:
    """Set before the heavy imports, so that their import-time settings see it."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # out of reach it retries, with two lines each time
    os.environ.setdefault("TQDM_DISABLE", "1")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
