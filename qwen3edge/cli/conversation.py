"""A conversation with a model: its turns, its settings, and what happens when the context is full."""

from __future__ import annotations

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
        self.turns: list[tuple[Message, Message]] = []
        self.last: Usage | None = None
        self.check(settings)

    def check(self, settings: dict[str, Any]) -> None:
        """Raises RequestError or TemplateError for settings, or a system prompt, that do not work. Nothing is computed,
        and the session stays as it is. Turns do not count: where they fill the context, the oldest will go.
        """
        self.model.generate([*self._begin(), {"role": "user", "content": "hi"}], **settings).close()

    def ask(self, question: str, progress: Any = None) -> tuple[Answer, int]:
        """Starts an answer; also the number of turns that were forgotten to make room for it.

        Raises RequestError (a ContextError, nothing forgotten, for a question that finds no room alone) or
        TemplateError.
        """
        forgotten = self._make_room(question)
        answer = self.session.generate(self._messages(question), **self.settings, progress=progress)
        return answer, forgotten

    def keep(self, question: str, answer: Answer) -> None:
        """Notes a turn, also the part of an answer that was stopped; not one that was stopped before it began."""
        self.last = answer.usage
        if answer.finish_reason == "cancelled" and not answer.content:
            return
        turn = {"role": "user", "content": question}, {"role": "assistant", "content": answer.content}
        self.turns.append(turn)

    def reset(self) -> None:
        """Forgets all turns."""
        self.turns.clear()
        self.session.reset()

    def save(self, path: str) -> None:
        """Writes turns, settings and the KV cache; replaces no file of another kind. Raises RequestError, OSError."""
        _require_replaceable(path)
        settings = {name: value for name, value in self.settings.items() if value is not None}
        turns = [(question["content"], answer["content"]) for question, answer in self.turns]
        self.session.save(path, note=SavedChat(self.system, settings, turns).note())

    def load(self, path: str, *, system: str | None = None, settings: dict[str, Any] | None = None) -> None:
        """Becomes what `save` wrote. system, settings: what is to count in place of the saved ones; None of a setting
        leaves it. Raises Qwen3EdgeError, OSError, and stays as it is then.
        """
        session = self.model.load_session(path)
        saved = SavedChat.read(session.note, path)
        chosen = {name: value for name, value in (settings or {}).items() if value is not None}
        loaded = Conversation(self.model, session, system or saved.system, {**saved.settings, **chosen})
        loaded.turns = [
            ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
            for question, answer in saved.turns
        ]
        self.session.close()
        vars(self).update(vars(loaded))

    @property
    def context(self) -> int:
        """Tokens that the conversation can have."""
        return self.model.plan.context

    def _messages(self, question: str) -> list[Message]:
        turns = (message for turn in self.turns for message in turn)
        return [*self._begin(), *turns, {"role": "user", "content": question}]

    def _begin(self) -> list[Message]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _make_room(self, question: str) -> int:
        """An answer should have an eighth of the context. Once turns must go, a quarter becomes free, as the prompt is
        computed anew then.
        """
        kept, forgotten = self.turns, 0
        if self._tokens(question) > self.context - self.context // 8:
            while self.turns and self._tokens(question) > self.context - self.context // 4:
                self.turns, forgotten = self.turns[1:], forgotten + 1
        alone = self._tokens(question)
        if alone >= self.context:
            self.turns = kept
            raise ContextError(
                f"expected a message of fewer than {self.context} tokens (the context), found {alone}: start the chat "
                "with a larger one (--context N)",
                tokens=alone,
                context=self.context,
            )
        return forgotten

    def _tokens(self, question: str) -> int:
        thinking = self.settings.get("thinking")
        return len(self.model.tokens_of(self._messages(question), thinking=thinking))


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
