"""A conversation with a model: its turns, its settings, and what happens when the context is full."""

from __future__ import annotations

import itertools
import os
from typing import Any

from qwen3edge.cli.saved_chat import SavedChat
from qwen3edge.errors import ContextError, RequestError
from qwen3edge.generation.answer import Answer, Usage
from qwen3edge.generation.model import Model
from qwen3edge.generation.session import Session

Message = dict[str, Any]

_MAGIC = b"Q3ESAVED"  # of saved sessions (docs/format.md)


class Conversation:
    """Remembers questions with their answers, and lets the oldest go where a new one finds no room."""

    def __init__(self, model: Model, session: Session, system: str | None, settings: dict[str, Any]) -> None:
        """settings: arguments of `generate`. Raises RequestError or TemplateError for those that do not work."""
        self.model, self.session = model, session
        self.system = system
        self.settings = settings
        self.turns: list[list[Message]] = []
        """Each a question and what followed: an answer, or calls, their results, and an answer."""
        self._turn: list[Message] = []  # that is being answered
        self.last: Usage | None = None
        self.check(settings)

    def check(self, settings: dict[str, Any]) -> None:
        """Raises RequestError or TemplateError for settings, or a system prompt, that do not work. Nothing is computed,
        and the session stays as it is. Turns do not count: where they fill the context, the oldest will go.
        """
        self.model.generate([*self._begin(), {"role": "user", "content": "hi"}], **settings).close()

    def ask(self, question: str | None, progress: Any = None) -> tuple[Answer, int]:
        """Starts an answer; also the number of turns that were forgotten to make room for it. question: None goes on
        behind the results of calls.

        Raises RequestError (a ContextError, nothing forgotten, for a turn that finds no room alone) or TemplateError.
        """
        before, turn, settings = self.turns, [{"role": "user", "content": question}], self.settings
        if question is None:
            before, turn = self.turns[:-1], self.turns[-1]
            if settings.get("tool_choice") not in (None, "none"):  # the call that had to come has come
                settings = {**settings, "tool_choice": "auto"}
        kept = self._with_room(before, turn)
        answer = self.session.generate(self._messages(kept, turn), **settings, progress=progress)
        self.turns, self._turn = kept, turn
        return answer, len(before) - len(kept)

    def keep(self, answer: Answer) -> None:
        """Notes the turn, also with the part of an answer that was stopped; not with one that was stopped before it
        began.
        """
        self.last = answer.usage
        if answer.finish_reason == "cancelled" and not answer.content and not answer.tool_calls:
            self.keep_nothing()
            return
        said = answer.message if answer.tool_calls else {"role": "assistant", "content": answer.content}
        self.turns.append([*self._turn, said])

    def keep_nothing(self) -> None:
        """Of an answer that failed: the question goes, unless it has calls and results already."""
        self.turns += [self._turn] * (len(self._turn) > 1)

    @property
    def open_calls(self) -> list[Message]:
        """The calls of the last answer that have no result yet, as OpenAI's API has them."""
        turn = self.turns[-1] if self.turns else []
        results = sum(1 for _ in itertools.takewhile(lambda message: message["role"] == "tool", reversed(turn)))
        calls: list[Message] = turn[-1 - results].get("tool_calls", []) if turn else []
        return calls[results:]

    def add_result(self, text: str) -> None:
        """Of the first open call. Raises RequestError where there is none."""
        calls = self.open_calls
        if not calls:
            raise RequestError("/result: expected a call without a result, found none")
        self.turns[-1].append({"role": "tool", "tool_call_id": calls[0]["id"], "content": text})

    def reset(self) -> None:
        """Forgets all turns."""
        self.turns.clear()
        self.session.reset()

    def save(self, path: str) -> None:
        """Writes turns, settings and the KV cache; replaces no file of another kind. Raises RequestError, OSError."""
        _require_replaceable(path)
        settings = {name: value for name, value in self.settings.items() if value is not None}
        self.session.save(path, note=SavedChat(self.system, settings, self.turns).note())

    def load(self, path: str, *, system: str | None = None, settings: dict[str, Any] | None = None) -> None:
        """Becomes what `save` wrote. system, settings: what is to count in place of the saved ones; None of a setting
        leaves it. Raises Qwen3EdgeError, OSError, and stays as it is then.
        """
        session = self.model.load_session(path)
        saved = SavedChat.read(session.note, path)
        chosen = {name: value for name, value in (settings or {}).items() if value is not None}
        loaded = Conversation(self.model, session, system or saved.system, {**saved.settings, **chosen})
        loaded.turns = saved.turns
        self.session.close()
        vars(self).update(vars(loaded))

    @property
    def context(self) -> int:
        """Tokens that the conversation can have."""
        return self.model.plan.context

    def _messages(self, before: list[list[Message]], turn: list[Message]) -> list[Message]:
        return [*self._begin(), *itertools.chain(*before), *turn]

    def _begin(self) -> list[Message]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _with_room(self, before: list[list[Message]], turn: list[Message]) -> list[list[Message]]:
        """The turns before this one that are kept. An answer should have an eighth of the context. Once turns must go,
        a quarter becomes free, as the prompt is computed anew then.
        """
        kept, tokens = before, self._tokens(before, turn)
        if tokens > self.context - self.context // 8:
            while kept and tokens > self.context - self.context // 4:
                kept = kept[1:]
                tokens = self._tokens(kept, turn)
        if tokens >= self.context:
            raise ContextError(
                f"expected a message of fewer than {self.context} tokens (the context), found {tokens}: start the chat "
                "with a larger one (--context N)",
                tokens=tokens,
                context=self.context,
            )
        return kept

    def _tokens(self, before: list[list[Message]], turn: list[Message]) -> int:
        thinking, tools = self.settings.get("thinking"), self.settings.get("tools")
        return len(self.model.tokens_of(self._messages(before, turn), thinking=thinking, tools=tools))


def _require_replaceable(path: str) -> None:
    """A slip of the keyboard must not cost a model its file."""
    if not os.path.exists(path):
        return
    begin = None
    if os.path.isfile(path):  # a pipe would be waited for
        with open(path, "rb") as file:
            begin = file.read(len(_MAGIC))
    if begin not in (b"", _MAGIC):
        raise RequestError(f"{path}: expected a new file, or a saved session to replace, found another file")
