"""What an edit did, in terms that a person can read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy.linalg import subspace_angles
from torch import Tensor, nn

from bench.methods.projection.anatomy import Anatomy
from bench.methods.projection.subspace import Subspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EXPLAINED = 5
"""Leading directions of a layer that are put in tokens; more would swell records without being read."""
TOKENS = 10
"""Tokens named on each side of a direction."""
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "final_norm")
"""What a body calls the norm between its last block and the output embeddings."""
SPACE = "␣"
UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
ROWS = 16_384
"""Output embeddings in float32 at a time: a large vocabulary whole would outweigh the edit."""


@dataclass(frozen=True)
class Lens:
    """A model's way from the residual stream to the vocabulary, in float32 and apart from the model."""

    to_features: Callable[[Tensor], Tensor]
    """From (…, d_model) to what meets the output embeddings; its norm makes length irrelevant."""
    embeddings: Tensor
    """Of the output, (vocabulary, features), as they lie in the model."""

    def effects(self, directions: Tensor) -> Tensor:
        """How much each direction raises each token's logit rather than lowers it, (directions, vocabulary).

        Half the logits of +v minus half those of -v, each through the final norm: what a norm's or a head's bias adds
        to both says nothing of v, and would put the same common tokens on either side.
        """
        directions = directions.float()
        features = (self.to_features(directions) - self.to_features(-directions)) / 2
        return torch.cat([features @ rows.float().T for rows in torch.split(self.embeddings, ROWS)], dim=1)


@torch.no_grad()
def explain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    anatomy: Anatomy,
    subspaces: Mapping[int, Subspace],
    clean: Mapping[int, Subspace],
) -> dict[int, dict[str, Any]]:
    """By layer: what each removed direction does to the vocabulary, and its angles to the directions without noise.

    Arguments:
        model: edited or not: its final norm and output embeddings are all that is read.
        tokenizer: names the tokens.
        anatomy: of the model.
        subspaces: what was removed, by layer.
        clean: what would have been removed had there been no noise; empty where there was none.

    Returns:
        `directions`, the leading `EXPLAINED` of the layer, each with `promotes` and `suppresses`, the `TOKENS` tokens
        that its positive side raises and lowers most, and `agreement`, as `Subspace` has it; or None, and the
        reason in `unexplained`. `directions_left_out`, how many more were removed. `angles_to_clean_degrees`, the
        principal angles between the two subspaces, ascending; None without noise.
    """
    lens = find_lens(model, anatomy)
    unknown = {"directions": None, "unexplained": lens}
    meanings = _directions(lens, tokenizer, subspaces) if isinstance(lens, Lens) and subspaces else {}
    return {
        layer: {
            **meanings.get(layer, unknown),
            "angles_to_clean_degrees": principal_angles(subspace, clean[layer]) if layer in clean else None,
        }
        for layer, subspace in subspaces.items()
    }


def find_lens(model: PreTrainedModel, anatomy: Anatomy) -> Lens | str:
    """The way from `model`'s residual stream to its logits; or why it is not known. The model is only read.

    The final norm is found by its name, and OPT's projection between norm and output embeddings, where it has one.
    """
    norms = [name for name, module in anatomy.body.named_children() if name in FINAL_NORMS and module is not None]
    head = cast(Any, model).get_output_embeddings()  # transformers gives it no type
    if len(norms) != 1:
        seen = ", ".join(name for name, _ in anatomy.body.named_children())
        return f"no final norm is known in this architecture; parts of its body: {seen}"
    if not isinstance(head, nn.Linear):
        return f"the output embeddings are no plain matrix but {type(head).__name__}"
    parts = [getattr(anatomy.body, name, None) for name in (norms[0], "project_out")]
    layers = [copy.deepcopy(part).float() for part in parts if part is not None]
    value = anatomy.values[0]
    probe = torch.ones(1, value.weight.shape[1 if value.stream_last else 0], device=head.weight.device)
    to_features = nn.Sequential(*layers).to(head.weight.device)
    if (width := to_features(probe).shape[1]) != head.weight.shape[1]:
        return f"the final norm gives {width} features and the output embeddings take {head.weight.shape[1]}"
    return Lens(to_features, head.weight)


def principal_angles(removed: Subspace, clean: Subspace) -> list[float]:
    """Between the spans of two sets of directions, in degrees from 0 to 90, ascending; as many as the smaller has.

    Reference: Knyazev and Argentati 2002, whose sines keep small angles exact where cosines would not.
    """
    bases = [np.asarray(subspace.directions.cpu().double()).T for subspace in (removed, clean)]
    angles: list[float] = np.sort(np.rad2deg(subspace_angles(*bases))).tolist()
    return angles


def _directions(
    lens: Lens, tokenizer: PreTrainedTokenizerBase, subspaces: Mapping[int, Subspace]
) -> dict[int, dict[str, Any]]:
    """All layers at once, at least one, so that the output embeddings are read a single time."""
    shown = {layer: subspace.first(EXPLAINED) for layer, subspace in subspaces.items()}
    device = lens.embeddings.device
    effects = lens.effects(torch.cat([subspace.directions.to(device) for subspace in shown.values()]))
    # Rows beyond the tokenizer's are padding of the matrix, which no text can hold.
    effects = effects[:, : len(tokenizer)]
    count = min(TOKENS, effects.shape[1])
    raised, lowered = (sign.topk(count, dim=1).indices.tolist() for sign in (effects, -effects))
    names = token_names(tokenizer, {token for row in raised + lowered for token in row})
    promotes, suppresses = (iter([[names[token] for token in ids] for ids in rows]) for rows in (raised, lowered))
    return {
        layer: {
            "directions": [
                {"promotes": next(promotes), "suppresses": next(suppresses), "agreement": agreement}
                for agreement in (
                    [None] * len(subspace.directions) if subspace.agreement is None else subspace.agreement.tolist()
                )
            ],
            "directions_left_out": len(subspaces[layer].directions) - len(subspace.directions),
        }
        for layer, subspace in shown.items()
    }


def token_names(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[int]) -> dict[int, str]:
    r"""Each token's text inside a sentence, with spaces as `␣` and unprintable characters as `\n` or `\u200b`.

    A token that is no text by itself, such as a part of a character, is named as the tokenizer's vocabulary has it.
    The tokenizer is only read.
    """
    anchors = tokenizer.encode("a", add_special_tokens=False)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    before = decode(anchors)
    names = {}
    for token in tokens:
        # Some tokenizers drop the space that a text begins with, so the token must not come first.
        whole = decode([*anchors, token])
        text = whole.removeprefix(before)
        readable = whole.startswith(before) and text and UNDECODABLE not in text
        text = text if readable else str(tokenizer.convert_ids_to_tokens(token))
        names[token] = "".join(
            SPACE if c == " " else c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
        )
    return names
