"""A model's name on a hub: `OWNER/REPOSITORY`, and after a colon what of it: `:int4`, or `:Q4_K_M` of GGUF files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen3edge.errors import RequestError, shown

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(?::(?P<tag>{_TAG}))?", re.ASCII)
_FILES = (".q3e", ".gguf", ".safetensors", ".json")


@dataclass(frozen=True)
class ModelName:
    """repository: owner and name, each a plain name of a folder. tag: what of it, as it was given."""

    repository: str
    tag: str | None = None

    @classmethod
    def read(cls, text: str) -> ModelName | None:
        """None for what is no name of a model: a path to a file, for example."""
        match = _NAME.fullmatch(text)
        if match is None or ".." in text or (match["tag"] is None and text.lower().endswith(_FILES)):
            return None
        return cls(match["repository"], match["tag"])

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Raises RequestError."""
        if (name := cls.read(text)) is None:
            raise RequestError(
                f"expected a model's name as OWNER/REPOSITORY or OWNER/REPOSITORY:TAG, found {shown(text)}"
            )
        return name

    def __str__(self) -> str:
        return self.repository if self.tag is None else f"{self.repository}:{self.tag}"


def is_tag(text: str) -> bool:
    """Whether a file may have it as a name, and a model behind its colon."""
    return re.fullmatch(_TAG, text, re.ASCII) is not None and ".." not in text
