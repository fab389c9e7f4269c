"""The models of a server: by name, in memory when somebody asks for them, all within one budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qwen3edge import _core
from qwen3edge.checks import byte_size
from qwen3edge.errors import MemoryBudgetError, RequestError, shown
from qwen3edge.generation.answer import Usage
from qwen3edge.generation.model import Model, load, plan
from qwen3edge.runtime.plan import MemoryPlan, format_bytes
from qwen3edge.server.clients import to_its_end
from qwen3edge.server.errors import InUseError, StoppingError, UnknownModelError
from qwen3edge.settings import AUTO, Settings
from qwen3edge.text.text_size import most_bytes

Result = TypeVar("Result")

_UNBOUNDED = 1 << 45
LATEST = ":latest"
"""Of Ollama's names, which always say which of several models is meant."""
HUBS = ("hf.co/", "huggingface.co/")
"""Before the name of a model, where Ollama's clients say which hub it comes from."""
PAGE_TOKENS = 64
"""Of the KV cache."""
BODY_BYTES_A_TEXT_BYTE = 6
"""Of a body's JSON, where a letter may be written as six."""
BASE_BODY = 1 << 20
SERVER_BYTES = 24 << 20
"""That the server itself takes beside its models: connections, bodies that are read, answers on their way."""


@dataclass
class Served:
    """A model as a server knows it. settings: to load it with. idle_seconds: after which it leaves the memory, as the
    last request wished; None: as all do.
    """

    name: str
    path: Path
    settings: Settings
    planned: MemoryPlan | None = None  # as it will be loaded, or was last
    own_bytes: int = 0  # of the budget that this one takes
    model: Model | None = None  # in memory
    users: int = 0
    idle_seconds: float | None = None
    last_used: float = 0.0
    modified: float = 0.0  # the file, in seconds since 1970

    @property
    def plan(self) -> MemoryPlan:
        """What it takes of the memory, where it is there; else what it takes when it comes back."""
        assert self.planned is not None  # since it is served
        return self.planned

    @property
    def context(self) -> int:
        """Tokens of a sequence, in memory or not."""
        return self.plan.context


class Lease:
    """A model that stays in memory until it is given back. name: by which it was asked for."""

    def __init__(self, name: str, served: Served, model: Model, count: Callable[[str, Usage], None]) -> None:
        """Use `Models.lease`."""
        self.name, self.model = name, model
        self._served: Served | None = served
        self._count = count
        served.users += 1
        served.idle_seconds = None

    def count(self, usage: Usage) -> None:
        """Notes an answer that has ended."""
        if self._served is not None:
            self._count(self._served.name, usage)

    def release(self) -> None:
        """Gives it back, once."""
        if self._served is not None:
            self._served.users -= 1
            self._served.last_used = time.monotonic()
            self._served = None


