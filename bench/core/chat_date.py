"""The date that chat templates are given for today's.

Templates of Llama 3, Granite and others write the day on which they are applied into every prompt, so that the same
chat is another text tomorrow. Here they are given a date that is set.
"""

import json
from datetime import UTC, date, datetime, time

CHAT_DATE = date(2024, 7, 26)
"""What Llama 3's templates write where they know no clock."""
CODES = "aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyYzZ"
"""That `strftime` knows, but for seconds since 1970, which hang on the machine's time zone, and the percent sign."""


def asks_for_date(template: str) -> bool:
    """Whether a chat template reads the clock, for which transformers gives it one function."""
    return "strftime_now" in template


def dated(template: str, day: date) -> str:
    """A chat template that writes midnight of `day` where it wrote the time of its being applied; the same otherwise.

    A macro in front of it takes the function's place. The line break behind it is none of the text, as transformers
    renders with `trim_blocks`.
    """
    if not asks_for_date(template):
        return template
    midnight = datetime.combine(day, time())
    values = {f"%{flag}{code}": midnight.strftime(f"%{flag}{code}") for flag in ("-", "") for code in CODES}
    values["%s"] = str(int(midnight.replace(tzinfo=UTC).timestamp()))
    filters = [("%%", "\0"), *values.items(), ("\0", "%")]  # a double percent sign begins no code
    chain = "".join(f"|replace({json.dumps(code)},{json.dumps(text)})" for code, text in filters)
    return f"{{% macro strftime_now(format) %}}{{{{ format{chain} }}}}{{% endmacro %}}\n{template}"
