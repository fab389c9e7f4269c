"""The model that users hold: a `.q3e` file, planned, loaded and ready to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qwen3edge import checks
from qwen3edge.closing import Closing
from qwen3edge.errors import RequestError, UnsupportedModelError
from qwen3edge.generation.answer import Answer
from qwen3edge.generation.embedding import Judge, last_states, normalized
from qwen3edge.generation.grammars import Grammars
from qwen3edge.generation.opened import Opened
from qwen3edge.generation.options import DEFAULTS as OPTIONS
from qwen3edge.generation.options import Options
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.generation.sequence import OwnSequence
from qwen3edge.generation.session import GenerationDefaults, Path, Session, checked_tokens
from qwen3edge.keywords import shows
from qwen3edge.runtime import devices
from qwen3edge.runtime.engine import Engine
from qwen3edge.runtime.plan import MemoryPlan
from qwen3edge.runtime.program import jinja2_bytes
from qwen3edge.sampling import MAX_CHOICE
from qwen3edge.settings import CPU, DEFAULTS, Settings, require_known
from qwen3edge.text.pooled import RERANK_INSTRUCTION, RerankPrompts, embedding_tokens, yes_and_no
from qwen3edge.text.prompt import Input, PromptBuilder
from qwen3edge.text.reasoning import THINK_OPEN
from qwen3edge.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack  # Python has it from 3.11 on; type checkers always

MAX_REQUESTS = 1 << 16
"""Of a batch; the queue takes fewer."""

MAX_TEXTS = 1 << 20
"""Of a call of `embed` or `rerank`."""


class Model(Closing):
    """A loaded model. Close it, or use it in a `with` statement, to give its memory back.

    name: for people. config: the model's shape. plan: what it takes of the memory. engine: for those who drive it token
    by token.
    """

    def __init__(self, opened: Opened, engine: Engine) -> None:
        """Use `load`."""
        self.config = opened.config
        self.name = opened.name
        self.plan: MemoryPlan = opened.completed(engine.plan)
        self.engine = engine
        self._tokenizer = opened.tokenizer
        own_plan = self.plan if opened.settings.device == CPU else None  # a GPU's is of another memory
        if opened.template is not None and own_plan is not None:
            opened.template.before_fallback = lambda: own_plan.require_left(
                jinja2_bytes(), "jinja2, as the core cannot render these messages", "load with more memory"
            )
        self._defaults = GenerationDefaults(
            None if opened.tokenizer is None else PromptBuilder(opened.tokenizer, opened.template),
            opened.defaults,
            frozenset(opened.config.stop_token_ids),
            opened.config.vocab_size,
            opened.settings.seed,
            None if opened.tokenizer is None else Grammars(opened.tokenizer, opened.config.stop_token_ids, own_plan),
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises UnsupportedModelError if the file has none."""
        if self._tokenizer is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return self._tokenizer

    @property
    def prompt_builder(self) -> PromptBuilder:
        """What turns conversations into tokens. Raises UnsupportedModelError if the file has no tokenizer."""
        prompt_builder = self._defaults.prompt_builder
        if prompt_builder is None:
            raise UnsupportedModelError("expected a tokenizer in the model file, found none")
        return prompt_builder

    @property
    def thinks(self) -> bool:
        """Whether the model can reason before it answers. Most do so unless they are told not to; Qwen3.5 up to 2B only
        if it is told to.
        """
        builder = self._defaults.prompt_builder
        return builder is not None and builder.template is not None and THINK_OPEN in builder.template.source

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """How answers are sampled when `generate` is not told: `.thinking` and `.direct`, of the file."""
        return self._defaults.sampling

    @shows(Options, OPTIONS)
    def generate(self, request: Input, **options: Unpack[Options]) -> Answer:
        """`Session.generate`, in a session of its own: answers of several calls may be read in turns or by several
        threads, and a prompt reuses what it has in common with earlier ones.
        """
        return self.session().generate(request, **options)

    @shows(Options, OPTIONS)
    def generate_batch(self, requests: Sequence[Input], n: int = 1, **options: Unpack[Options]) -> list[Answer]:
        """Starts n answers to each of the requests, which are computed together, up to `load(sequences=N)` at a time:
        those to the first request, then those to the second, and so on. Reading one drives all. The answers to one
        request share their prompt's memory and their seed, and differ by `choice`, which counts from the given one.

        Raises as `generate` does, BusyError also for more than the queue takes; none of the answers runs then.
        """
        count = checks.whole("n", n, 1, MAX_CHOICE)
        listed = checks.items("requests", requests, MAX_REQUESTS)
        if options.get("mask") is not None and len(listed) * count > 1:
            raise RequestError(
                "mask: expected one answer, which a grammar follows, found several: generate each with its own"
            )
        first = checks.whole("choice", options.pop("choice", 0), 0, MAX_CHOICE - count + 1)
        answers: list[Answer] = []
        try:
            for request in listed:
                seed = options.get("seed")
                for choice in range(first, first + count):
                    answer = self.generate(request, **{**options, "seed": seed, "choice": choice})  # type: ignore[arg-type]
                    seed = answer.usage.seed
                    answers.append(answer)
        except BaseException:
            for answer in answers:
                answer.close()
            raise
        return answers

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
        prompt = self.prompt_builder.prompt(
            request, thinking=thinking, tools=tools, raw=raw, tags_as_text=tags_as_text,
            template_variables=template_variables,
        )  # fmt: skip
        return list(prompt.tokens)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """float32 [tokens, vocabulary]: row i scores the token after tokens[i]. The result's memory is not in the plan.

        Raises RequestError for no tokens, more than the context holds, or ids outside the vocabulary.
        """
        ids = checked_tokens(tokens, self.config.vocab_size, self.plan.context)
        import numpy  # noqa: PLC0415

        result: NDArray[np.float32] = numpy.empty((len(ids), self.config.vocab_size), numpy.float32)
        row = 0
        with OwnSequence(self.engine) as sequence:
            for rows in sequence.logits(ids):
                result[row : row + len(rows)] = rows
                row += len(rows)
        return result

    def embed(
        self, texts: Sequence[str], instruction: str | None = None, dimensions: int | None = None
    ) -> NDArray[np.float32]:
        """float32 [texts, dimensions], rows of length 1: the states behind the texts' last token, `<|endoftext|>`.

        instruction: of queries, what is looked for, as `Instruct: {instruction}\\nQuery:{text}`; documents have none.
        dimensions: of the hidden size the first, for models trained for that; default all. Names of tokens in a text
        are text. Computed together, up to `load(sequences=N)` at a time.

        Raises ContextError for a text that does not fit (`tokens`, `context`), RequestError (also on a GPU),
        UnsupportedModelError without a tokenizer that has `<|endoftext|>`.
        """
        self.engine.require_open()
        given = None if instruction is None else checks.text("instruction", instruction)
        size = self.config.hidden_size
        kept = size if dimensions is None else checks.whole("dimensions", dimensions, 1, size)
        tokenizer, context = self.tokenizer, self.plan.context
        listed = checks.items("texts", texts, MAX_TEXTS)
        prompts = (embedding_tokens(tokenizer, f"texts[{i}]", text, given, context) for i, text in enumerate(listed))
        import numpy  # noqa: PLC0415

        result: NDArray[np.float32] = numpy.empty((len(listed), kept), numpy.float32)
        for i, state in enumerate(last_states(self.engine, prompts)):
            result[i] = normalized(state, kept)
        return result

    def rerank(
        self, query: str, documents: Sequence[str], instruction: str = RERANK_INSTRUCTION
    ) -> NDArray[np.float32]:
        """float32 [documents], from 0 to 1: how likely a Qwen3-Reranker says yes to a document for this query.

        instruction: what makes a document right. What the documents' prompts have in common is computed once.

        Raises as `embed`, and UnsupportedModelError for a model without a head or without tokens for yes and no.
        """
        asked, task = checks.text("query", query), checks.text("instruction", instruction)
        judge = Judge(self.engine, *yes_and_no(self.tokenizer))
        questions = RerankPrompts(self.tokenizer, asked, task, self.plan.context)
        listed = checks.items("documents", documents, MAX_TEXTS)
        prompts = (questions.tokens(f"documents[{i}]", document) for i, document in enumerate(listed))
        import numpy  # noqa: PLC0415

        return numpy.array([judge.score(state) for state in last_states(self.engine, prompts)], numpy.float32)

    def session(self, tokens: Sequence[int] = ()) -> Session:
        """A conversation of its own. Any number may be open; answers wait for one another where more are asked for at
        once than the model was loaded for (`load` with sequences=N).

        tokens: of the conversation so far, such as a prompt's. Nothing is computed; what is in memory of them is used.

        Raises RequestError once the model is closed and for tokens that are none or do not fit, UnsupportedModelError
        for a model that only embeds.
        """
        self._require_head()
        given = checked_tokens(tokens, self.config.vocab_size, self.plan.context) if len(tokens) else ()
        return Session(self.engine, self._defaults, given)

    def load_session(self, path: Path) -> Session:
        """A session that `Session.save` wrote: what its file holds of the KV cache is not computed again, as far as
        there is memory for it.

        Raises SessionFileError for a file that is none, is damaged, or is of another model, KV type or version of this
        program's numerics; RequestError on a GPU; OSError.
        """
        self._require_head()
        return Session.load(self.engine, self._defaults, path)

    def _require_head(self) -> None:
        self.engine.require_open()
        if self.config.headless:
            raise UnsupportedModelError("expected a model with a head for answers, found one for embeddings alone")

    def close(self) -> None:
        """Ends the answers that run and frees the weights, the caches and the threads; sessions of the model cannot be
        used any more. From any thread.
        """
        self.engine.close()

    def __repr__(self) -> str:
        return f"<Model {self.name!r}, context {self.plan.context}, {self.plan.sequences} sequences>"


