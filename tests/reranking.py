"""A vocabulary that a reranker needs."""

import json
from pathlib import Path


def add_yes(path: Path) -> None:
    """To the tiny tokenizer at that path, in which the real one's token of yes takes the place of the last learned."""
    tokenizer = json.loads(path.read_text())
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    vocabulary["yes"] = vocabulary.pop("".join(merges.pop()))
    merges.append(["y", "es"])
    path.write_text(json.dumps(tokenizer))
