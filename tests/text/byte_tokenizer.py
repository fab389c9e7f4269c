"""A tokenizer that merges nothing: for what happens before BPE."""

from qwen3edge import _core
from tests.reference.byte_alphabet import BYTE_TO_CHAR


def byte_tokenizer(pre: str) -> _core.Tokenizer:
    """pre: GGUF's name of how it makes words."""
    return _core.Tokenizer("gpt2", pre, list(BYTE_TO_CHAR.values()), [1] * 256, [])
