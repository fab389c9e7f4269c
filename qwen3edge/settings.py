"""What a model is loaded with: every setting once, with its default and its check.

A new one is a line of `Settings`, of its docstring, of `DEFAULTS` and of `checked`; one that the core takes also stands
in `CoreSettings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from qwen3edge import checks
from qwen3edge.errors import RequestError, shown
from qwen3edge.keywords import nearest
from qwen3edge.sampling import MAX_DRAFT_TOKENS, MAX_SEED

AUTO = "auto"
DEFAULT_CONTEXT = 4096
MAX_SEQUENCES = 1024
DRAFT_TOKENS = 8  # with a draft model, if it is not said
MAX_THREADS = 256
MAX_CHUNK = 8192
CPU = "cpu"
KV_TYPES = ("int8", "int4", "bf16", "f16", "f32")  # of all devices; each refuses what it does not have
_DEVICES = re.compile(r"cpu|cuda(:\d{1,3})?|interpreter", re.ASCII)


class Settings(TypedDict, total=False):
    """memory: what the process may take at its peak, such as "600MiB" or a number of bytes; by default ("auto") what
        the system leaves. Weights that do not fit are streamed from the file, to the same answers. On a GPU what is
        taken of its memory.
    context: tokens that a sequence can hold, by default 4096 or all that the model knows; "auto": all that the model
        knows, as far as one sequence fits the memory beside weights that are all resident.
    threads: at most so many, by default as many as the process has cores.
    kv: type of the KV cache: "int8", "int4" (about half of it), "bf16" or "f32"; on a GPU
        "int8", "f16" or "bf16".
    sequences: conversations at a time.
    draft_tokens: on the CPU, at most so many tokens a step that followed the same words before, in the prompt or in the
        answer, or that a draft model gives, and are checked together: answers come sooner, all are the same. Each takes
        a row of logits, 0.6 MiB with Qwen3's vocabulary. By default 8 with a draft model, else 0.
    draft: on the CPU, the file of a smaller model with the same tokens, such as Qwen3-0.6B for Qwen3-8B, or the name of
        one in the cache, as for the model itself.
    chunk: tokens of a prompt that are computed together, by default the most that fit.
    min_expert_share: of a mixture of experts on the CPU, lossy when above 0: a token leaves out experts whose share of
        its weights is smaller, and the weights of the others grow to the same sum.
    texts: False for a program that passes token ids alone, which takes 15 MiB less: a text is refused with RequestError
        then; answers still are texts.
    grammars: True to plan for answers that must match a grammar or a schema: on Qwen3's vocabulary 68 MiB where
        llguidance is first used, and 10 MiB for each sequence beyond the first. Without,
        they are refused where the budget has no room left for that.
    chat_template: in place of the file's: a path, or a str with `{{`, `{%` or a line break, which is the template
        itself (docs/python.md).
    device: "cpu"; "cuda" or "cuda:N" for a GPU, which needs torch and triton; "interpreter" for the GPU's kernels in
        Triton's interpreter, which is for tests.
    activation_bits: what dense quantized matrices multiply on a GPU, 16 by default, or 8 for its int8 matrix
        instructions; on the CPU always 8.
    seed: of every answer that is not given one, by default a new one each time.
    io_uring: False where a sandbox ends a process that tries it; what is streamed is read by threads then.
    program: bytes that the process takes beside this model, as `MemoryPlan.program` counts them: for programs that hold
        several models, each with its part of the memory. By default what the process holds when the model is loaded,
        and will still load.
    verify: read the whole file first and compare its checksums, for disks and copies that are not to be trusted.
    """

    memory: int | str | None
    context: int | str | None
    threads: int | None
    kv: str
    sequences: int
    draft_tokens: int | None
    draft: str | os.PathLike[str] | None
    chunk: int | None
    min_expert_share: float
    texts: bool
    grammars: bool
    chat_template: str | os.PathLike[str] | None
    device: str
    activation_bits: int | None
    seed: int | None
    io_uring: bool
    program: int | None
    verify: bool


DEFAULTS: Settings = {
    "memory": None,
    "context": None,
    "threads": None,
    "kv": "int8",
    "sequences": 1,
    "draft_tokens": None,
    "draft": None,
    "chunk": None,
    "min_expert_share": 0.0,
    "texts": True,
    "grammars": False,
    "chat_template": None,
    "device": CPU,
    "activation_bits": None,
    "seed": None,
    "io_uring": True,
    "program": None,
    "verify": False,
}


class CoreSettings(TypedDict):
    """The keyword arguments that `_core.plan` and `_core.Engine` share. later: bytes of what the program has not
    loaded yet; of memory, threads and chunk 0 is what the system allows, and of program what the process holds.
    """

    context: int
    sequences: int
    draft_tokens: int
    threads: int
    kv: str
    memory: int
    chunk: int
    program: int
    later: int
    min_expert_share: float
    io_uring: bool


@dataclass(frozen=True)
class CheckedSettings:
    """Settings that a model can be loaded with, as `Settings` explains them; int8: activation_bits of 8.
    longest_context: the context of `core` is the least, and it may be as long as fits.
    """

    core: CoreSettings
    draft: str | os.PathLike[str] | None
    longest_context: bool
    device: str
    int8: bool
    texts: bool
    grammars: bool
    chat_template: str | os.PathLike[str] | None
    seed: int | None
    verify: bool


def checked(asked: Settings, *, trained_context: int, cores: int) -> CheckedSettings:
    """Checks what callers ask for. trained_context: the most positions that the model knows. cores: that the process
    may use; more threads would take turns at every step. Raises RequestError.
    """
    settings: Settings = {**DEFAULTS, **asked}
    memory, context, threads, chunk = (settings[name] for name in ("memory", "context", "threads", "chunk"))
    device, seed, program = _device(settings["device"]), settings["seed"], settings["program"]
    draft, draft_tokens = settings["draft"], settings["draft_tokens"]
    if draft is not None and device != CPU:
        raise RequestError(f"draft: expected none on this device, found {shown(draft)}")
    if draft_tokens is None:
        draft_tokens = 0 if draft is None else DRAFT_TOKENS
    elif draft is not None and draft_tokens == 0:
        raise RequestError("draft_tokens: expected at least 1 with a draft model, found 0")
    texts, chat_template = checks.flag("texts", settings["texts"]), settings["chat_template"]
    if chat_template is not None and not texts:
        raise RequestError("chat_template: expected texts=True beside it, as it makes prompts of texts")
    longest = checks.plain(context) == AUTO
    grammars = checks.flag("grammars", settings["grammars"])
    if grammars and not texts:
        raise RequestError("grammars: expected texts=True beside it, as they match texts")
    core: CoreSettings = {
        "context": min(DEFAULT_CONTEXT, trained_context)
        if context is None or longest
        else checks.whole("context", context, 1, trained_context),
        "sequences": checks.whole("sequences", settings["sequences"], 1, MAX_SEQUENCES),
        "draft_tokens": checks.whole("draft_tokens", draft_tokens, 0, MAX_DRAFT_TOKENS),
        "threads": 0 if threads is None else min(checks.whole("threads", threads, 1, MAX_THREADS), cores),
        "kv": checks.one_of("kv", settings["kv"], KV_TYPES),
        "memory": 0 if memory is None or checks.plain(memory) == AUTO else checks.byte_size("memory", memory),
        "chunk": 0 if chunk is None else checks.whole("chunk", chunk, 1, MAX_CHUNK),
        "program": 0 if program is None else checks.whole("program", program, 1, 2**40),
        "later": 0,
        "min_expert_share": checks.number("min_expert_share", settings["min_expert_share"], 0, 1, below=True),
        "io_uring": checks.flag("io_uring", settings["io_uring"]),
    }
    return CheckedSettings(
        core=core,
        draft=draft,
        longest_context=longest,
        device=device,
        int8=_activation_bits(settings["activation_bits"], device) == 8,
        texts=texts,
        grammars=grammars,
        chat_template=chat_template,
        seed=None if seed is None else checks.whole("seed", seed, 0, MAX_SEED),
        verify=checks.flag("verify", settings["verify"]),
    )


def require_known(function: str, names: Iterable[str]) -> None:
    """Raises TypeError for a name that is no setting, as Python does for functions without `**settings`."""
    for name in names:
        if name not in DEFAULTS:
            near = nearest(name, DEFAULTS)
            hint = f". Did you mean {near!r}?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def _device(device: object) -> str:
    """The name of a device, there or not."""
    found = checks.plain(device)
    if found is None or not _DEVICES.fullmatch(found):
        raise RequestError(f"expected device as 'cpu', 'cuda', 'cuda:N' or 'interpreter', found {shown(device)}")
    return found


def _activation_bits(bits: object, device: str) -> int | None:
    if bits is None:
        return None
    allowed = (8,) if device == CPU else (8, 16)
    found = checks.as_int(bits)
    if found is None or found not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise RequestError(f"expected activation_bits of {wanted} on this device, found {shown(bits)}")
    return found
