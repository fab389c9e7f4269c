"""How an answer is made: every argument of `generate` once, with its default and its check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from qwen3edge import checks
from qwen3edge.errors import RequestError, shown
from qwen3edge.generation.sampler import SamplingParameters
from qwen3edge.grammar.definition import Definition, defined
from qwen3edge.keywords import nearest
from qwen3edge.sampling import MAX_TOKENS, MAX_TOP_LOGPROBS
from qwen3edge.text.stop import checked_stop_tokens, checked_stops
from qwen3edge.text.tools import ToolChoice, checked_tool_choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint32] | NDArray[np.int32]
    Mask = Callable[[list[int]], Words | None]


BUDGET_MESSAGE = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
)
"""What Qwen's own service ends such thoughts with (Qwen3's technical report, section 4.7)."""


MAX_MESSAGE = 1024


class Options(TypedDict, total=False):
    """thinking: None leaves it to the model's template.
    thinking_budget: tokens of thoughts, after which the model is made to answer; 0: before the first. A model that does
        not think has none to cut.
    thinking_budget_message: what its thoughts end with then, beyond the budget, such as `qwen3edge.BUDGET_MESSAGE`,
        Qwen's own.
    max_tokens: None: until the context is full.
    min_tokens: before so many no end token and none of stop_token_ids is picked.
    tools: schemas of functions, as OpenAI's API takes them. Calls are read into `Answer.tool_calls` then. Those of a
        function with `"strict": True` have arguments of its schema, which needs `qwen3edge[grammar]`.
    tool_choice: "none": the model cannot begin a call; "auto" leaves it to the model. "required": the content is one
        call or more; `{"type": "function", "function": {"name": ...}}`: one call of this tool. Both need
        `qwen3edge[grammar]`, and their arguments match the tool's schema.
    tool_calls: whether calls are read, or stay text; None: if there are tools.
    stop: strings that end the content and are not part of it.
    stop_token_ids: token ids that end the answer, beside the model's own.
    ignore_eos: the model's own end tokens are never picked.
    seed: for the same answer again; `Usage.seed` tells the one that was taken.
    choice: which of the answers with this seed; `generate_batch` counts them from 0.
    temperature: 0 is greedy. It, top_k (0 or -1: off), top_p, min_p, presence_penalty, frequency_penalty and
        repetition_penalty follow `Model.sampling_defaults` where they are not given.
    logit_bias: what is added to logits, from -100 to 100, by token ids.
    logprobs: `Answer.logprobs` tells how probable each token was; top_logprobs: and how the most probable ones, at most
        20, were.
    prompt_logprobs: `Answer.prompt_logprobs` tells the same of the prompt's tokens from the second on, all of which are
        computed then.
    mask: a grammar: called before each token with the list of the answer's tokens since its last call; returns bits of
        the tokens that may come next, in int32 or uint32 (bit t % 32 of word t // 32; a word for each 32 tokens of the
        tokenizer, or of `Model.config.vocab_size`), or None for all. It is called in the thread of anybody who reads an
        answer, and must not wait for one.
    json_schema: the content is JSON of this schema, a dict or JSON text; `{}`: any JSON. It, regex, grammar and one_of
        need `qwen3edge[grammar]`, and a request has one of them. Thoughts stay free. Beside tools that may be called,
        the answer is either such content or calls alone, with arguments of the tools' schemas. What llguidance cannot
        hold an answer to is refused.
    regex: the content matches it as a whole.
    grammar: the content follows it; a context-free one, in llguidance's Lark or in llama.cpp's GBNF.
    one_of: the content is one of these texts.
    verbatim: all of the answer is its content, as the model writes it: `<think>`, `<tool_call>` and their like are text
        there, and stop strings count from the first token on. Control tokens are none even so.
    raw: a str is the prompt itself, which the model continues: no template, and names of special tokens in it are those
        tokens.
    tags_as_text: `<think>`, `<tool_call>` and their like in what users, systems and tools say are text, not tokens.
    template_variables: what the template knows besides, such as `documents`.
    progress: progress(done, all) is called after each chunk of the prompt, in tokens.
    """

    thinking: bool | None
    thinking_budget: int | None
    thinking_budget_message: str
    max_tokens: int | None
    min_tokens: int
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any]
    tool_calls: bool | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    seed: int | None
    choice: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[int, float] | None
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: bool
    mask: Mask | None
    json_schema: Mapping[str, Any] | str | bool | None
    regex: str | None
    grammar: str | None
    one_of: Sequence[str] | None
    verbatim: bool
    raw: bool
    tags_as_text: bool
    template_variables: Mapping[str, Any] | None
    progress: Callable[[int, int], object] | None


DEFAULTS: Options = {
    "thinking": None,
    "thinking_budget": None,
    "thinking_budget_message": "",
    "max_tokens": None,
    "min_tokens": 0,
    "tools": None,
    "tool_choice": "auto",
    "tool_calls": None,
    "stop": None,
    "stop_token_ids": (),
    "ignore_eos": False,
    "seed": None,
    "choice": 0,
    "temperature": None,
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "presence_penalty": None,
    "frequency_penalty": None,
    "repetition_penalty": None,
    "logit_bias": None,
    "logprobs": False,
    "top_logprobs": 0,
    "prompt_logprobs": False,
    "mask": None,
    "json_schema": None,
    "regex": None,
    "grammar": None,
    "one_of": None,
    "verbatim": False,
    "raw": False,
    "tags_as_text": True,
    "template_variables": None,
    "progress": None,
}

_SAMPLING = [name for name in DEFAULTS if name in SamplingParameters.__dataclass_fields__]
_PROMPT = ("thinking", "tools", "raw", "tags_as_text", "template_variables")


@dataclass(frozen=True)
class CheckedOptions:
    """What an answer can be made with, as `Options` explains it. prompt: arguments of `PromptBuilder.prompt`, which
    checks them itself. sampling: the parameters that were given. logprobs, prompt_logprobs: how many of the most
    probable tokens; None: none are asked for."""

    prompt: dict[str, Any]
    sampling: dict[str, Any]
    thinking_budget: int | None
    thinking_budget_message: str
    max_tokens: int  # 0: until the context is full
    min_tokens: int
    reads_calls: bool | None  # None: if there are tools
    verbatim: bool
    tool_choice: ToolChoice
    stops: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    ignore_eos: bool
    seed: int | None
    choice: int
    logprobs: int | None
    prompt_logprobs: int | None
    mask: Mask | None
    definition: Definition | None
    progress: Callable[[int, int], object] | None


def checked(asked: Options, vocabulary: int) -> CheckedOptions:
    """Raises RequestError for a name that is no option or a value out of range."""
    _require_known(asked)
    options: Options = {**DEFAULTS, **asked}
    max_tokens, budget = options["max_tokens"], options["thinking_budget"]
    most = 0 if max_tokens is None else min(checks.whole("max_tokens", max_tokens, 1, 2**63 - 1), MAX_TOKENS)
    least = checks.whole("min_tokens", options["min_tokens"], 0, most or MAX_TOKENS)
    for name in ("progress", "mask"):
        if options[name] is not None and not callable(options[name]):
            raise RequestError(f"expected {name} as something to call, found {shown(options[name])}")
    tool_choice = checked_tool_choice(options["tool_choice"])
    reads = None if options["tool_calls"] is None else checks.flag("tool_calls", options["tool_calls"])
    verbatim = checks.flag("verbatim", options["verbatim"])
    if verbatim and reads:
        raise RequestError("tool_calls: expected no verbatim=True beside it, which makes calls text")
    if verbatim and budget is not None:
        raise RequestError("thinking_budget: expected no verbatim=True beside it, which makes thoughts text")
    logprobs = checks.flag("logprobs", options["logprobs"])
    prompt_logprobs = checks.flag("prompt_logprobs", options["prompt_logprobs"])
    top = checks.whole("top_logprobs", options["top_logprobs"], 0, MAX_TOP_LOGPROBS)
    if top and not logprobs and not prompt_logprobs:
        raise RequestError("top_logprobs: expected logprobs=True or prompt_logprobs=True beside it, found neither")
    return CheckedOptions(
        prompt={name: options[name] for name in _PROMPT},  # type: ignore[literal-required]
        sampling={name: options[name] for name in _SAMPLING},  # type: ignore[literal-required]
        thinking_budget=None if budget is None else checks.whole("thinking_budget", budget, 0, MAX_TOKENS),
        thinking_budget_message=_message(options["thinking_budget_message"]),
        max_tokens=most,
        min_tokens=least,
        reads_calls=False if verbatim or tool_choice.mode == "none" else reads,
        verbatim=verbatim,
        tool_choice=tool_choice,
        stops=checked_stops(options["stop"]),
        stop_token_ids=checked_stop_tokens(options["stop_token_ids"], vocabulary),
        ignore_eos=checks.flag("ignore_eos", options["ignore_eos"]),
        seed=options["seed"],
        choice=options["choice"],
        logprobs=top if logprobs else None,
        prompt_logprobs=top if prompt_logprobs else None,
        mask=options["mask"],
        definition=_definition(options, tool_choice),
        progress=options["progress"],
    )


def _definition(options: Options, tool_choice: ToolChoice) -> Definition | None:
    """What the answer must match, apart from calls. It ends when it is complete, and no sooner."""
    found = defined(options)
    forced = tool_choice.mode == "required"
    if forced and not options["tools"]:
        raise RequestError("tool_choice: expected tools beside it, found none")
    if forced and (options["tool_calls"] is False or options["verbatim"]):
        beside = "verbatim=True" if options["verbatim"] else "tool_calls=False"
        raise RequestError(f"tool_choice: expected no {beside} beside it: calls that must come are read")
    if found and forced:
        raise RequestError(
            f"{found.option}: expected tool_choice='auto' or 'none' beside it, as the answer is calls else"
        )
    for name in ("mask", "ignore_eos", "min_tokens") if found or forced else ():
        if options[name] != DEFAULTS[name]:
            what = found.option if found else "tool_choice"
            raise RequestError(f"{what}: expected no {name} beside it, which it would contradict")
    return found


def _message(message: object) -> str:
    found = checks.text("thinking_budget_message", message)
    if len(found) > MAX_MESSAGE:
        raise RequestError(f"expected thinking_budget_message of at most {MAX_MESSAGE} characters, found {len(found)}")
    return found


def _require_known(names: Iterable[str]) -> None:
    for name in names:
        if name not in DEFAULTS:
            near = nearest(name, DEFAULTS)
            hint = f"did you mean {near}? " if near else ""
            raise RequestError(f"unknown argument {name:.60}: {hint}expected {', '.join(DEFAULTS)}")
