"""The C++ core as Python sees it (csrc/bindings/module.cpp)."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from qwen3edge.settings import CoreSettings

NUMERICS_VERSION: int
"""Raised whenever a bit of a logit changes."""

MetadataValue = bool | int | float | str | list[bool] | list[int] | list[float] | list[str]

class TensorInfo(TypedDict):
    name: str
    format: str  # block format: "f32", "bf16", "q8", "q8g32", "q4z32", "q6z32", ...
    rows: int
    columns: int
    offset: int  # bytes from the start of the file, a multiple of 64
    nbytes: int
    crc32: int

class PlanResult(TypedDict):
    """Bytes. peak = program + weights + buffers + kv_cache + scratch."""

    weights: int  # resident
    buffers: int  # for what is streamed
    kv_cache: int
    scratch: int
    program: int
    peak: int
    budget: int
    context: int
    sequences: int
    draft_tokens: int  # of a step
    chunk: int  # tokens per prefill chunk
    threads: int
    kv: str
    kv_bytes_per_token: int  # by which a conversation grows
    pages: int  # of 64 tokens, that all sequences and the prefix cache share
    layers: int
    streamed_layers: int
    streams_head: bool
    streamed: int  # bytes that a decoded token, or a chunk of a prompt, reads from the file
    experts: int  # of all layers together
    expert_slots: int  # 0: all are resident
    expert_bytes: int  # of a slot
    min_expert_share: float  # lossy when above 0

class Metrics(TypedDict):
    """Since the engine was made."""

    bytes_read: int  # from the file, of what is streamed
    wait_seconds: float  # that threads stood still for these reads
    expert_hits: int  # experts that were asked for and in a slot
    expert_misses: int
    expert_guesses: int  # experts that were read before anyone asked
    expert_guesses_right: int  # of these, asked for then
    experts_left_out: int  # for their small share

class ExpertReplay(TypedDict):
    tokens: int  # that count
    seconds: float
    disk: float  # bytes per second of large reads, in between
    hits: int
    misses: int
    bytes_read: int
    wait_seconds: float

def default_budget(root: str = "") -> int:
    """min(cgroup limit, MemAvailable + what the process holds), less a sixteenth, at most 512 MiB.

    root: where the file system begins, for tests.
    """

def isa_tiers() -> list[str]:
    """The tiers that this machine runs, slowest first, e.g. ["scalar", "avx2", "avxvnni", "avx512"]."""

def selected_isa() -> str:
    """The tier that new engines use: the best one, or the one that QWEN3EDGE_ISA names."""

def usable_cores(root: str = "") -> int:
    """min(affinity mask, whole cores of the smallest cgroup quota), at least 1. root: of the file system, for tests."""

def crc32(data: bytes | NDArray[np.uint8], value: int = 0) -> int:
    """CRC-32 as in zlib, continued from value."""

class BlockFormat(TypedDict):
    name: str
    block: int  # values of K that share one float scale; also the activations' block; 0 for f32 and bf16
    group: int  # values of K that share an integer scale and offset or an fp16 scale
    bits: float  # bits a weight for long rows

def block_formats() -> list[BlockFormat]: ...
def packed_nbytes(format: str, rows: int, columns: int) -> int:
    """Bytes of a packed matrix; raises RequestError for columns that the format cannot hold."""

def quantize(
    format: str,
    weights: NDArray[np.generic],
    *,
    isa: str | None = None,
    importance: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Packs weights [rows, columns] (float32, float16, or uint16 holding bfloat16).

    importance: [columns], what a squared error in each column counts, 2^-20 to 2^20; None for all alike.

    Runs on the calling thread without the GIL. Panels of 16 rows are independent, so packing consecutive slices of a
    multiple of 16 rows and concatenating the results gives the bytes of the whole.
    """

def dequantize(format: str, packed: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]: ...

