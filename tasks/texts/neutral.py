"""Prose that has nothing to do with the pairs, for controls that are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.code_version import code_version
from bench.core.errors import UsageError
from bench.core.progress import Progress
from bench.core.store.assets import describe_missing
from bench.tasks.texts.prose import sample_documents, text_source


def neutral_identity(locator: str) -> Mapping[str, Any]:
    """What the texts depend on, as plain JSON. Needs no network.

    Raises:
        UsageError: it names a file that does not exist.
    """
    return {**text_source(locator).identity(), "code": code_version(__name__)}


def neutral_downloads(locator: str) -> list[str]:
    """One line for each thing that `neutral_texts` would download now."""
    hub = [locator] if locator.startswith(("hub:", "wikitext")) else []
    return [*describe_missing(text_source(locator).assets()), *hub]


def neutral_texts(locator: str, at_least: int, progress: Progress) -> list[str]:
    """The distinct documents of a source, the last of its fair order first.

    Perplexity reads the same order from its beginning: with a limit it is measured on other documents than these, as
    long as there are enough of both.

    Arguments:
        locator: as for `bench.tasks.texts.prose.text_source`.
        at_least: documents without which there is no point in going on.
        progress: shows what is downloaded.

    Raises:
        UsageError: there are fewer documents.
        BenchError: the source cannot be had.
    """
    source = text_source(locator)
    source.prepare(progress)
    texts = sample_documents(source, None)[::-1]
    if len(texts) < at_least:
        raise UsageError(
            f"{at_least} neutral texts are needed, two for each pair, and {locator} has {len(texts)}; name a source "
            "with more of them, with --set pairs.neutral=SOURCE"
        )
    return texts
