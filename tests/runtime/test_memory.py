"""The budget holds: VmHWM of a process that fills its context, against its plan and its budget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3edge.convert import convert

ROOT = Path(__file__).resolve().parents[2]

CLOSE = 0.05  # by which a plan may differ from the peak
LEAST = 3 << 19  # bytes by which it may always: the pages that the kernel maps around a fault differ from run to run
# By which the plan of a process that imports numpy may lie above its peak.
LIBRARIES = 8 << 20
KINDS = ["tokens", "texts", "C"]

# Fills the context of all sequences, whose answers run side by side.
FILL = """
import json, sys
import qwen3edge
from qwen3edge import _core
path, memory, context, sequences, texts, kv = sys.argv[1:]
sizes = {"context": int(context), "sequences": int(sequences)}
model = qwen3edge.load(path, memory=memory, texts=texts == "texts", kv=kv, threads=2, **sizes)
prompt = [i * 7 % 400 for i in range(model.plan.context - 9)]
sessions = [model.session() for _ in range(model.plan.sequences)]
if model.plan.texts:
    sessions[0].generate("Größe, 你好?", thinking=False, max_tokens=8).read()
prompts = [[n, *prompt[1:]] for n in range(len(sessions))]  # that share no page
answers = [s.generate(p, max_tokens=8, thinking=False) for s, p in zip(sessions, prompts)]
while any(answer.finish_reason is None for answer in answers):
    for answer in answers:
        next(answer, None)
print(json.dumps([_core.peak_resident_bytes(), model.plan.peak, model.plan.budget]))
"""


TURNS = """
import json, sys
import qwen3edge
from qwen3edge import _core
path, memory, context, kv = sys.argv[1:]
model = qwen3edge.load(path, memory=memory, context=int(context), kv=kv, threads=2)
session, messages, peaks = model.session(), [], []
for turn in range(20):
    messages.append({"role": "user", "content": f"What is {turn} + {turn * 3}?"})
    answer = session.generate(messages, max_tokens=24, thinking=False, temperature=0)
    answer.read()
    messages.append({"role": "assistant", "content": answer.content})
    peaks.append(_core.peak_resident_bytes())
print(json.dumps({"peak": max(peaks), "plan": model.plan.as_dict(), "tokens": len(session.tokens)}))
"""


@pytest.fixture(scope="session")
def fill_program(c_build, tmp_path_factory) -> Path:
    """tests/fill.c with the C API's library."""
    program = tmp_path_factory.mktemp("fill") / "fill"
    library = c_build / "qwen3edge"
    command = ["cc", "-I", ROOT / "csrc" / "include", ROOT / "tests" / "fill.c", "-L", library, "-lqwen3edge"]
    subprocess.run([*command, f"-Wl,-rpath,{library}", "-o", program], check=True)
    return program


@pytest.fixture(scope="session")
def tiny_moe_int4(tiny_moe_path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("moe") / "int4.q3e"
    convert(tiny_moe_path, path, "int4")
    return path


@pytest.fixture
def fill(request):
    """fill(kind, ...): the peak, the plan and the budget in bytes of a process of that kind that fills its context."""

    def run(kind: str, path: Path, memory: int, context: int, sequences: int = 1, kv: str = "int8") -> list[int]:
        if kind == "C":
            command = [request.getfixturevalue("fill_program"), path, str(memory), str(context), str(sequences)]
        else:
            size = f"{memory}B" if memory else "auto"
            command = [sys.executable, "-c", FILL, path, size, str(context), str(sequences), kind, kv]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        peak, plan, budget = map(int, result.stdout.strip("[]\n").replace(",", "").split())
        mebibytes = [f"{size / 2**20:.1f}" for size in (peak, plan, budget)]
        print("{}, {} x {}, {}: peak {} MiB, plan {} of {}".format(kind, context, sequences, path.name, *mebibytes))
        return [peak, plan, budget]

    return run


def check(peak: int, plan: int, budget: int, above: int = 0) -> None:
    assert peak <= budget
    assert peak - plan <= max(CLOSE * peak, LEAST)
    assert plan - peak <= max(CLOSE * peak, LEAST + above)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["tiny_int4", "tiny_moe_int4"])
def test_the_plan_of_a_tiny_model_is_within_5_percent(request, fill, model, kind):
    path = request.getfixturevalue(model)
    above = 0 if kind == "C" else LIBRARIES
    for context, sequences in ((512, 1), (256, 16), (2048, 1)):
        resident = fill(kind, path, 0, context, sequences)
        check(*resident, above)
    check(*fill(kind, path, resident[1], 2048), above)
    check(
        *fill(kind, path, resident[1] - (5 << 19), 2048), above
    )  # layers or experts are streamed, or chunks are shorter


def test_other_caches_of_a_tiny_model(fill, tiny_int4):
    check(*fill("tokens", tiny_int4, 0, 1024, kv="f32"), LIBRARIES)
    check(*fill("texts", tiny_int4, 0, 2048, kv="int4"), LIBRARIES)