class Models:
    """All calls but `__init__` and `close` are of one event loop."""

    def __init__(
        self,
        paths: Mapping[str, Path],
        aliases: Mapping[str, str],
        settings: Settings,
        *,
        idle_seconds: float | None = None,
        count: Callable[[str, Usage], None] = lambda name, usage: None,
    ) -> None:
        """paths: of model files by name. aliases: other names for these. settings: of all; memory is the process's
        budget. idle_seconds: after which an unused model leaves the memory; None: never. count: told of each answer's
        model and usage.

        Loads the only model; plans several. Raises as `load` and `plan`, RequestError for an alias of nothing.
        """
        if not paths:
            raise RequestError("expected at least one model, found none")
        for alias, name in aliases.items():
            if alias in paths:
                raise RequestError(f"expected an alias that is no model's name, found {shown(alias)}")
            if name not in paths:
                raise RequestError(f"alias {shown(alias)}: expected one of {', '.join(paths)}, found {shown(name)}")
        memory = settings.get("memory")
        whole = _core.default_budget() if memory in (None, AUTO) else byte_size("memory", memory)
        self.budget = whole
        """Bytes, of the process."""
        self._settings: Settings = {**settings, "memory": max(whole - SERVER_BYTES, 1)}
        self._served = {
            name: Served(name, path, self._settings, modified=path.stat().st_mtime) for name, path in paths.items()
        }
        self._aliases = dict(aliases)
        self._idle_seconds, self._count = idle_seconds, count
        self._reading = ThreadPoolExecutor(1, "qwen3edge-reads")  # a plan counts the texts of one request at a time
        self._changing = asyncio.Lock()
        self._closed = False
        self._held = _core.resident_bytes()
        self._room = byte_size("memory", self._settings["memory"]) - self._held  # bytes for all models
        try:
            if len(self._served) == 1:
                (only,) = self._served.values()
                only.model = load(only.path, **only.settings)
                only.planned = only.model.plan
                only.own_bytes = only.plan.peak - self._held
            else:
                _share(list(self._served.values()), self._settings, self._held)
        except MemoryBudgetError as error:
            more = f"the server itself takes {format_bytes(SERVER_BYTES)} of --memory: add that to what would fit"
            raise MemoryBudgetError(f"{error}; {more}") from None

    @property
    def names(self) -> list[str]:
        """Of all models, then their other names."""
        return [*self._served, *self._aliases]

    @property
    def loaded(self) -> dict[str, Model]:
        """Those in memory."""
        return {name: each.model for name, each in self._served.items() if each.model is not None}

    @property
    def largest_body(self) -> int:
        """Bytes of the largest request that may fit some model."""
        longest = max(each.context for each in self._served.values())
        return BASE_BODY + BODY_BYTES_A_TEXT_BYTE * most_bytes(longest)

    def find(self, name: str | None) -> Served:
        """A model by its name, with or without Ollama's `:latest` and the hub that it is pulled from; None: the first.
        Raises UnknownModelError.
        """
        if name is None:
            return next(iter(self._served.values()))
        plain = without_hub(name)
        for each in (name, name.removesuffix(LATEST), plain, plain.removesuffix(LATEST)):
            found = self._served.get(self._aliases.get(each, each))
            if found is not None:
                return found
        raise UnknownModelError(name, self.names)

    async def lease(self, name: str | None) -> Lease:
        """A model in memory, for as long as it is used. Raises UnknownModelError, InUseError where others use the
        memory, StoppingError; as `load` does.
        """
        served = self.find(name)
        if self._closed:
            raise StoppingError
        if served.model is None:
            async with self._changing:
                model = await self._load(served)
        else:
            model = served.model
        return Lease(name or served.name, served, model, self._count)

    async def add(self, name: str, path: Path) -> None:
        """Serves one more model, or one that is served anew if its file is another one. What the others were planned
        with stays theirs: it gets what they leave, or if that is too little takes the place of others. Raises
        MemoryBudgetError for one that does not fit, RequestError for an alias, as `plan` does.
        """
        if name in self._aliases:
            raise RequestError(f"expected a name that is no alias, found {shown(name)}")
        async with self._changing:
            known, modified = self._served.get(name), path.stat().st_mtime
            if known is None:
                new = Served(name, path, {}, modified=modified)
                self._served[name] = await to_its_end(asyncio.to_thread(self._planned, new))
            elif (known.path, known.modified) != (path, modified):
                known.path, known.modified = path, modified
                if not known.users:
                    await self._unload(known)

    async def reading(
        self, read: Callable[[], Result], drop: Callable[[Result], object] = lambda result: None
    ) -> Result:
        """Calls what reads a request's texts, in the thread that does so for all, one by one. Where the request is
        given up meanwhile, the result goes to `drop`.
        """
        if self._closed:
            raise StoppingError
        future = asyncio.get_running_loop().run_in_executor(self._reading, read)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else drop(done.result()))
            raise

    async def unload_idle(self) -> None:
        """Those that nobody has used for long."""
        async with self._changing:
            for each in self._served.values():
                seconds = self.idle_seconds(each)
                if seconds is None or each.model is None or each.users:
                    continue
                if each.last_used + seconds <= time.monotonic():
                    await self._unload(each)

    def keep(self, name: str | None, seconds: float | None) -> None:
        """Says how long a model stays in memory unused, until it is asked for again. None: as all do."""
        self.find(name).idle_seconds = seconds

    def idle_seconds(self, served: Served) -> float | None:
        """After which an unused model leaves the memory; None: never."""
        return self._idle_seconds if served.idle_seconds is None else served.idle_seconds

    def close(self) -> None:
        """Ends all answers, and takes no request any more."""
        self._closed = True
        for each in self._served.values():
            if each.model is not None:
                each.model.close()
                each.model = None
        self._reading.shutdown()

    def _planned(self, new: Served) -> Served:
        """The program takes no more with it than it was planned with: models of one kind have vocabularies alike, and
        its context is no longer than theirs."""
        for each in self._served.values():
            each.settings = _fixed(each.settings, each.plan)
        plans = [each.plan for each in self._served.values()]
        program, longest = max(each.program for each in plans), max(each.context for each in plans)
        settings: Settings = {**self._settings, "program": program}
        need = _need(new.path, settings, self._held)
        left = self._room - sum(each.own_bytes for each in self._served.values())
        settings["memory"] = self._held + (left if left >= need else self._room)
        planned = plan(new.path, **settings)
        if planned.context > longest:
            settings["context"] = longest
            planned = plan(new.path, **settings)
        new.planned, new.settings, new.own_bytes = planned, _fixed(settings, planned), planned.peak - self._held
        return new

    async def _load(self, served: Served) -> Model:
        if self._closed:
            raise StoppingError
        if served.model is None:  # else another request has loaded it meanwhile
            await self._make_room(served)
            return await to_its_end(self._loaded(served))
        return served.model

    async def _loaded(self, served: Served) -> Model:
        served.model = model = await asyncio.to_thread(load, served.path, **served.settings)
        served.planned = model.plan
        served.last_used = time.monotonic()
        if self._closed:  # meanwhile, without this one
            await self._unload(served)
            raise StoppingError
        return model

    async def _make_room(self, served: Served) -> None:
        """Unloads others, those first that were not used for the longest time."""
        loaded = [each for each in self._served.values() if each.model is not None]
        taken = sum(each.own_bytes for each in loaded)
        for each in sorted(loaded, key=lambda each: each.last_used):
            if taken + served.own_bytes <= self._room:
                return
            if not each.users:
                await self._unload(each)
                taken -= each.own_bytes
        if taken + served.own_bytes > self._room:
            names = ", ".join(each.name for each in loaded if each.model is not None)
            raise InUseError(
                f"{served.name}: expected {format_bytes(served.own_bytes)} of the models' {format_bytes(self._room)}, "
                f"found {format_bytes(taken)} in use by answers of {names}: ask again later"
            )

    async def _unload(self, served: Served) -> None:
        model, served.model = served.model, None
        if model is not None:
            await to_its_end(asyncio.to_thread(model.close))