class ModelFile:
    """A mapped `.q3e` file, fully bounds-checked when opened. Raises the errors of qwen3edge.errors."""

    def __init__(self, path: str) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    def keys(self) -> list[str]: ...
    def __contains__(self, key: str) -> bool: ...
    def get(self, key: str) -> MetadataValue:
        """Raises KeyError for a key that is absent."""

    def tensors(self) -> list[TensorInfo]: ...
    def blocks(self) -> list[tuple[str, int]]:
        """The kind of each block and its layer, in the order of the steps."""

    def packed(self, name: str) -> NDArray[np.uint8]:
        """The packed bytes as a read-only view of the mapping."""

    def dequantize(self, name: str) -> NDArray[np.float32]: ...
    def release_header(self) -> None:
        """Takes the header's pages out of this process; they come back when they are read."""
    def verify(self) -> None:
        """Reads every tensor. Raises CorruptFileError naming the first whose checksum differs, whose scales are not
        finite, or whose w8 leaves int8."""

class Bpe:
    """Byte-level BPE: the ids of words, the bytes of ids.

    Raises FileFormatError for a vocabulary that contradicts itself. tokens and merges are
    in GPT-2's byte-level alphabet; kinds are `tokenizer.ggml.token_type`.
    """

    def __init__(self, tokens: list[str], kinds: list[int], merges: list[str]) -> None: ...
    @property
    def size(self) -> int:
        """Ids up to the largest."""

    def added(self) -> list[tuple[str, int, bool]]:
        """(text, id, whether it is a control token) of what no merge makes."""

    def token_bytes(self, token: int) -> bytes:
        """Of an unused id, or one out of range, none."""

    def turn_boundaries(self, tokens: Sequence[int]) -> list[int]:
        """Lengths of a prompt that later ones are likely to have in common with it, ascending: up to its second turn,
        and up to the answer's.
        """

    def encode(self, words: list[str]) -> list[int]:
        """The ids of each word in turn; no merge goes beyond a word."""

class Tokenizer:
    """Text to token ids and back: Bpe, the words that it works on, and the names of added tokens in texts.

    A str may hold surrogates: the halves of a character are put together, what else there is counts as U+FFFD, as
    invalid UTF-8 does. Calls run without the GIL.
    """

    def __init__(self, model: str, pre: str, tokens: list[str], kinds: list[int], merges: list[str]) -> None:
        """model, pre: `tokenizer.ggml.model` and `tokenizer.ggml.pre`; the others as of Bpe. Raises
        UnsupportedModelError for another kind of tokenizer, FileFormatError for a vocabulary that contradicts itself.
        """
    @staticmethod
    def read(file: ModelFile) -> Tokenizer:
        """From the `tokenizer.ggml.*` keys of a file; keeps nothing of the mapping. Raises as the constructor."""

    @property
    def bpe(self) -> Bpe: ...
    def marks(self) -> list[int]:
        """Ids of control tokens and tags, which are not text, ascending."""

    def encode(
        self, text: str | bytes, *, special: bool = False, marked: bool = False, most: int | None = None
    ) -> list[int] | None:
        """The ids of a text; None if there are more than `most`. special: the names of control tokens and tags become
        those tokens. marked: a rendered template, whose names do, but for what `protect` marked. Raises RequestError
        for a text of more than 2**24 characters, or with a word of more than 2**16.
        """

    def protect(self, text: str, *, tags: bool) -> str:
        """The text with marks, lone surrogates, in the names of control tokens, and in those of tags if `tags`."""

    def decode(self, ids: list[int], *, skip_control: bool) -> str:
        """The text of tokens, without control tokens if `skip_control`. Ids without a token are no text."""

    def words(self, text: str) -> list[str]:
        """What BPE works on, of the normal form if the tokenizer makes that. For tests."""

def normal_form(text: str) -> str:
    """Unicode's normal form C with the tables that tokenizers have. For tests."""

def text_chunks(text: str, characters: int) -> list[str]:
    """The parts in which a text is encoded, each cut at the first good place after so many characters. For tests."""

