"""Models by name, and several within one budget."""

import asyncio
import shutil
import threading

import pytest

import qwen3edge
from qwen3edge import _core
from qwen3edge.errors import BusyError, MemoryBudgetError, RequestError
from qwen3edge.server import hosted
from qwen3edge.server.answering import Answers
from qwen3edge.server.errors import InUseError, StoppingError, UnknownModelError, problem
from qwen3edge.server.hosted import SERVER_BYTES, Models
from qwen3edge.server.request import AnswerRequest
from tests.server.scripted import HI

SETTINGS = {"sequences": 2, "threads": 1, "context": "auto"}


@pytest.fixture
def paths(tiny_int4, tmp_path):
    found = {name: tmp_path / f"{name}.q3e" for name in "abc"}
    for path in found.values():
        shutil.copyfile(tiny_int4, path)
    return found


def run(models, work):
    try:
        return asyncio.run(work())
    finally:
        models.close()


def test_names(paths):
    models = Models({"a": paths["a"]}, {"gpt-4o": "a"}, SETTINGS)
    assert models.names == ["a", "gpt-4o"]
    assert {models.find(name).name for name in (None, "a", "a:latest", "gpt-4o", "gpt-4o:latest")} == {"a"}
    with pytest.raises(UnknownModelError, match="expected one of the models that are served, a, gpt-4o, found 'b'"):
        models.find("b")
    models.close()
    with pytest.raises(RequestError, match="alias 'x': expected one of a, found 'b'"):
        Models({"a": paths["a"]}, {"x": "b"}, SETTINGS)
    with pytest.raises(RequestError, match="no model's name, found 'a'"):
        Models({"a": paths["a"]}, {"a": "a"}, SETTINGS)


def test_names_with_their_hub(paths):
    """As Ollama's clients ask for what they have pulled."""
    models = Models({"a/b": paths["a"]}, {}, SETTINGS)
    for name in ("hf.co/a/b", "huggingface.co/a/b", "hf.co/a/b:latest"):
        assert models.find(name).name == "a/b"
    with pytest.raises(UnknownModelError):
        models.find("evil.co/a/b")
    models.close()


def test_all_fit_at_once(paths):
    models = Models(paths, {}, {**SETTINGS, "memory": "2GiB"})
    assert models.loaded == {}

    async def work():
        leases = [await models.lease(name) for name in paths]
        plans = [lease.model.plan for lease in leases]
        assert all(plan.context == 2048 and plan.sequences == 2 and plan.streamed == 0 for plan in plans)
        assert list(models.loaded) == list(paths)
        assert sum(models.find(name).own_bytes for name in paths) < models.budget
        same = await models.lease("a")
        assert same.model is leases[0].model

    run(models, work)


