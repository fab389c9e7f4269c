"""A core whose answers are written down beforehand, over a vocabulary of bytes: tests decide what the model says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qwen3edge.errors import CancelledError
from qwen3edge.generation.grammars import Grammars
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.generation.session import GenerationDefaults, Session
from qwen3edge.runtime.engine import Engine
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.template import ChatTemplate
from qwen3edge.text.tokenizer import Tokenizer
from tests.reference.byte_alphabet import BYTE_TO_CHAR

ADDED = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
VOCABULARY = 256 + len(ADDED)
END, OPEN, CLOSE, CALL, CALLED = range(258, 263)

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)


def metadata(**changes: object) -> dict[str, object]:
    """A dict has the two methods of a file's metadata."""
    keys: dict[str, object] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": [*BYTE_TO_CHAR.values(), *ADDED],
        "tokenizer.ggml.token_type": [1] * 256 + [3, 3, 3, 4, 4, 4, 4],
    }
    return keys | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}


def ids(text: str | bytes) -> list[int]:
    """A token for each byte. BYTE_TO_CHAR's order is not the bytes' own."""
    order = list(BYTE_TO_CHAR)
    return [order.index(byte) for byte in (text.encode() if isinstance(text, str) else text)]


class FakeCore:
    """Says `script`, one token after each token that it is asked for; then `END` for ever.

    `log` holds the tokens of each call. Calls fail, half done, while `failing` is set.
    """

    def __init__(self, script: list[int], context: int = 400, sequences: int = 1, chunk: int = 16) -> None:
        self.script = script
        self.said = 0
        self.caches: list[list[int]] = [[] for _ in range(sequences)]
        self.log: list[list[int]] = []
        self.failing: BaseException | None = None
        self.metrics = {
            "bytes_read": 0,
            "wait_seconds": 0.0,
            "expert_hits": 0,
            "expert_misses": 0,
            "expert_guesses": 0,
            "expert_guesses_right": 0,
            "experts_left_out": 0,
        }
        sizes = dict.fromkeys(("weights", "kv_cache", "scratch", "program", "peak", "budget"), 0)
        self.plan = {
            **sizes, "context": context, "sequences": sequences, "chunk": chunk, "threads": 1, "kv": "int8"
        }  # fmt: skip

    def reachable(self, length):
        """Where `truncate` gets to."""
        return length

    def forward(self, tokens, positions, slots, want, *, cancel=None):
        tokens, positions, slots, want = map(np.asarray, (tokens, positions, slots, want))
        slot = int(slots[0])
        cache = self.caches[slot]
        assert (slots == slot).all()
        assert positions.tolist() == list(range(len(cache), len(cache) + len(tokens)))
        assert len(cache) + len(tokens) <= self.plan["context"]
        assert 0 < len(tokens) <= self.plan["chunk"]
        if self.failing is not None:
            raise self.failing
        if cancel is not None and cancel.is_set():
            raise CancelledError("forward: cancelled")
        cache.extend(tokens.tolist())
        self.log.append(tokens.tolist())
        logits = np.zeros((int(want.sum()), VOCABULARY), np.float32)
        for row in logits:
            row[self.script[self.said] if self.said < len(self.script) else END] = 100
            self.said += 1
        return logits

    def length(self, slot):
        return len(self.caches[slot])

    def truncate(self, slot, length):
        assert length <= len(self.caches[slot])
        del self.caches[slot][self.reachable(length) :]
        return len(self.caches[slot])


def assert_held(session: Session, core: FakeCore) -> None:
    """The cache holds a beginning of the conversation: all but the last token, which nobody computed yet."""
    held = core.caches[0]
    assert list(session.tokens[: len(held)]) == held


def make_tokenizer() -> Tokenizer:
    return Tokenizer.from_metadata(metadata())


def plain_tokenizer(**changes: object) -> Tokenizer:
    """In whose vocabulary `<think>` and `</think>` are no tokens."""
    return Tokenizer.from_metadata(metadata(**{"token_type": [1] * 256 + [3, 3, 3, 5, 5, 4, 4], **changes}))


def make_session(
    core: FakeCore, template: str | None = TEMPLATE, *, make_tokenizer: Callable[[], Tokenizer] = make_tokenizer
) -> Session:
    tokenizer, ends = make_tokenizer(), frozenset([END, 256])
    prompt_builder = PromptBuilder(tokenizer, None if template is None else ChatTemplate(template))
    defaults = GenerationDefaults(prompt_builder, SamplingDefaults(), ends, VOCABULARY, 0, Grammars(tokenizer, ends))
    return Session(Engine(core, VOCABULARY), defaults)