class TemplateTree:
    """A chat template's syntax tree (docs/format.md), ready to run; any number of threads may.

    Raises FileFormatError for damaged bytes and a tree of another source, UnsupportedModelError for
    another version.
    """

    def __init__(self, bytes: bytes, source: str) -> None: ...
    @staticmethod
    def read(file: ModelFile) -> TemplateTree:
        """Of the file's template; keeps nothing of the mapping."""

    def render(self, variables: dict[str, Any], limit: int | None = None) -> str:
        """variables: JSON values, dicts of other classes being what `str` says where a text is wanted.
        limit: of characters.

        Raises TemplateError if the template refuses the variables, fails or leaves its bounds;
        UnsupportedModelError where only jinja2 goes on.
        """

def likelihood(state: Sequence[float], first: Sequence[float], second: Sequence[float]) -> float:
    """The softmax of two logits: how likely the first is. first, second: rows of a head, [state]. The same bits
    everywhere.
    """

def normalized(state: Sequence[float], dimensions: int) -> list[float]:
    """A state's first numbers, float32, divided by their length; of zeros zeros. The same bits everywhere."""

def json_kind(text: str) -> str | None:
    """The type, as JSON Schema names it ("number" for integers too), of the one JSON value that a text is; None if it
    is none, or nested deeper or with longer numbers than the arguments of a call may be. For tests."""

CallEvent = Literal["begun", "arguments", "complete", "broken"]
"""What happened to a tool call. The texts beside: the function's name; the next part of its arguments, JSON; none; why
it is no call: then its own text comes as content or thought, and it may not have begun."""

Piece = tuple[str, bool | CallEvent]
"""A text and whether it is a thought's, or what it says of a tool call."""

Tools = Mapping[str, Mapping[str, Sequence[str]]]
"""Of each tool's parameters the types, as JSON Schema names them."""

class AnswerText:
    """The text of an answer, token by token: whole characters, thoughts apart from content, up to the first stop
    string; and the tool calls in it. Thoughts are told by the ids of `<think>` and `</think>`, calls by those of
    `<tool_call>` and `</tool_call>`, or by these texts where they are no tokens; the blanks beside them are left out.
    In the middle of the content, and of thoughts, `<think>` and `</think>` that begin no part are text.
    """

    def __init__(
        self,
        bpe: Bpe,
        *,
        reasoning: bool = False,
        stops: Sequence[str] = (),
        tools: Tools | None = None,
        verbatim: bool = False,
    ) -> None:
        """reasoning: the prompt has opened `<think>` already. stops: looked for in the content; none is empty. tools:
        None: calls are text. verbatim: all is content, the marks are text, and neither reasoning nor tools count."""

    def push(self, token: int) -> list[Piece]:
        """The pieces that this token completes. Ids without bytes, or out of range, are no text."""

    def finish(self, cut: bool = False) -> list[Piece]:
        """What is left when the answer ends; it may complete a stop string yet. cut: the model did not end it, and a
        call that is open is not complete."""

    @property
    def stopped(self) -> bool:
        """By a stop string: nothing comes any more."""

    @property
    def stop_string(self) -> str | None:
        """By which."""

    @property
    def reasoning(self) -> bool:
        """Whether the last token was a thought's."""

    @property
    def reasoning_tokens(self) -> int:
        """Of thoughts, without the tags around them. A call in thoughts counts with them once it broke."""

    @property
    def tool_calls(self) -> int:
        """That are complete."""

def plan(
    file: ModelFile,
    **settings: Unpack[CoreSettings],
) -> PlanResult:
    """What the settings, which qwen3edge.settings explains, will cost. What is above the budget is streamed.

    memory=0: default_budget(). chunk=0: the largest prefill chunk up to 256 that fits, 512 when streaming. program=0:
    the process's resident set now, an allowance and `later`.
    Raises MemoryBudgetError with the breakdown and the nearest settings that fit.
    """

