"""Standard output as programs read it."""

from __future__ import annotations

import json
import sys


def print_json(value: object) -> None:
    """One line. Characters are written as they are where the output's encoding has them all."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        text = json.dumps(value)
    print(text)
