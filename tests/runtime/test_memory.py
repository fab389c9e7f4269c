"""The budget holds: VmHWM of a process that fills its context, against its plan and its budget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILL = """
import json, sys
import numpy as np
import qwen3edge
from qwen3edge import _core
path, memory, context, kv = sys.argv[1:]
model = qwen3edge.load(path, memory=memory, context=int(context), kv=kv, threads=2)
session = model.session()
prompt = [i * 7 % 400 for i in range(model.plan.context - 9)]
answer = session.generate(prompt, max_tokens=8, thinking=False, temperature=0)
answer.read()
print(json.dumps({"peak": _core.peak_resident_bytes(), "plan": model.plan.as_dict()}))
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


def fill(path: Path, memory: str, context: int, kv: str, code: str = FILL) -> dict:
    result = subprocess.run(
        [sys.executable, "-c", code, path, memory, str(context), kv], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(("memory", "context", "kv"), [("90MiB", 512, "int8"), ("120MiB", 1024, "f32")])
def test_tiny_model_stays_within_budget(tiny_int4, memory, context, kv):
    result = fill(tiny_int4, memory, context, kv)
    assert result["peak"] <= result["plan"]["budget"]
    assert result["peak"] <= result["plan"]["peak"] * 1.05


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_a_session_of_20_turns_stays_within_budget(tiny_int4, kv):
    memory = 32 << 20
    while True:  # the smallest budget that loads
        try:
            result = fill(tiny_int4, str(memory) + "B", 1536, kv, TURNS)
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
    ("memory", "context", "kv"),
    [
        ("500MiB", 512, "int8"),
        ("600MiB", 1024, "bf16"),
        ("700MiB", 3072, "int8"),
        ("700MiB", 3072, "int4"),
        ("430MiB", 1024, "int8"),  # layers are streamed
    ],
)
def test_06b_shape_plan_is_within_5_percent(shape_06b, memory, context, kv):
    result = fill(shape_06b, memory, context, kv)
    print(f"{memory}: peak {result['peak'] / 2**20:.1f} MiB, plan {result['plan']['peak'] / 2**20:.1f} MiB")
    assert result["peak"] <= result["plan"]["budget"]
    assert abs(result["plan"]["peak"] / result["peak"] - 1) <= 0.05


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