class PlannedDraft:
    """A smaller model that drafts tokens for another one, before its weights are read."""

    def __init__(self, file: ModelFile, model: ModelFile, **settings: Unpack[CoreSettings]) -> None:
        """file: of the one that drafts. settings: of the other, whose sequences and context it shares. Raises
        RequestError for other tokens, a shorter context or no head, UnsupportedModelError for one that cannot go back
        token by token, MemoryBudgetError where its weights would not stay in memory.
        """

    @property
    def file(self) -> ModelFile: ...
    @property
    def context_length(self) -> int:
        """Positions that it knows."""

    @property
    def nbytes(self) -> int:
        """All that it will take."""

    def open(self) -> Engine:
        """It in memory."""

class CancelFlag:
    """Ends the calls of `forward` that it is given to, within a layer. Any thread sets it; `clear` ends that."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...

class Engine:
    """Weights, KV cache, scratch and threads: everything that `forward` needs is allocated here."""

    def __init__(
        self,
        file: ModelFile,
        *,
        isa: str | None = None,
        **settings: Unpack[CoreSettings],
    ) -> None: ...
    @property
    def plan(self) -> PlanResult: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def isa(self) -> str: ...
    def forward(
        self,
        tokens: NDArray[np.int32] | Sequence[int],
        positions: NDArray[np.int32] | Sequence[int],
        slots: NDArray[np.int32] | Sequence[int],
        want: NDArray[np.bool_] | NDArray[np.integer[Any]] | Sequence[int],
        *,
        rope_positions: NDArray[np.int32] | None = None,
        embeddings: Sequence[NDArray[np.float32] | None] | None = None,
        hidden: NDArray[np.float32] | None = None,
        cancel: CancelFlag | None = None,
    ) -> NDArray[np.float32]:
        """One ragged batch, all arrays of one length; returns float32 [entries that want logits, vocabulary].

        The tokens of a slot are consecutive in the batch, at ascending positions that continue the slot's cache or
        rewind into it (whatever lies at and after the first position is forgotten).
        want: bits for each entry: 1 (or True) its logits, 2 the state after the final norm, which is written into
        `hidden`, float32 [entries that want it, hidden_size].
        rope_positions: [entries, 3], time, height and width, where they are not `positions` three times.
        embeddings: for each entry a row float32 [hidden_size] in place of its token's, or None; its token is then a key
        of the row's content, any number, which caches of prefixes compare.
        Raises RequestError, nothing changed, for a token, position or slot out of range; CancelledError, the tokens
        taken back as far as `truncate` can, when the flag is set before the last layer: `length` says what is left.
        """

    def observe(self, callback: Callable[[str, int, int, NDArray[np.float32]], None] | None) -> None:
        """Calls callback(tensor, layer, expert, values) in `forward` for each input of matrices; None: no more.

        values: float32 [tokens, columns], as the matrices get them. tensor: the first of those that share the input:
        "attn_q" (and k, v), "attn_output", "ffn_gate" (and up), "ffn_down", "output" (of the tokens that want logits;
        layer -1). expert: -1, or which of the layer's experts. What the callback raises, `forward` raises.
        """

    def length(self, slot: int) -> int:
        """Tokens in the cache of a slot."""

    def truncate(self, slot: int, length: int) -> int:
        """Leaves at most `length` tokens and returns how many: all of them in a KV cache; where a block overwrites its
        state, as many as at the last snapshot before. The caller computes the rest again."""

    def snapshot(self, slot: int, tokens: Sequence[int] = ()) -> None:
        """Makes the present length one that `truncate` can reach, where it could not reach any. tokens: all of the
        sequence, so that `reuse` finds the place; or none."""

    def reuse(self, slot: int, tokens: Sequence[int]) -> int:
        """Empties a sequence and gives it the longest beginning of tokens that was kept, in shared pages, at most all
        but the last, whose logits are needed. Returns its length: a snapshot's where a block's state cannot be cut."""

    def keep(self, slot: int, tokens: Sequence[int]) -> None:
        """Notes what a sequence's first tokens are, so that others may reuse them: as many as its length, or whole
        pages of 64."""

    def share(self, source: int, target: int, length: int = ...) -> int:
        """Empties target and gives it source's first tokens, by default all, in shared pages; returns how many."""

    def head_row(self, token: int) -> list[float]:
        """The head's weights of a token, [hidden_size]: its logit is their product with the state after the final norm.

        Raises RequestError, UnsupportedModelError where there is no head."""

    def clear_prefixes(self) -> None:
        """Forgets what was kept."""

    def save_session(self, tokens: Sequence[int], path: str | os.PathLike[str], note: bytes) -> None:
        """Writes tokens, note and what is kept of the tokens' pages to a file, atomically.

        Raises RequestError, OSError."""

    def load_session(self, path: str | os.PathLike[str]) -> tuple[list[int], bytes]:
        """Tokens and note of such a file, whose pages are kept now, as many as there is memory for. Raises
        FileFormatError and its kinds, also for a session of another model, KV type or numerics version; OSError."""

    def available_pages(self) -> int:
        """Pages that a batch can take, those included that only `keep` holds."""

