"""Text that a model writes after prompts: batched, and the same whatever the batches are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.passes.batching import Batching, Pass, run_batches
from bench.core.passes.chat_template import ChatTemplate
from bench.core.passes.footprint import context_window, writing_footprint
from bench.core.passes.padding import writing_batches
from bench.core.passes.prompts import prompt_ids
from bench.core.passes.shapes import fixed_rows
from bench.core.progress import Progress
from bench.tasks.outputs.continuations import Continuation, GeneratedRow, GenerationSettings
from bench.tasks.texts.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.tasks.outputs.writer import Writer


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    seed: int,
    batch_size: int,
    progress: Progress,
    description: str = "generate",
    ends: frozenset[int] = frozenset(),
) -> list[Continuation]:
    """Let a model go on from every prompt, whose text is taken as it is: a chat template has been applied before.

    Every sampled text has its own random numbers, drawn from the seed, the prompt's id and the sample's number, so a
    text depends neither on the batch size nor on the other prompts (beyond floating-point rounding in the model). The
    model, its configuration and the global random state stay as they are.

    Arguments:
        seed: of the sampling; without effect at temperature 0.
        batch_size: most rows at a time; see `bench.core.passes.batching`.
        ends: tokens that end a text besides the model's own, as a chat template's end of turn.

    Returns:
        `settings.samples` continuations a prompt, by prompt, then by sample.

    Raises:
        BenchError: a prompt and its continuation do not fit the model's window, or one row alone does not fit memory.
    """
    from bench.tasks.outputs.writer import Writer

    rows = prompt_rows(tokenizer, prompts, settings.samples)
    check_window(model, rows, settings.max_new_tokens)
    writer = Writer(model, tokenizer, settings, seed)
    writer.ends |= ends
    write_rows(writer, rows, batch_size, progress, description)
    return [_continuation(row, writer.written[row.index], tokenizer, writer.ends) for row in rows]


def asked_in_chat(prompts: Sequence[Prompt], chat: ChatTemplate) -> list[Prompt]:
    """The prompts as a user's messages, each up to where the model's answer begins; ids stay.

    Raises:
        UsageError: the template refuses one; names it.
    """
    return [replace(prompt, text=chat.opened(prompt.text, f"prompt {prompt.text[:60]!r}")) for prompt in prompts]


def write_rows(
    writer: Writer, rows: Sequence[GeneratedRow], batch_size: int, progress: Progress, description: str
) -> int:
    """Have every row written, into `writer.written`; the most rows that were written at once.

    Raises:
        BenchError: one row alone does not fit memory.
    """
    model, together = writer.model, writing_batches(writer.model)
    if together is Batching.padded:
        writer.rows_at_once = fixed_rows(
            model.device.type, str(model.dtype).removeprefix("torch."), batch_size, writer.settings.samples
        )
    fixed = writer.rows_at_once is not None
    with progress.track(description, len(rows)) as advance:
        work = Pass[GeneratedRow](
            what="prompt",
            width=writer.width,
            footprint=writing_footprint(model, writer.settings.max_new_tokens, sampled=writer.settings.temperature > 0),
            run=lambda batches: writer.run(batches, advance),
            is_finished=lambda row: row.index in writer.written,
            together=Batching.equal if fixed else together,
            fixed=fixed,
        )
        return run_batches(work, rows, writer.rows_at_once or batch_size, model.device, progress)


def prompt_rows(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], samples: int) -> list[GeneratedRow]:
    """What is to be written after prompts: `samples` rows each, by prompt, then by sample."""
    tokens = prompt_ids(tokenizer, [prompt.text for prompt in prompts])
    return [
        GeneratedRow(position * samples + sample, prompt.id, sample, tokens[position])
        for position, prompt in enumerate(prompts)
        for sample in range(samples)
    ]


def check_window(model: PreTrainedModel, rows: Sequence[GeneratedRow], max_new_tokens: int) -> None:
    """Refuse a prompt that leaves too little room for what is to be written.

    Raises:
        BenchError: prompt and new tokens do not fit the model's window.
    """
    window = context_window(model.config)
    for row in rows:
        if window is not None and len(row.tokens) + max_new_tokens > window:
            raise BenchError(
                f"prompt {row.prompt_id} has {len(row.tokens)} tokens; with {max_new_tokens} new ones it does not fit "
                f"the model's window of {window}: shorten it or generate less"
            )


def _continuation(
    row: GeneratedRow, written: list[int], tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]
) -> Continuation:
    length = next((index for index, token in enumerate(written) if token in ends), len(written))
    # Decoding the whole and cutting the prompt off keeps the leading space that some tokenizers drop at a beginning.
    prompt = _decode(tokenizer, row.tokens)
    text = _decode(tokenizer, [*row.tokens, *written[:length]])[len(prompt) :].rstrip("\ufffd")
    tokens = tuple(written[: length + 1])
    return Continuation(row.prompt_id, row.sample, text, length, ended=length < len(written), tokens=tokens)


def _decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
