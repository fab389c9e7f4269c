"""A model file before its weights are read: its tokenizer, its template, and the settings that it is loaded with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qwen3edge import _core, checks
from qwen3edge.config import ModelConfig
from qwen3edge.errors import FileFormatError, MemoryBudgetError, UnsupportedModelError
from qwen3edge.generation.sampler import SamplingDefaults
from qwen3edge.generation.session import Path
from qwen3edge.hub.cache import find
from qwen3edge.runtime import devices
from qwen3edge.runtime.plan import MemoryPlan
from qwen3edge.runtime.program import grammar_bytes, pending_bytes
from qwen3edge.settings import CheckedSettings, Settings, checked
from qwen3edge.templates.given import read_template
from qwen3edge.text import text_size
from qwen3edge.text.template import ChatTemplate, stored_tree
from qwen3edge.text.tokenizer import Tokenizer

_PAGE = 64
"""Tokens by which the KV cache grows."""


@dataclass(frozen=True)
class Opened:
    """A file with everything read from it but its weights, and the settings to load it with."""

    file: _core.ModelFile
    config: ModelConfig
    settings: CheckedSettings
    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    defaults: SamplingDefaults
    name: str
    texts: bool
    grammars: bool
    draft: _core.PlannedDraft | None = None

    @classmethod
    def read(cls, path: Path, asked: Settings) -> Opened:
        """All that is read before the plan: what the process holds afterwards counts as program, the tokenizer
        included.
        """
        file = _core.ModelFile(checks.path("path", find(path)))
        config = ModelConfig.from_metadata(file)
        settings = checked(asked, trained_context=config.context_length, cores=_core.usable_cores())
        given = None if settings.chat_template is None else read_template(settings.chat_template)
        tokenizer = None
        if "tokenizer.ggml.tokens" in file:
            tokenizer = Tokenizer.from_metadata(file, encodes=settings.texts)
        template, named_tokens = None, tokenizer.named_tokens if tokenizer else None
        if given is not None:
            if tokenizer is None:
                raise UnsupportedModelError("chat_template: expected a tokenizer in the model file, found none")
            template = ChatTemplate.given(given, named_tokens)
        elif "tokenizer.chat_template" in file:
            source = file.get("tokenizer.chat_template")
            if not isinstance(source, str):
                raise FileFormatError("expected a string tokenizer.chat_template")
            template = ChatTemplate(source, named_tokens, tree=stored_tree(file))
        if tokenizer is not None and tokenizer.vocabulary_size > config.vocab_size:
            raise FileFormatError(
                f"expected at most {config.vocab_size} tokens in tokenizer.ggml.tokens, "
                f"found {tokenizer.vocabulary_size}"
            )
        opened = cls(
            file,
            config,
            settings,
            tokenizer,
            template,
            SamplingDefaults.from_metadata(file),
            str(file.get("general.name") if "general.name" in file else ""),
            settings.texts and tokenizer is not None,
            settings.grammars and tokenizer is not None,
        )
        opened = opened.with_context(settings.core["context"])
        return opened.with_longest_context() if settings.longest_context else opened

    def with_context(self, context: int) -> Opened:
        """The same for so many tokens a sequence, with what the program will load for them."""
        core = self.settings.core
        text_bytes = text_size.working_bytes(context) if self.texts else 0
        jinja2 = self.texts and self.template is not None and not self.template.in_core
        later = pending_bytes(context, core["sequences"], text_bytes=text_bytes, jinja2=jinja2)
        if self.grammars and self.tokenizer is not None:
            later += grammar_bytes(self.tokenizer.vocabulary_size, core["sequences"])
        core, draft = {**core, "context": context}, None
        if self.settings.draft is not None:
            file = _core.ModelFile(checks.path("draft", find(self.settings.draft)))
            draft = _core.PlannedDraft(file, self.file, **core)
            later += draft.nbytes
            if core["program"]:  # which `later` is no part of then
                core["program"] += draft.nbytes - (self.draft.nbytes if self.draft else 0)
        return replace(self, draft=draft, settings=replace(self.settings, core={**core, "later": later}))

    def with_longest_context(self) -> Opened:
        """The most tokens for which all weights stay resident, in whole pages; no fewer than now."""
        low, high = self.settings.core["context"], self.config.context_length
        if self.draft:
            high = min(high, self.draft.context_length)
        longest = high
        if low < high and self._stays_resident(high):  # as most do
            return self.with_context(high)
        while low < high:
            middle = low + (high - low + 1) // 2
            if self._stays_resident(middle):
                low = middle
            else:
                high = middle - 1
            if high - low < _PAGE and high < longest:
                break
        whole = low if low == longest else low // _PAGE * _PAGE
        return self.with_context(max(whole, self.settings.core["context"]))

    def _stays_resident(self, context: int) -> bool:
        try:
            longer = self.with_context(context)
            plan = devices.plan_file(longer.file, longer.config, longer.settings)
        except MemoryBudgetError:
            return False
        return plan.streamed == 0 and plan.expert_slots == 0

    def completed(self, plan: MemoryPlan) -> MemoryPlan:
        """With what the core does not know of it."""
        draft = self.draft.nbytes if self.draft else 0
        return replace(plan, texts=self.texts, grammars=self.grammars, draft=draft, program=plan.program - draft)
