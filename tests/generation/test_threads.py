"""Who may do what from which thread: one thread asks and reads, any thread cancels and closes; dropped sessions."""

import gc
import threading
import time

import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.runtime.engine import Engine
from tests.generation.fakes import VOCABULARY, FakeCore, assert_held, ids, make_session

HI = [{"role": "user", "content": "hi"}]
SECONDS = 60  # until a test gives up


class SlowCore(FakeCore):
    """Says "a" for ever, and computes until the flag is set once it was told to be slow."""

    def __init__(self, **settings):
        super().__init__(ids("a" * 10_000), **settings)
        self.slow, self.inside = threading.Event(), threading.Event()

    def forward(self, *batch, cancel=None):
        if self.slow.is_set():
            self.inside.set()
            deadline = time.monotonic() + SECONDS
            while not cancel.is_set():
                assert time.monotonic() < deadline, "nobody cancelled"
                time.sleep(0.001)
        return super().forward(*batch, cancel=cancel)


def reading(answer):
    """A thread that reads an answer to its end; its result is what `read` gave or raised."""
    result = []

    def work():
        try:
            result.append(answer.read())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, result


@pytest.mark.parametrize("how", ["answer.close", "session.cancel", "session.reset", "session.close"])
@pytest.mark.parametrize("begun", [False, True])
def test_another_thread_ends_an_answer(how, begun):
    core = SlowCore(context=4000)
    session = make_session(core)
    answer = session.generate(HI)
    if begun:
        assert next(answer) == "a"
    core.slow.set()
    thread, result = reading(answer)
    assert core.inside.wait(SECONDS)
    owner, _, method = how.partition(".")
    getattr(answer if owner == "answer" else session, method)()
    thread.join(SECONDS)
    assert result == ["a" * begun]  # whoever reads gets what came so far, and no error
    assert answer.finish_reason == "cancelled"
    core.slow.clear()
    if how != "session.close":
        if how != "session.reset":
            assert_held(session, core)
        assert next(session.generate(HI)) == "a"


def test_closing_a_model_ends_its_answers(tiny_int4):
    model = qwen3edge.load(tiny_int4, context=2048, sequences=3, threads=1)
    asked = {"temperature": 100, "top_k": 0, "top_p": 1}
    answers = [model.generate("go", **asked), *(model.session().generate("go", **asked) for _ in range(2))]
    for answer in answers:
        next(answer)
    threads = [reading(answer) for answer in answers]
    model.close()
    for thread, _ in threads:
        thread.join(SECONDS)
    assert not any(isinstance(result[0], Exception) for _, result in threads)
    with pytest.raises(RequestError, match="closed"):
        model.generate("hi")


def test_cancel_on_the_real_engine(tiny_int4):
    with qwen3edge.load(tiny_int4, context=2048, threads=1) as model, model.session() as session:
        answer = session.generate("go", temperature=100, top_k=0, top_p=1)
        next(answer)
        thread, result = reading(answer)
        session.cancel()
        thread.join(SECONDS)
        assert result == [answer.content]
        assert answer.finish_reason in ("cancelled", "stop")
        again = session.generate(HI, temperature=0, max_tokens=8)
        text = again.read()
        session.reset()
        assert session.generate(HI, temperature=0, max_tokens=8).read() == text


def test_cancel_from_a_callback_of_the_reading_itself():
    core = SlowCore(chunk=4, context=4000)
    session = make_session(core)
    answer = session.generate("x" * 40, progress=lambda done, tokens: session.cancel())
    assert answer.read() == ""
    assert answer.finish_reason == "cancelled"
    assert 0 < len(core.caches[0]) <= 8


def test_closing_before_it_begins_computes_nothing():
    core = FakeCore(ids("abc"))
    answer = make_session(core).generate(HI)
    answer.close()
    assert (list(answer), answer.finish_reason, core.log) == ([], "cancelled", [])


def in_thread(call):
    """What a call gives or raises in another thread."""
    result = []

    def work():
        try:
            result.append(call())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SECONDS)
    return result[0]


def test_one_thread_at_a_time():
    session = make_session(FakeCore(ids("a" * 1000), context=4000))
    answer = session.generate(HI)
    next(answer)
    refusal = in_thread(lambda: session.generate(HI))
    assert isinstance(refusal, RequestError) and "model.session()" in str(refusal)
    assert next(answer) == "a"  # nobody took the first one's answer away
    session.cancel()
    assert not isinstance(in_thread(lambda: next(session.generate(HI))), Exception)


def test_answers_of_threads_that_ended_or_dropped_them_are_in_nobodys_way():
    session = make_session(FakeCore(ids("a" * 1000), context=4000))
    kept = in_thread(lambda: session.generate(HI))
    next(session.generate(HI))  # its thread ended; and this one is dropped at once
    assert kept.finish_reason == "cancelled"
    assert not session.busy
    assert not isinstance(in_thread(lambda: next(session.generate(HI))), Exception)


def test_a_dropped_session_gives_its_sequence_back(tiny_int4):
    with qwen3edge.load(tiny_int4, context=128, sequences=2, threads=1) as model:
        for _ in range(5):
            session = model.session()
            next(session.generate("hi"))
            del session
            gc.collect()
        assert model.engine.free_sequences == 2


def test_a_finalizer_may_run_while_a_slot_is_taken():
    """The garbage collector runs where it likes, also in `acquire` under its lock: nothing there may wait."""
    engine = Engine(FakeCore([], sequences=2), VOCABULARY)
    first, second = engine.acquire(), engine.acquire()
    with engine._lock:
        engine.abandon(first)
        assert engine.free_sequences == 1
    assert engine.acquire() == first
    engine.abandon(second)
    engine.close()