def test_a_c_program_that_leaves_the_context_to_the_model(fill, tiny_int4):
    """4096 by default, which this model does not know."""
    check(*fill("C", tiny_int4, 0, 0))


def test_what_bench_says_of_its_memory(tiny_int4):
    command = [sys.executable, "-m", "qwen3edge", "bench", tiny_int4, "--prompt", "1000", "--generate", "24"]
    output = subprocess.run(
        [*command, "--context", "1024", "--repeat", "1", "--json"], capture_output=True, text=True, check=True
    ).stdout
    result = json.loads(output)
    check(result["peak_memory_bytes"], result["planned_peak_bytes"], result["budget_bytes"])


def run_turns(path: Path, memory: str, context: int, kv: str) -> dict:
    command = [sys.executable, "-c", TURNS, path, memory, str(context), kv]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_a_session_of_20_turns_stays_within_budget(tiny_int4, kv):
    memory = 32 << 20
    while True:  # the smallest budget that loads
        try:
            result = run_turns(tiny_int4, str(memory) + "B", 1536, kv)
            break
        except AssertionError as error:
            assert "MemoryBudgetError" in str(error)
            memory += 4 << 20
    peak, plan, budget = (size / 2**20 for size in (result["peak"], result["plan"]["peak"], memory))
    print(f"peak {peak:.1f} MiB, plan {plan:.1f} of {budget:.0f}, {result['tokens']} tokens")
    assert result["tokens"] > 400
    assert result["peak"] <= memory


@pytest.fixture(scope="module")
def shape_06b(tmp_path_factory):
    path = tmp_path_factory.mktemp("shape") / "0.6B.q3e"
    command = [sys.executable, ROOT / "scripts" / "make_random.py", "--shape", "0.6B", "--to", "q3e", path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "memory", "context", "sequences", "kv"),
    [
        ("tokens", 500, 512, 1, "int8"),
        ("texts", 600, 1024, 1, "bf16"),
        ("texts", 700, 3072, 1, "int8"),
        ("tokens", 700, 3072, 1, "int4"),
        ("C", 700, 3072, 1, "int8"),
        ("tokens", 550, 128, 16, "int8"),
        ("C", 550, 128, 16, "int8"),
        ("texts", 430, 1024, 1, "int8"),  # layers are streamed
        ("tokens", 300, 1024, 1, "int8"),
        ("C", 300, 1024, 1, "int8"),
    ],
)
def test_06b_shape_plan_is_within_5_percent(fill, shape_06b, kind, memory, context, sequences, kv):
    check(*fill(kind, shape_06b, memory << 20, context, sequences, kv))


LARGE_PAGES = """
import json, sys
import numpy as np
from qwen3edge import _core
path, saved = sys.argv[1:]
settings = {"context": 64, "sequences": 1, "threads": 2, "kv": "int8"}
file = _core.ModelFile(path)
peak = _core.Engine(_core.ModelFile(path), **settings).plan["peak"]
engine = _core.Engine(file, **settings, memory=peak - int(saved) if int(saved) else 0)
engine.forward([1], [0], [0], [True])
pieces = []
for line in open("/proc/self/smaps"):
    first, *rest = line.split()
    if not first.endswith(":"):
        begin, end = (int(address, 16) for address in first.split("-"))
        offset, name = int(rest[1], 16), rest[-1]
    elif name == path and first == "Rss:":
        resident = int(rest[0]) << 10
    elif name == path and first == "VmFlags:":
        pieces.append((offset, offset + end - begin, begin, "hg" in rest, "nh" in rest, "rr" in rest, resident))
print(json.dumps([pieces, engine.plan, engine.metrics["bytes_read"]]))
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without large pages")
@pytest.mark.parametrize("saved", [0, 6 << 20])
def test_large_pages_are_mapped_for_weights_that_stay_resident_alone(tiny_q3e, saved):
    path, page = tiny_q3e("f32"), 2 << 20
    command = [sys.executable, "-c", LARGE_PAGES, path, str(saved)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pieces, plan, bytes_read = json.loads(output)
    assert all(small != large for *_, large, small, _, _ in pieces)  # every part of the file has its advice
    large = [(begin, end) for begin, end, _, large, *_ in pieces if large]
    assert all(begin % page == end % page == 0 for begin, end in large)
    assert all((address - begin) % page == 0 for begin, _, address, *_ in pieces)
    assert (bytes_read > 0) == (saved > 0)
    # Nothing of the parts that are streamed is mapped, though the page cache holds them in one piece with what is read.
    kept_out = [resident for *_, out, resident in pieces if out]
    assert bool(kept_out) == (saved > 0)
    assert not any(kept_out)
    in_large_pages = sum(end - begin for begin, end in large)
    assert plan["weights"] - (2 + plan["streamed_layers"]) * 2 * page <= in_large_pages <= plan["weights"]
    if saved == 0:
        assert in_large_pages > path.stat().st_size / 2