class PromptLookup:
    """Where the last tokens of a text stood before. context: tokens that it may have."""

    def __init__(self, context: int) -> None: ...
    def find(self, tokens: Sequence[int]) -> tuple[int, int]:
        """tokens: those of the last call, and what came since. The position of what followed, where most tokens before
        it (3 to 32) are as the last ones, and how many are; (0, 0) when there is no such place."""

class Sampler:
    """Picks tokens, and says how probable they were.

    The steps, in this order: tokens that are not picked (beyond `usable` or the mask; never; stop_tokens while the
    answer is shorter than min_tokens), logit_bias, repetition_penalty, frequency_penalty, presence_penalty,
    temperature, top_k, top_p (of what top_k left), min_p (of the most probable token's). top_k 0, top_p 1, min_p 0,
    frequency_penalty and presence_penalty 0, repetition_penalty 1 switch a step off; temperature 0 is greedy. What
    is drawn is a hash of seed, choice and the token's index in the answer: no state.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        usable: int | None = None,
        temperature: float = ...,
        top_k: int = ...,
        top_p: float = ...,
        min_p: float = ...,
        presence_penalty: float = ...,
        frequency_penalty: float = 0.0,
        repetition_penalty: float = ...,
        logit_bias: Mapping[int, float] = ...,
        seed: int = 0,
        choice: int = 0,
        min_tokens: int = 0,
        stop_tokens: Sequence[int] = (),
        never: Sequence[int] = (),
    ) -> None:
        """vocabulary: of the logits. usable: ids from there on are rows of padding, by default none. logit_bias: what
        is added, by tokens. choice: which of the answers to one request. never: tokens that are not picked.
        Raises RequestError for a value out of range (qwen3edge.sampling.RANGES).
        """
    @property
    def generated(self) -> int:
        """Tokens of the answer that were counted: the index of the next one."""
    def accept(self, token: int, generated: bool = True) -> None:
        """Counts a token: for the repetition penalty, and if it is the answer's also for the other two and the draws.
        `sample` does not count by itself. Raises RequestError.
        """
    def truncate(self, length: int) -> None:
        """Counts the first `length` tokens only, as the sequence itself was cut."""
    def sample(
        self,
        logits: NDArray[np.float32],
        *,
        mask: NDArray[np.uint32] | NDArray[np.int32] | None = None,
        index: int | None = None,
    ) -> int:
        """The token at `index` of the answer, by default the next one. logits: [vocabulary], NaN is never picked.
        mask: bit t % 32 of word t // 32 allows token t, nothing else is allowed; as llguidance fills it. Raises
        RequestError when nothing can be picked.
        """
    def logprobs(self, logits: NDArray[np.float32], token: int, top: int = 0) -> tuple[float, list[tuple[int, float]]]:
        """The natural logarithm of a token's probability, and the `top` (0 to 20) most probable tokens with theirs,
        best first, equal ones by id. Of softmax(logits) over the usable tokens: before bias, penalties and temperature.
        Raises RequestError.
        """

class Usage(TypedDict):
    prompt_tokens: int
    cached_tokens: int  # of the prompt, that were not computed for this answer
    completion_tokens: int
    reasoning_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float

LogprobPair = tuple[float, list[tuple[int, float]]]
"""Of a token, and of the most probable ones with their ids, best first; natural logarithms."""

class News:
    """What happened to an answer since its reader looked last."""

    @property
    def tokens(self) -> list[int]: ...
    @property
    def logprobs(self) -> list[LogprobPair]:
        """Of each of these tokens, if they were asked for."""

    @property
    def prompt_logprobs(self) -> list[LogprobPair]:
        """Of the next tokens of the prompt; the first of them is the prompt's second."""

    @property
    def pieces(self) -> list[Piece]: ...
    @property
    def state(self) -> list[float]:
        """Of a request for it, when it has ended: [hidden_size], behind the last token, after the final norm."""

    @property
    def finish(self) -> str | None:
        """None while it runs; then "stop", "tool_calls", "max_tokens", "context", "cancelled" or "error"."""

    @property
    def stop_string(self) -> str | None:
        """That ended the answer, if one did."""

    @property
    def reasoning(self) -> bool:
        """Whether the last token was a thought."""

    @property
    def computed_tokens(self) -> int:
        """Of the prompt so far, cached ones included."""

    @property
    def usage(self) -> Usage: ...
    def raise_error(self) -> None:
        """What an answer that ended with "error" failed with."""

