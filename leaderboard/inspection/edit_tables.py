"""The layers of a projection edit as tables."""

from collections.abc import Sequence

from bench.core.reports import LayerReport, MatrixReport
from bench.leaderboard.render.numbers import MISSING
from bench.leaderboard.render.section import Section, spark

LEADING = 3
"""Singular values that stand as numbers; the bars show the rest."""
BARS = 14
"""Most bars of a spectrum: with everything else they fit 80 columns."""
HASH = 6
"""Digits of a hash that a person compares."""
COLUMNS = ("layer", "rank", "energy", "singular values", "stays", "angle", "matrix", "‖ΔW‖/‖W‖", "rank ΔW", "SHA-256")
READING = (
    "energy is the share of all squared singular values that the removed directions hold; rank ΔW leaves rounding out; "
    "SHA-256 is of a matrix's bytes before and after"
)
READING_STAYS = (
    "stays is what is left, after the edit, along the removed directions of what the MLP adds to the residual stream, "
    "beside a bias or behind a norm, as a share of all that it adds (before: in the record)"
)
STAYS = 1e-4
"""Share from which on it is shown: what rounding leaves is less."""
READING_ANGLE = "angle is the largest principal angle between what was removed and what would have been without noise"
READING_TOKENS = (
    "promotes and suppresses are the tokens whose logits a direction raises and lowers most, through the final norm; "
    "its positive side is where the rejected texts lie on average, and agreement the share of pairs of which that is "
    "true (– where the method does not say: the sign may then be arbitrary)"
)


def layer_sections(layers: Sequence[LayerReport], directions: int) -> list[Section]:
    """What was done to each layer, what the leading `directions` of each mean in tokens, and how to read that."""
    noisy = any(layer.angles_to_clean_degrees for layer in layers)
    tokens = _tokens(layers, directions)
    has_tokens = any(section.columns for section in tokens)
    notes = {READING: True, READING_STAYS: _any_stays(layers), READING_ANGLE: noisy, READING_TOKENS: has_tokens}
    reading = ". ".join(note for note, is_needed in notes.items() if is_needed)
    return [_layers(layers, noisy), *tokens, Section("", (), (("reading", reading),))]


def _layers(layers: Sequence[LayerReport], noisy: bool) -> Section:
    several = any(len(layer.matrices) > 1 for layer in layers)
    hashed = any(matrix.sha256_before for layer in layers for matrix in layer.matrices)
    shown = {"stays": _any_stays(layers), "angle": noisy, "matrix": several, "SHA-256": hashed}
    columns = tuple(name for name in COLUMNS if shown.get(name, True))
    rows = []
    for layer in layers:
        about = _about_layer(layer)
        for matrix in layer.matrices:
            cells = about | _about_matrix(matrix)
            rows.append(tuple(cells[name] for name in columns))
            about = dict.fromkeys(about, "")
    return Section("layers", columns, tuple(rows))


def _about_layer(layer: LayerReport) -> dict[str, str]:
    values = layer.singular_values
    numbers = " ".join(f"{value:.0f}" if value >= 100 else f"{value:#.3g}" for value in values[:LEADING])
    energy, angles = layer.energy_removed, layer.angles_to_clean_degrees
    return {
        "layer": str(layer.layer),
        "rank": str(layer.rank),
        "energy": MISSING if energy is None else f"{100 * energy:.1f} %",
        "singular values": f"{numbers} {spark(values, from_zero=True, width=BARS)}" if values else MISSING,
        "stays": MISSING if layer.stream_share_after is None else f"{100 * layer.stream_share_after:.2f} %",
        "angle": f"{max(angles):.2f}°" if angles else MISSING,
    }


def _any_stays(layers: Sequence[LayerReport]) -> bool:
    return any((layer.stream_share_after or 0) > STAYS for layer in layers)


def _about_matrix(matrix: MatrixReport) -> dict[str, str]:
    before, after = matrix.sha256_before, matrix.sha256_after
    return {
        "matrix": ".".join(matrix.name.removesuffix(".weight").split(".")[-2:]),
        "‖ΔW‖/‖W‖": f"{100 * matrix.relative_norm:.2f} %",
        "rank ΔW": str(matrix.rank),
        "SHA-256": f"{before[:HASH]}→{after[:HASH]}" if before and after else MISSING,
    }


def _tokens(layers: Sequence[LayerReport], count: int) -> list[Section]:
    rows = [
        (
            str(layer.layer),
            str(number),
            MISSING if direction.agreement is None else f"{100 * direction.agreement:.0f} %",
            " ".join(direction.promotes),
            " ".join(direction.suppresses),
        )
        for layer in layers
        for number, direction in enumerate((layer.directions or ())[:count], 1)
    ]
    reasons = {layer.unexplained for layer in layers if layer.unexplained}
    title = "removed directions, as tokens"
    sections = [Section(title, (), (("not known", reason),)) for reason in sorted(reasons)]
    if rows:
        heads = ("layer", "direction", "agreement", "promotes", "suppresses")
        sections.insert(0, Section(title, heads, tuple(rows)))
    return sections
