"""The model that users hold: a `.q3e` file, planned, loaded and ready to answer."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qwen3edge import _core, checks
from qwen3edge.config import ModelConfig
from qwen3edge.errors import FileFormatError, RequestError, UnsupportedModelError, shown
from qwen3edge.generation import late
from qwen3edge.generation import thinking as marks
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.prompt import Input, Prompter
from qwen3edge.generation.sampler import SamplingDefaults, chosen_seed
from qwen3edge.generation.session import Session, Voice, checked_tokens
from qwen3edge.generation.template import ChatTemplate
from qwen3edge.generation.tokenizer import Tokenizer
from qwen3edge.runtime import plan as memory_plan
from qwen3edge.runtime.engine import Engine
from qwen3edge.runtime.fork_lock import ForkLock
from qwen3edge.runtime.plan import MemoryPlan
from qwen3edge.templates.given import Given, GivenTemplate, read_template

if TYPE_CHECKING:
    from typing import NoReturn as Never  # as in session.py

    import numpy as np
    from numpy.typing import NDArray

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class _Opened:
    """A file with everything read from it but its weights."""

    file: _core.ModelFile
    config: ModelConfig
    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    defaults: SamplingDefaults
    name: str
    texts: bool

    @classmethod
    def read(cls, file: _core.ModelFile, config: ModelConfig, texts: bool, given: GivenTemplate | None) -> _Opened:
        tokenizer = None
        if "tokenizer.ggml.tokens" in file:
            tokenizer = Tokenizer.from_metadata(file, encodes=texts)
        template, named_tokens = None, tokenizer.named_tokens if tokenizer else None
        if given is not None:
            if tokenizer is None:
                raise UnsupportedModelError("chat_template: expected a tokenizer in the model file, found none")
            template = ChatTemplate.given(given, named_tokens)
        elif "tokenizer.chat_template" in file:
            source = file.get("tokenizer.chat_template")
            if not isinstance(source, str):
                raise FileFormatError("expected a string tokenizer.chat_template")
            template = ChatTemplate(source, named_tokens)
        if tokenizer is not None and tokenizer.vocabulary_size > config.vocab_size:
            raise FileFormatError(
                f"expected at most {config.vocab_size} tokens in tokenizer.ggml.tokens, "
                f"found {tokenizer.vocabulary_size}"
            )
        name = file.get("general.name") if "general.name" in file else ""
        defaults = SamplingDefaults.from_metadata(file)
        return cls(file, config, tokenizer, template, defaults, str(name), texts and tokenizer is not None)

    def named(self, plan: MemoryPlan) -> MemoryPlan:
        """The plan, with what it is for."""
        return replace(plan, texts=self.texts)


class Model:
    """A loaded model. Close it, or use it in a `with` statement, to give its memory back.

    name: for people. config: the model's shape. plan: what it takes of the memory. engine: for those who drive it token
    by token.
    """

    def __init__(self, opened: _Opened, engine: Engine, seed: int | None) -> None:
        """Use `load`."""
        self.config = opened.config
        self.name = opened.name
        self.plan: MemoryPlan = opened.named(engine.plan)
        self.engine = engine
        self._tokenizer = opened.tokenizer
        self._session: Session | None = None
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()  # whose answers `close` ends
        self._lock = ForkLock()
        self._voice = Voice(
            None if opened.tokenizer is None else Prompter(opened.tokenizer, opened.template),
            opened.defaults,
            frozenset(opened.config.stop_token_ids),
            opened.config.vocab_size,
            seed,
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises UnsupportedModelError if the file has none."""
        if self._tokenizer is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return self._tokenizer

    @property
    def prompter(self) -> Prompter:
        """What turns conversations into tokens. Raises UnsupportedModelError if the file has no tokenizer."""
        prompter = self._voice.prompter
        if prompter is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return prompter

    @property
    def thinks(self) -> bool:
        """Whether the model reasons before it answers, if it is not told otherwise or cannot be."""
        prompter = self._voice.prompter
        return prompter is not None and prompter.template is not None and marks.OPEN in prompter.template.source

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """How answers are sampled when `generate` is not told: `.thinking` and `.direct`, of the file."""
        return self._voice.defaults

    def generate(
        self,
        request: Input,
        *,
        thinking: bool | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        presence_penalty: float | None = None,
        repetition_penalty: float | None = None,
        raw: bool = False,
        tags_as_text: bool = True,
        template_variables: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], object] | None = None,
        **unknown: Never,
    ) -> Answer:
        """`Session.generate`, which explains the arguments, in the model's own session: the next call reuses what its
        prompt has in common with this one. Threads take a `session` each.
        """
        return self._own_session().generate(
            request, thinking=thinking, max_tokens=max_tokens, tools=tools, stop=stop, seed=seed,
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, presence_penalty=presence_penalty,
            repetition_penalty=repetition_penalty, raw=raw, tags_as_text=tags_as_text,
            template_variables=template_variables, progress=progress, **unknown,
        )  # fmt: skip

    def tokens_of(
        self,
        request: Input,
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        raw: bool = False,
        tags_as_text: bool = True,
        template_variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The ids of the prompt that `generate` makes of the same arguments; their number is what it takes of the
        context. Nothing is computed. Raises RequestError, TemplateError.
        """
        prompt = self.prompter.prompt(
            request, thinking=thinking, tools=tools, raw=raw, tags_as_text=tags_as_text,
            template_variables=template_variables,
        )  # fmt: skip
        return list(prompt.tokens)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """float32 [tokens, vocabulary]: row i scores the token after tokens[i]. The result's memory is not in the plan.

        Raises RequestError for no tokens, more than the context holds, or ids outside the vocabulary.
        """
        ids = checked_tokens(tokens, self.config.vocab_size, self.plan.context)
        session = self._own_session()
        numpy = late.numpy()
        result: NDArray[np.float32] = numpy.empty((len(ids), self.config.vocab_size), numpy.float32)
        row = 0
        for rows in session.logits(ids):
            result[row : row + len(rows)] = rows
            row += len(rows)
        return result

    def session(self) -> Session:
        """A conversation of its own. Raises RequestError if all sequences are in use (`load` with sequences=N)."""
        with self._lock:
            own = self._session
            if self.engine.free_slots == 0 and own is not None and not own.busy:
                own.close()
                self._session = None
            return self._new_session()

    def close(self) -> None:
        """Ends the answers that run and frees the weights, the caches and the threads; sessions of the model cannot be
        used any more. From any thread.
        """
        with self._lock:
            self._session, sessions = None, list(self._sessions)
        for session in sessions:  # without the lock: one may run a callback that asks for it
            session.close()
        self.engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name!r}, context {self.plan.context}, {self.plan.sequences} sequences>"

    def _own_session(self) -> Session:
        with self._lock:
            if self._session is None or self._session.closed:
                self._session = self._new_session()
            return self._session

    def _new_session(self) -> Session:
        session = Session(self.engine, self._voice)
        self._sessions.add(session)
        return session


def load(
    path: Path,
    *,
    memory: int | str | None = None,
    context: int | None = None,
    threads: int | None = None,
    kv: str = "int8",
    sequences: int = 1,
    chunk: int | None = None,
    min_expert_share: float = 0.0,
    texts: bool = True,
    chat_template: Given | None = None,
    device: str = "cpu",
    activation_bits: int | None = None,
    seed: int | None = None,
    io_uring: bool = True,
    verify: bool = False,
) -> Model:
    """Loads a `.q3e` file.

    memory: what the process may take at its peak, such as "600MiB"; by default ("auto") what the system leaves. Weights
    that do not fit are streamed from the file, to the same answers. context: tokens
    that a sequence can hold, by default 4096 or all that the model knows. threads: at most, by default as many as
    the process has cores. kv: "int8", "int4" (half of it; refused where keys have outliers),
    "bf16" or "f32"; on a GPU "int8", "f16" or "bf16". sequences: conversations at a time. chunk: tokens of a prompt
    that are computed together, by default the most that fit. min_expert_share: of a mixture of experts on the CPU,
    lossy when above 0: a token leaves out experts whose share of its weights is smaller, and the weights of the
    others grow to the same sum. texts: False for a program that passes token ids alone, which takes 13 MiB less: a text
    is refused with RequestError then; answers still are texts. chat_template: in place of the file's, a path, or a str
    with `{{`, `{%` or a line break, which is the template itself (docs/python.md). device: "cpu"; "cuda" or "cuda:N"
    for a GPU, which needs torch and triton, where memory bounds what is taken of the GPU's; "interpreter" for the GPU's
    kernels in Triton's interpreter, which is for tests. activation_bits: what dense quantized matrices multiply on a
    GPU, 16 by default, or 8 for its int8 matrix instructions; on the CPU always 8. seed: of every answer that is not
    given one, by default a new one each time. io_uring: False where a sandbox ends a process that tries it; what is
    streamed is read by threads then. verify: read the whole file first and compare its checksums, for disks and copies
    that are not to be trusted. Raises MemoryBudgetError before any weight is read, FileFormatError and its kinds,
    RequestError, TemplateError for a chat_template that does not compile, OSError.
    """
    device = late.checked_device(device)
    checks.flag("verify", verify)
    seed = None if seed is None else chosen_seed(seed)
    activation_bits = _checked_bits(activation_bits, device)
    opened, chosen = _open(
        path, memory=memory, context=context, sequences=sequences, threads=threads, kv=kv, chunk=chunk,
        min_expert_share=min_expert_share, texts=texts, chat_template=chat_template, io_uring=io_uring,
    )  # fmt: skip
    if verify:
        opened.file.verify()
    if device == "cpu":
        engine = Engine.open(opened.file, chosen)
    else:
        engine = Engine(late.torch_core(opened.file, opened.config, chosen, device, int8=activation_bits == 8))
    model = Model(opened, engine, seed)
    opened.file.release_header()
    return model


def plan(
    path: Path,
    *,
    memory: int | str | None = None,
    context: int | None = None,
    threads: int | None = None,
    kv: str = "int8",
    sequences: int = 1,
    chunk: int | None = None,
    min_expert_share: float = 0.0,
    texts: bool = True,
    chat_template: Given | None = None,
    device: str = "cpu",
) -> MemoryPlan:
    """What `load` with the same arguments will take; no weight is read. Raises as `load` does.

    A GPU need not be there if memory says what it has; torch and triton must.
    """
    device = late.checked_device(device)
    opened, chosen = _open(
        path, memory=memory, context=context, sequences=sequences, threads=threads, kv=kv, chunk=chunk,
        min_expert_share=min_expert_share, texts=texts, chat_template=chat_template,
    )  # fmt: skip
    if device == "cpu":
        return opened.named(memory_plan.plan_file(opened.file, chosen))
    return opened.named(MemoryPlan.from_core(late.torch_plan(opened.file, opened.config, chosen, device)))


def _open(
    path: Path, *, texts: bool, chat_template: Given | None, **asked: Any
) -> tuple[_Opened, memory_plan.Settings]:
    """All that is read before the plan: what the process holds afterwards counts as program, the tokenizer included."""
    checks.flag("texts", texts)
    given = None if chat_template is None else read_template(chat_template)
    if given is not None and not texts:
        raise RequestError("chat_template: expected texts=True beside it, as it makes prompts of texts")
    file = _core.ModelFile(checks.path("path", path))
    config = ModelConfig.from_metadata(file)
    chosen = memory_plan.settings(**asked, trained_context=config.context_length)
    opened = _Opened.read(file, config, texts, given)
    chosen["later"] = late.pending_bytes(texts=opened.texts, context=chosen["context"], sequences=chosen["sequences"])
    return opened, chosen


def _checked_bits(bits: object, device: str) -> int | None:
    if bits is None:
        return None
    allowed = (8,) if device == "cpu" else (8, 16)
    found = checks.as_int(bits)
    if found is None or found not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise RequestError(f"expected activation_bits of {wanted} on this device, found {shown(bits)}")
    return found