def without_hub(name: str) -> str:
    """A model's name as the hub itself has it."""
    for hub in HUBS:
        name = name.removeprefix(hub)
    return name


def _share(models: list[Served], settings: Settings, held: int) -> None:
    """Plans models for one budget, of which the process held so many bytes before: if they fit at once, each with the
    context that it would have alone, each gets that and an equal part of the rest, so that all can stay in memory; else
    each gets all of it, and takes the place of others: a long conversation is worth more than a load from a file that
    the system has in its cache. Raises MemoryBudgetError for one that does not fit at all.
    """
    room = byte_size("memory", settings["memory"]) - held
    needs = [_need(each.path, settings, held) for each in models]
    rest = room - sum(needs)
    for each, need in zip(models, needs, strict=True):
        memory = held + (need + rest // len(models) if rest >= 0 else room)
        part: Settings = {**settings, "memory": memory}
        each.planned = planned = plan(each.path, **part)
        each.own_bytes = planned.peak - held
        each.settings = _fixed(settings, planned)


def _fixed(settings: Settings, planned: MemoryPlan) -> Settings:
    """With which a model takes what was planned, whatever else the process holds by then."""
    return {**settings, "memory": planned.peak, "context": planned.context, "program": planned.program}


def _need(path: Path, settings: Settings, held: int) -> int:
    """Bytes of a model with pages for one context alone, all weights resident. The context is the one that it would
    have with all the memory for itself, if it may be any.
    """
    alone: Settings = {**settings, "memory": _UNBOUNDED}
    if settings.get("context") == AUTO:
        alone["context"] = plan(path, **settings).context
    planned = plan(path, **alone)
    pages = -(-planned.context // PAGE_TOKENS)
    return planned.peak - planned.kv_cache + planned.kv_cache * pages // planned.pages - held