def test_one_takes_the_place_of_another(paths):
    """The budget, whatever this process holds, is one and a half of what a model takes."""
    settings = {**SETTINGS, "kv": "f32", "sequences": 1}
    held = _core.resident_bytes()
    own = qwen3edge.plan(paths["a"], **settings).peak - held
    models = Models(paths, {}, {**settings, "memory": held + own * 3 // 2 + SERVER_BYTES})

    async def work():
        first = await models.lease("a")
        with pytest.raises(InUseError, match="in use by answers of a: ask again later") as refused:
            await models.lease("b")
        assert (problem(refused.value).status, problem(refused.value).headers) == (429, {"Retry-After": "5"})
        first.release()
        first.release()
        second = await models.lease("b")
        assert list(models.loaded) == ["b"]
        second.release()
        await asyncio.gather(*(models.lease("a") for _ in range(4)))
        assert list(models.loaded) == ["a"] and models.find("a").users == 4

    run(models, work)


def test_models_keep_the_context_that_each_has_alone(paths, monkeypatch):
    """Where two fit together with a shorter one alone, each takes the other's place: conversations come first."""
    monkeypatch.setattr("qwen3edge.settings.DEFAULT_CONTEXT", 64)
    settings = {**SETTINGS, "kv": "f32", "sequences": 1}
    held = _core.resident_bytes()
    short, own = (qwen3edge.plan(paths["a"], **{**settings, "context": n}).peak - held for n in (64, 2048))
    both = {name: paths[name] for name in "ab"}
    models = Models(both, {}, {**settings, "memory": held + own + short + SERVER_BYTES})

    async def work():
        for name in "ab":
            assert models.find(name).context == 2048
            (await models.lease(name)).release()
            assert list(models.loaded) == [name]

    assert own - short > 1 << 20  # else the process's own growth decides
    run(models, work)
    models = Models(both, {}, {**settings, "context": 64, "memory": models.budget})

    async def together():
        for name in "ab":
            (await models.lease(name)).release()
        assert list(models.loaded) == ["a", "b"]

    run(models, together)


def test_a_model_that_cannot_fit_is_refused_at_once(paths):
    with pytest.raises(MemoryBudgetError, match="would fit: "):
        Models(paths, {}, {**SETTINGS, "memory": SERVER_BYTES + _core.resident_bytes() + (1 << 20)})
    with pytest.raises(MemoryBudgetError, match=r"would fit: .*; the server itself takes 24\.0 MiB of --memory"):
        Models({"a": paths["a"]}, {}, {**SETTINGS, "memory": "30MiB"})


def test_an_idle_model_leaves(paths, monkeypatch):
    models = Models({"a": paths["a"]}, {}, {**SETTINGS, "context": 512}, idle_seconds=60)
    now = hosted.time.monotonic()
    monkeypatch.setattr(hosted.time, "monotonic", lambda: now)

    async def work():
        nonlocal now
        used = await models.lease("a")
        now += 100
        await models.unload_idle()
        assert list(models.loaded) == ["a"]
        used.release()
        now += 50
        await models.unload_idle()
        assert list(models.loaded) == ["a"]
        now += 20
        await models.unload_idle()
        assert models.loaded == {} and models.find("a").context == 512  # which clients are told
        again = await models.lease("a")
        assert again.model.plan.context == 512

    run(models, work)


def test_nothing_is_answered_after_the_end(paths):
    models = Models({"a": paths["a"]}, {}, SETTINGS)

    async def work():
        lease = await models.lease("a")
        models.close()
        with pytest.raises(StoppingError):
            await models.lease("a")
        with pytest.raises(StoppingError):
            await models.reading(lambda: 1)
        lease.release()

    run(models, work)
    assert problem(StoppingError()).status == 503


def test_a_full_queue(scripted):
    """A 429 that says when to come again; nothing of the refused one stays."""

    async def work():
        request = AnswerRequest(None, HI, {}, n=128)
        begun = [await Answers.begin(scripted.models, request) for _ in range(8)]
        with pytest.raises(BusyError) as refused:
            await Answers.begin(scripted.models, request)
        assert (problem(refused.value).status, problem(refused.value).headers) == (429, {"Retry-After": "1"})
        for answers in begun:
            await answers.aclose()

    asyncio.run(work())
    served = scripted.models.find(None)
    assert served.users == 0
    counts = served.model.engine.scheduler.counts
    assert counts["waiting"] == counts["running"] == 0


def test_a_request_that_is_given_up_while_it_is_read(scripted):
    """What was made of it ends as well."""
    begun = scripted.models.find(None).model

    async def work():
        request = AnswerRequest(None, [{"role": "user", "content": "hi"}] * 60)
        task = asyncio.ensure_future(Answers.begin(scripted.models, request))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await scripted.models.reading(lambda: None)  # the thread has done with it
        await asyncio.sleep(0.05)

    asyncio.run(work())
    counts = begun.engine.scheduler.counts
    assert counts["waiting"] == counts["running"] == scripted.models.find(None).users == 0


@pytest.fixture
def gate(monkeypatch):
    """Loading and closing wait for `go`; `calls` tells of those that have begun, `done` of those that have ended."""

    class Gate:
        go, calls, done = threading.Event(), [], []

        def through(self, name, work):
            self.calls.append(name)
            assert self.go.wait(30)
            result = work()
            self.done.append(name)
            return result

    found = Gate()
    loads, closes = hosted.load, qwen3edge.Model.close
    monkeypatch.setattr(hosted, "load", lambda *a, **k: found.through("load", lambda: loads(*a, **k)))
    monkeypatch.setattr(qwen3edge.Model, "close", lambda self: found.through("close", lambda: closes(self)))
    return found


async def given_up(gate, work):
    """Cancels work, twice, when it has come to the gate; all that has begun is let go on after that."""
    task = asyncio.ensure_future(work)
    before = len(gate.calls)
    while len(gate.calls) == before:
        await asyncio.sleep(0.001)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    return task


def test_who_leaves_while_a_model_loads_or_closes_starts_nothing_beside_it(paths, gate):
    """One load for all that ask, whoever of them stays; what follows waits for its end."""
    models = Models({name: paths[name] for name in "ab"}, {}, {**SETTINGS, "memory": "2GiB"})

    async def work():
        left = await given_up(gate, models.lease("a"))
        others = [asyncio.ensure_future(models.lease("a")) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert gate.calls == ["load"] and not left.done()
        gate.go.set()
        with pytest.raises(asyncio.CancelledError):
            await left
        for lease in await asyncio.gather(*others):
            assert lease.model is models.loaded["a"]
            lease.release()
        assert gate.calls == gate.done == ["load"]
        gate.go.clear()
        models.keep("a", 0)
        left = await given_up(gate, models.unload_idle())
        other = asyncio.ensure_future(models.lease("b"))
        await asyncio.sleep(0.05)
        assert gate.calls == ["load", "close"] and not left.done()
        gate.go.set()
        with pytest.raises(asyncio.CancelledError):
            await left
        (await other).release()
        assert gate.done == ["load", "close", "load"] and list(models.loaded) == ["b"]

    run(models, work)


def test_a_model_that_is_loaded_when_the_server_stops_is_closed(paths, gate):
    models = Models({name: paths[name] for name in "ab"}, {}, {**SETTINGS, "memory": "2GiB"})

    async def work():
        task = asyncio.ensure_future(models.lease("a"))
        while not gate.calls:
            await asyncio.sleep(0.001)
        models.close()
        gate.go.set()
        with pytest.raises(StoppingError):
            await task
        assert gate.done == ["load", "close"] and models.loaded == {}

    run(models, work)