class Generation:
    """An answer, as its one reader holds it. Dropping it ends it."""

    def next(self) -> News | None:
        """Waits for what is new, driving the engine for all answers when nobody else does; None after the end."""

    def ready(self) -> bool:
        """Whether there is something new, or it has ended."""

    def abandon(self) -> None:
        """`cancel` without waiting: it ends in the next step."""

    def poll(self) -> News | None:
        """What is new, if there is something; computes nothing."""

    def cancel(self) -> None:
        """Ends it, from any thread. When it returns, nothing is computed for it."""

class SchedulerCounts(TypedDict):
    running: int
    waiting: int
    free_sequences: int
    steps: int
    preemptions: int  # answers that were sent back to the queue, for want of pages
    drafted: int  # tokens
    accepted_drafts: int  # of these, the ones that the answers have

class Scheduler:
    """Many answers at once over one engine: a step is a batch of the rows that decode and a part of prompts."""

    def __init__(
        self, engine: object, vocabulary: int, *, draft: object | None = None, most_waiting: int = 1024
    ) -> None:
        """engine: an `Engine`, or an object with its `plan`, `forward`, `length` and `truncate`. vocabulary: logits of
        a row. draft: such an engine of a smaller model, which gives draft tokens. most_waiting: requests in the
        queue."""

    def submit(
        self,
        prompt: Sequence[int],
        sampler: Sampler,
        *,
        max_tokens: int = 0,
        stop_tokens: Sequence[int] = (),
        texts: Bpe | None = None,
        reasoning: bool = False,
        verbatim: bool = False,
        tools: Tools | None = None,
        stops: Sequence[str] = (),
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        allow: Callable[[list[int]], NDArray[np.uint32] | NDArray[np.int32] | None] | None = None,
        thinking_budget: int | None = None,
        end_of_thoughts: Sequence[int] = (),
        boundaries: Sequence[int] = (),
    ) -> Generation:
        """Puts a request at the end of the queue. sampler: this answer's alone, which has counted nothing. max_tokens
        0: until the context is full. texts None: tokens only. reasoning: the prompt has opened `<think>`. verbatim:
        thoughts and calls in the answer are text; tools None: calls are. logprobs, prompt_logprobs: how many of the
        most probable tokens are told beside each; None: no log probabilities. allow: gets the tokens of the answer
        since its last call, and gives a mask as `Sampler.sample` takes it; called in the thread of anybody who reads an
        answer. end_of_thoughts: appended once thoughts have had thinking_budget tokens. boundaries: lengths of the
        prompt behind which another is likely to go on otherwise: a state that cannot be cut is kept there.

        Raises RequestError for what no context or vocabulary takes, MemoryBudgetError for what does not fit the pages
        even alone, BusyError when the queue is full.
        """

    def submit_state(self, prompt: Sequence[int]) -> Generation:
        """A request that ends with `News.state` in place of an answer; the prompt may fill the context. Raises as
        `submit`, and RequestError on another device than the CPU."""

    def advance(self, milliseconds: int) -> bool:
        """Computes a step, or waits at most so long for the end of one that another thread computes. False when there
        is nothing to compute. For a thread that drives while others wait in their own way."""

    def take_sequence(self) -> int:
        """An empty sequence for those who drive the engine themselves. Raises RequestError when all are in use."""

    def give_sequence(self, sequence: int) -> None: ...
    def close(self) -> None:
        """Ends all answers; no request is taken any more."""

    @property
    def counts(self) -> SchedulerCounts: ...

