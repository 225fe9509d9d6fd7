"""The most by which a setting may raise perplexity, as people write it: `5 %` or `+1`."""

import re
from typing import Any, NamedTuple

DEFAULT = "5 %"
_WRITTEN = re.compile(r"(?P<share>\d+(\.\d+)?)\s*%|\+\s*(?P<amount>\d+(\.\d+)?)")


class PerplexityRise(NamedTuple):
    """A bound on perplexity's rise over the unaligned model's."""

    text: str
    """As it is shown: `5 %`, or `+1`."""
    amount: float
    relative: bool

    def share_of(self, base: float) -> float:
        """The bound as a share of the unaligned model's perplexity."""
        return self.amount if self.relative else self.amount / base


def parse_rise(written: Any) -> PerplexityRise:
    """Read a bound; a whole number is what YAML makes of `+1`.

    Raises:
        ValueError: it is neither a share in per cent nor a rise, or is 0.
    """
    text = f"+{written}" if isinstance(written, int) and not isinstance(written, bool) else str(written).strip()
    match = None if isinstance(written, float) else _WRITTEN.fullmatch(text)
    number = float(match["share"] or match["amount"]) if match else 0.0
    if match is None or number == 0:
        raise ValueError(f"give the most by which perplexity may rise as '5 %' or '+1', in quotes; found {written!r}")
    relative = match["share"] is not None
    return PerplexityRise(
        f"{number:g} %" if relative else f"+{number:g}", number / 100 if relative else number, relative
    )
