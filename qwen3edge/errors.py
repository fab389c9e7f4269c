"""The exceptions that users catch. Each message says what was expected and what was found."""

from __future__ import annotations


class Qwen3EdgeError(Exception):
    """Base of every error that this package raises on purpose."""


class FileFormatError(Qwen3EdgeError):
    """A `.q3e` file breaks the rules of docs/format.md."""


class NotBuiltError(Qwen3EdgeError, ImportError):
    """The C++ core is not beside the package: a checkout without its build, or one for another Python."""


class MissingExtraError(Qwen3EdgeError, ModuleNotFoundError):
    """What was imported needs an extra of the package that is not installed."""


class TruncatedFileError(FileFormatError):
    """The file ends before its declared contents do."""


class ForeignFileError(FileFormatError):
    """The file is of another kind, version or architecture."""


class CorruptFileError(FileFormatError):
    """A checksum differs, or stored values are outside what the format allows."""


class CheckpointError(Qwen3EdgeError):
    """A source checkpoint is incomplete or contradicts itself."""


class MissingShardError(CheckpointError):
    """The index of a checkpoint names a file that is absent or is no weights."""


class UnsupportedModelError(Qwen3EdgeError):
    """An architecture, tokenizer or option that this version cannot run."""


class SessionFileError(FileFormatError):
    """A saved session is damaged, or does not fit this model and this version of the program."""


class MemoryBudgetError(Qwen3EdgeError):
    """The model does not fit the budget; the message has the breakdown and what would fit."""


class RequestError(Qwen3EdgeError, ValueError):
    """An argument of a call is out of its range."""


class ContextError(RequestError):
    """A prompt does not fit the context. tokens: of the prompt, at least; context: what a sequence can hold."""

    def __init__(self, message: str, *, tokens: int = 0, context: int = 0) -> None:
        super().__init__(message)
        self.tokens, self.context = tokens, context


class CancelledError(Qwen3EdgeError):
    """Another thread ended the call."""


class GrammarError(Qwen3EdgeError):
    """The grammar of an answer cannot be followed any further: it needs more than it may take."""


class BusyError(Qwen3EdgeError):
    """So many requests wait already that no more are taken: try again later."""


class HubError(Qwen3EdgeError):
    """A hub of models refuses, cannot be reached, or sent what it did not promise."""


class TemplateError(Qwen3EdgeError):
    """A chat template is malformed, refuses the messages, or asks for more than a template may."""


def shown(value: object) -> str:
    """At most 60 characters of a value for a message. Whatever it is: its own `repr` may fail, or be as long as it
    likes.
    """
    try:
        if isinstance(value, int) and value.bit_length() > 256:
            return f"an integer of {value.bit_length()} bits"
        if isinstance(value, str | bytes) and len(value) > 60:
            value = value[:60]
        return f"{value!r:.60}"
    except Exception:
        return f"a {type(value).__name__}"