@shows(Settings, DEFAULTS)
def load(path: Path, **settings: Unpack[Settings]) -> Model:
    """Loads a `.q3e` file, or a model of the cache by the name that `qwen3edge pull` has fetched it by, which counts
    where no such file exists. Nothing is fetched. Every setting has a default; `qwen3edge.Settings` lists them.

    Raises TypeError for a name that is no setting, MemoryBudgetError before any weight is read, FileFormatError and its
    kinds, RequestError, TemplateError for a chat_template that does not compile, OSError.
    """
    require_known("load", settings)
    opened = Opened.read(path, settings)
    if opened.settings.verify:
        opened.file.verify()
        if opened.draft:
            opened.draft.file.verify()
    model = Model(opened, devices.open_engine(opened.file, opened.config, opened.settings, opened.draft))
    for file in [opened.file, *([opened.draft.file] if opened.draft else [])]:
        file.release_header()
    return model


@shows(Settings, DEFAULTS)
def plan(path: Path, **settings: Unpack[Settings]) -> MemoryPlan:
    """What `load` with the same settings will take; no weight is read. Raises as `load` does.

    A GPU need not be there if memory says what it has; torch and triton must.
    """
    require_known("plan", settings)
    opened = Opened.read(path, settings)
    return opened.completed(devices.plan_file(opened.file, opened.config, opened.settings))