def peak_resident_bytes() -> int:
    """VmHWM of this process."""

def resident_bytes() -> int:
    """VmRSS of this process."""

class ReadProbe:
    """512 MiB to be read by so many threads together."""

    def __init__(self, threads: int) -> None: ...
    def measure(self, seconds: float) -> float:
        """Bytes per second: the median of passes, with or without prefetching, whichever is more."""

def int8_peak(isa: str, threads: int, seconds: float) -> float:
    """Operations per second, two for a multiply-add, of the tier's int8 dot product on registers."""

class kernels:
    """Single kernels, for tests and benches. A real submodule; isa is one of isa_tiers()."""

    @staticmethod
    def quantize_activations(
        isa: str, x: NDArray[np.float32], block: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
        """[tokens, columns] -> int8 of that shape, float32 scales and int32 sums [tokens, blocks]."""
    @staticmethod
    def rmsnorm(isa: str, x: NDArray[np.float32], weight: NDArray[np.float32], eps: float) -> NDArray[np.float32]: ...
    @staticmethod
    def rmsnorm_quantize(
        isa: str, x: NDArray[np.float32], weight: NDArray[np.float32], eps: float, block: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]: ...
    @staticmethod
    def silu_panels(isa: str, gate_up: NDArray[np.float32]) -> NDArray[np.float32]: ...
    @staticmethod
    def route(
        isa: str, logits: NDArray[np.float32], top: int, normalize: bool
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]: ...
    @staticmethod
    def add_weighted(
        isa: str, rows: NDArray[np.float32], weights: NDArray[np.float32], x: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...
    @staticmethod
    def silu_mul(isa: str, gate: NDArray[np.float32], up: NDArray[np.float32]) -> NDArray[np.float32]: ...
    @staticmethod
    def sigmoid_mul(isa: str, gate: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """[tokens, columns], twice."""
    @staticmethod
    def dot_gate(
        isa: str, a: NDArray[np.float32], b: NDArray[np.float32], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """a [tokens, n], b [n], x [tokens, width]."""
    @staticmethod
    def gated_norm(
        isa: str, x: NDArray[np.float32], weight: NDArray[np.float32], gate: NDArray[np.float32], eps: float
    ) -> NDArray[np.float32]:
        """x, gate [rows, columns], weight [columns]."""
    @staticmethod
    def unit(isa: str, x: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
        """x [rows, columns] times scale over its length."""
    @staticmethod
    def conv_silu(isa: str, inputs: NDArray[np.float32], taps: NDArray[np.float32]) -> NDArray[np.float32]:
        """inputs [tokens + 3, channels], taps [4, channels] -> [tokens, channels]."""
    @staticmethod
    def delta_gates(
        isa: str,
        rate: NDArray[np.float32],
        bias: NDArray[np.float32],
        decay: NDArray[np.float32],
        write: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All [heads] -> decay and write."""
    @staticmethod
    def delta_rule(
        isa: str,
        state: NDArray[np.float32],
        q: NDArray[np.float32],
        k: NDArray[np.float32],
        v: NDArray[np.float32],
        decay: NDArray[np.float32],
        write: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One head: state [columns / 16, key_size, 16], q and k [tokens, key_size], v [tokens, columns], decay and
        write [tokens] -> outputs as v, and the state."""
    @staticmethod
    def matmul(
        isa: str, format: str, packed: NDArray[np.uint8], rows: int, columns: int, x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """x [tokens, columns], rounded as the format wants -> [tokens, rows].

        Where there is AVX-512, isa may also be "amx_emulated": AMX's kernel on tiles of plain C++."""
    @staticmethod
    def attention(
        isa: str,
        kv: str,
        qkv: NDArray[np.float32],
        heads: int,
        kv_heads: int,
        frequencies: NDArray[np.float32],
        q_weight: NDArray[np.float32] | None = None,
        k_weight: NDArray[np.float32] | None = None,
        bias: NDArray[np.float32] | None = None,
        eps: float = 1e-6,
        tile: int = 1,
        together: int = 1,
    ) -> NDArray[np.float32]:
        """A sequence through QK-norm, RoPE, KV write and causal attention, `tile` tokens and `together` KV heads at a
        time. qkv [tokens, heads + 2 kv_heads, head_dim] -> [tokens, heads, head_dim]. RoPE turns the first
        values of a head, two for each frequency. isa: as for matmul."""
    @staticmethod
    def cos_sin(position: int, frequencies: NDArray[np.float32], factor: float = 1.0) -> NDArray[np.float32]:
        """[rotated / 2] cosines, then as many sines, each times factor."""
    @staticmethod
    def time_matmul(
        isa: str,
        format: str,
        rows: int,
        columns: int,
        tokens: int,
        threads: int,
        seconds: float = 0.5,
        bytes: int = 2**28,
    ) -> float:
        """Seconds a call; matrices of at least `bytes` together take turns, so that they come from memory."""
    @staticmethod
    def time_attention(
        isa: str,
        kv: str,
        heads: int,
        kv_heads: int,
        head_dim: int,
        context: int,
        layers: int,
        threads: int,
        seconds: float = 0.5,
        tokens: int = 1,
    ) -> float:
        """Seconds a layer of the last `tokens` of `context` positions; `layers` caches take turns."""
    @staticmethod
    def time_qk_norm_rope(isa: str, kv: str, heads: int, kv_heads: int, head_dim: int, seconds: float = 0.1) -> float:
        """Seconds a token."""
    @staticmethod
    def time_delta_rule(
        isa: str,
        key_heads: int,
        heads: int,
        size: int,
        tokens: int,
        layers: int,
        threads: int,
        seconds: float = 0.5,
    ) -> float:
        """Seconds a layer."""
    @staticmethod
    def replay_experts(
        file: ModelFile, slots: int, trace: NDArray[np.uint32], warm: int, seconds: float = 60.0
    ) -> ExpertReplay:
        """Reads experts as decoding would that chooses trace [tokens, layers, experts a token]; nothing is computed.

        The slots hold what the first `warm` tokens leave in them; of the others as many count as `seconds` allow.
        Raises RequestError, OSError.
        """
    @staticmethod
    def file_bandwidth(file: ModelFile, seconds: float = 1.0) -> float:
        """Bytes per second of large reads around the page cache, several in flight. Raises RequestError, OSError."""
    @staticmethod
    def time_barrier(threads: int, seconds: float = 0.2) -> float:
        """Seconds of one barrier of the thread pool."""
