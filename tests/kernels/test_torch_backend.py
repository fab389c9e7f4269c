"""The whole graph in the interpreter: against float32 torch, against the CPU engine, and as an engine."""

import json

import numpy as np
import pytest
import torch

import qwen3edge
from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert import convert
from qwen3edge.errors import MemoryBudgetError, RequestError
from qwen3edge.runtime.torch_backend import Device, TorchCore
from qwen3edge.runtime.torch_backend.batch import Batch
from qwen3edge.runtime.torch_backend.decode import buckets
from qwen3edge.runtime.torch_backend.graph import Graph
from qwen3edge.runtime.torch_backend.pages import KV_TYPES
from qwen3edge.runtime.torch_backend.plan import weight_bytes
from qwen3edge.runtime.torch_backend.weights import WeightReader
from qwen3edge.settings import checked
from tests.conftest import TINY
from tests.kernels import random_model
from tests.kernels.reference_graph import ReferenceGraph, mean_kl

TORCH_KL = 1e-4  # to float32 torch on the same weights

ITEMS = [json.loads(line) for line in (TINY / "heldout.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def loaded(tiny_q3e, tiny_moe_path, tmp_path_factory):
    """loaded("int4"), loaded("moe", "f16"): a tiny trained model in the interpreter, (path, model)."""
    models = {}

    def load(quant: str, kv: str = "int8"):
        if (quant, kv) not in models:
            if quant == "moe":
                path = tmp_path_factory.mktemp("moe") / "moe.q3e"
                convert(tiny_moe_path, path, "int4")
            else:
                path = tiny_q3e(quant)
            models[quant, kv] = path, qwen3edge.load(path, context=192, sequences=3, kv=kv, device="interpreter")
        return models[quant, kv]

    yield load
    for _, model in models.values():
        model.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """small("qwen3_moe"): a random model, (path, loaded)."""
    folder, models = tmp_path_factory.mktemp("small"), {}

    def load(name: str):
        if name not in models:
            path = random_model.write(folder, name, "q4z32", seed=1)
            models[name] = path, qwen3edge.load(path, context=192, sequences=3, chunk=8, device="interpreter")
        return models[name]

    yield load
    for _, model in models.values():
        model.close()


def prompt_of(model, index: int) -> list[int]:
    """A held-out item with its answer."""
    item = ITEMS[index]
    text = f"<|im_start|>user\n{item['messages'][-1]['content']}<|im_end|>\n<|im_start|>assistant\n{item['expected']}"
    return model.tokenizer.encode(text)


@pytest.mark.parametrize("quant", [*(pytest.param(each, marks=pytest.mark.slow) for each in ("int4", "int8")), "moe"])
def test_tiny_models(loaded, quant):
    """As close to float32 torch as float16 lets them, experts chosen by each for itself; no farther from the CPU engine
    than torch is, for the CPU rounds activations to int8.
    """
    path, model = loaded(quant, "f16")
    tokens = prompt_of(model, 3)[:14]
    found, reference = model.logits(tokens), ReferenceGraph(path).logits(tokens)
    with qwen3edge.load(path, context=192, kv="f32") as cpu:
        rounded = cpu.logits(tokens)
    to_torch, to_cpu, torch_to_cpu = mean_kl(reference, found), mean_kl(rounded, found), mean_kl(rounded, reference)
    print(f"{quant}: KL to torch {to_torch:.2g}, to the CPU engine {to_cpu:.2g}, of torch to it {torch_to_cpu:.2g}")
    assert to_torch <= TORCH_KL and to_cpu <= 1.25 * torch_to_cpu + TORCH_KL


def test_tiny_model_with_an_int8_cache(loaded):
    """Float16's error changes how some keys and values round, so that it may differ by what the cache itself costs."""
    path, model = loaded("int4")
    tokens = prompt_of(model, 3)[:14]
    found, reference = model.logits(tokens), ReferenceGraph(path, kv="int8").logits(tokens)
    with qwen3edge.load(path, context=192) as cpu:
        rounded = cpu.logits(tokens)
    cost = mean_kl(ReferenceGraph(path).logits(tokens), reference)
    to_torch, to_cpu, torch_to_cpu = mean_kl(reference, found), mean_kl(rounded, found), mean_kl(rounded, reference)
    print(f"KL to torch with this cache {to_torch:.2g}, of the cache {cost:.2g}, to the CPU engine {to_cpu:.2g}, "
          f"of torch to it {torch_to_cpu:.2g}")  # fmt: skip
    assert to_torch <= cost and to_cpu <= 1.25 * torch_to_cpu + cost


# bfloat16 takes three times as long in the interpreter.
@pytest.mark.parametrize(("name", "kv"), [
    *((name, "f16") for name in random_model.MODELS), ("qwen3", "bf16"),
    *(pytest.param(name, "bf16", marks=pytest.mark.slow) for name in random_model.MODELS if name != "qwen3"),
])  # fmt: skip
def test_random_models(tmp_path, name, kv):
    """Working in the type of the cache, as a GPU does in bfloat16."""
    path = random_model.write(tmp_path, name, "q4z32", seed=1)
    file = _core.ModelFile(str(path))
    config = ModelConfig.from_metadata(file)
    chosen = checked({"context": 64, "chunk": 8, "kv": kv}, trained_context=config.context_length, cores=1).core
    core = TorchCore(file, config, chosen, Device(torch.device("cpu"), KV_TYPES[kv], captures=False))
    tokens = list(range(3, 13))  # more than a chunk
    found = core.forward(tokens, range(len(tokens)), [0] * len(tokens), [True] * len(tokens))
    kl = mean_kl(ReferenceGraph(path).logits(tokens), found)
    print(f"{name} {kv}: KL to torch {kl:.2g}")
    assert kl <= TORCH_KL


@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_ragged_batches_chunks_and_decode(small, name):
    """One call with prompts of all sequences, then decode steps with padding: close to each sequence alone."""
    path, model = small(name)
    core, reference = model.engine.core, ReferenceGraph(path, kv="int8")
    sequences = [list(range(5, 9)), list(range(40, 49)), [7]]
    tokens = [t for sequence in sequences for t in sequence]
    positions = [p for sequence in sequences for p in range(len(sequence))]
    whose = [s for s, sequence in enumerate(sequences) for _ in sequence]
    expected = [reference.logits([*sequence, 11, 12]) for sequence in sequences]
    found = core.forward(tokens, positions, whose, [True] * len(tokens))
    assert mean_kl(torch.cat([e[:-2] for e in expected]), found) <= TORCH_KL
    lengths = [len(sequence) for sequence in sequences]
    assert [core.length(s) for s in range(3)] == lengths
    for step in range(2):
        found = core.forward([11 + step] * 3, [n + step for n in lengths], [0, 1, 2], [True, False, True])
        assert found.shape == (2, 96)
        assert mean_kl(torch.stack([expected[s][lengths[s] + step] for s in (0, 2)]), found) <= TORCH_KL
    for sequence in range(3):
        core.truncate(sequence, 0)


@pytest.mark.parametrize("name", ["qwen3", pytest.param("qwen3_moe", marks=pytest.mark.slow)])
def test_padding_changes_nothing(small, name):
    """A bucket of four with three tokens gives what a bucket of four with four of them gives, row by row."""
    _, model = small(name)
    core = model.engine.core
    for sequence in range(3):
        length = 4 + sequence
        core.forward(range(length), range(length), [sequence] * length, [False] * length)
    whole = core.forward([5, 6, 7], [4, 5, 6], [0, 1, 2], [True] * 3)
    again = core.forward([6, 7, 5], [5, 6, 4], [1, 2, 0], [True] * 3)
    assert (whole[[1, 2, 0]] == again).all()
    for sequence in range(3):
        core.truncate(sequence, 0)


def test_rewinding_and_logits_of_some(small):
    _, model = small("qwen3")
    core = model.engine.core
    tokens = list(range(9))  # more than a chunk
    want = [i % 4 == 0 for i in tokens]
    whole = core.forward(tokens, tokens, [1] * 9, [True] * 9)
    # Not equal: products of other numbers of rows add up in another order.
    assert mean_kl(whole[want], core.forward(tokens, tokens, [1] * 9, want)) <= 1e-6
    core.forward([9, 9], [5, 6], [1, 1], [False, False])
    assert core.length(1) == 7
    again = core.forward(tokens[5:], tokens[5:], [1] * 4, [True] * 4)
    assert mean_kl(whole[5:], again) <= 1e-6
    assert core.forward([3], [9], [1], [False]).shape == (0, 96)
    assert core.forward([], [], [], []).shape == (0, 96)
    core.truncate(1, 0)


BAD_BATCHES = {
    "token below": ([-1], [0], [0], [True]),
    "token above": ([96], [0], [0], [True]),
    "position above": ([1], [192], [0], [True]),
    "position below": ([1], [-1], [0], [True]),
    "position leaves a hole": ([1], [7], [0], [True]),
    "sequence above": ([1], [0], [3], [True]),
    "sequence below": ([1], [0], [-1], [True]),
    "positions jump": ([1, 1], [6, 8], [0, 0], [True, True]),
    "sequence twice": ([1, 1, 1], [6, 0, 7], [0, 1, 0], [True] * 3),
    "lengths differ": ([1, 1], [6], [0, 0], [True, True]),
}


def test_bad_batches_change_nothing(small):
    _, model = small("qwen3")
    core = model.engine.core
    for sequence in range(3):
        core.truncate(sequence, 0)
    core.forward([1] * 6, range(6), [0] * 6, [False] * 6)
    for name, batch in BAD_BATCHES.items():
        with pytest.raises(RequestError, match="expected"):
            core.forward(*batch)
        assert [core.length(s) for s in range(3)] == [6, 0, 0], name
    for sequence, length in ((0, 7), (3, 0), (-1, 0), (0, -1)):
        with pytest.raises(RequestError, match="expected"):
            core.truncate(sequence, length)
    core.truncate(0, 0)


@pytest.mark.slow
def test_sessions_reuse_their_prefix(loaded):
    """Two turns of a conversation, cut short: a decoded token takes seconds here."""
    (path, model), first = loaded("int4"), [{"role": "user", "content": "10 + 7?"}]
    with qwen3edge.load(path, context=192) as cpu, cpu.session() as there, model.session() as here:
        asked = {"thinking": False, "temperature": 0.0}
        answers = [session.generate(first, max_tokens=2, **asked) for session in (there, here)]
        assert answers[0].read() == answers[1].read()
        assert answers[0].tokens == answers[1].tokens and len(answers[1].tokens) == 2
        turn = [*first, {"role": "assistant", "content": answers[0].content}, {"role": "user", "content": "?"}]
        again = [session.generate(turn, max_tokens=1, **asked) for session in (there, here)]
        assert again[0].read() == again[1].read()
        assert again[0].usage.cached_tokens == again[1].usage.cached_tokens > 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_torch_compile_gives_the_same_logits(small, name):
    _, model = small(name)
    core = model.engine.core
    tokens = list(range(4, 10))
    expected = core.forward(tokens, range(6), [0] * 6, [True] * 6)
    batch = Batch.checked(tokens, range(6), [0] * 6, [True] * 6, 96, core._pages)
    graph, step = core._graph, core._step(batch, batch.wanted())

    def logits():
        return graph.logits(graph.forward(step, core._pages.block_tables))

    with torch.no_grad():
        compiled = torch.compile(logits, backend="aot_eager", fullgraph=True)
        assert np.array_equal(compiled().numpy(), expected)
    core.truncate(0, 0)


@pytest.mark.parametrize(
    ("name", "quant"), [("qwen3", "int4"), ("qwen2", "int8"), ("qwen3_moe", "int4"), ("qwen3_moe", "bf16")]
)
def test_the_plan_knows_the_weights(tmp_path, name, quant):
    path = random_model.write(tmp_path, name, quant, seed=2)
    kv = "f16" if quant == "bf16" else "int8"
    with qwen3edge.load(path, context=100, sequences=2, kv=kv, device="interpreter") as model:
        core, plan = model.engine.core, model.plan
        assert plan.weights == sum(part.nbytes for part in random_model.weights_of(core._graph))
        assert plan.kv_cache == sum(cache.nbytes for cache in core._graph.states if cache is not None)
        assert plan.peak == plan.weights + plan.kv_cache + plan.scratch + plan.program <= plan.budget
        assert (plan.context, plan.sequences, plan.kv) == (100, 2, kv)
        assert plan.kv_bytes_per_token * 64 * 2 * 2 == plan.kv_cache  # two pages for each of two sequences


def test_budgets_and_settings(tmp_path):
    path = random_model.write(tmp_path, "qwen3", "int4", seed=3)
    with qwen3edge.load(path, context=512, device="interpreter") as model:
        peak = model.plan.peak
    with qwen3edge.load(path, context=512, memory=peak, device="interpreter") as model:
        assert model.plan.chunk == 512
        assert model.plan == qwen3edge.plan(path, context=512, memory=peak, device="interpreter")
    with qwen3edge.load(path, context=512, memory=peak - 1, device="interpreter") as model:
        assert model.plan.chunk < 512 and model.plan.peak < peak
    with pytest.raises(MemoryBudgetError, match=r"weights .*KV cache .*would fit: .*memory="):
        qwen3edge.load(path, context=512, memory="40KiB", device="interpreter")
    for kv in ("int4", "f32", "bf16"):
        with pytest.raises(RequestError, match=f"kv: expected int8 or f16 on this device, found '{kv}'"):
            qwen3edge.load(path, kv=kv, device="interpreter")
    with pytest.raises(RequestError, match="kv: expected int8, int4, bf16 or f32"):
        qwen3edge.load(path, kv="f16")
    with pytest.raises(MemoryBudgetError, match=r"memory on cuda:0: expected .*would fit: .*memory="):
        qwen3edge.plan(path, context=512, memory="40KiB", device="cuda")
    plan = qwen3edge.plan(path, context=512, memory="1GiB", kv="bf16", device="cuda")
    assert plan.peak == plan.weights + plan.kv_cache + plan.scratch + plan.program and plan.program > 0
    if not torch.cuda.is_available():
        for call in (qwen3edge.load, qwen3edge.plan):
            with pytest.raises(RequestError, match="expected a GPU"):
                call(path, device="cuda")


def test_an_old_gpu_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    path = random_model.write(tmp_path, "qwen3", "int4", seed=3)
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    with pytest.raises(RequestError, match=r"compute capability 8\.0 or newer, found 7\.5 \(Tesla T4\)"):
        qwen3edge.load(path, device="cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 0))
    assert Device.named("cuda").place == torch.device("cuda", 0)


def test_weight_bytes_follow_the_file(tmp_path):
    path = random_model.write(tmp_path, "qwen3_moe", "q4a32", seed=3)
    with qwen3edge.load(path, context=64, device="interpreter") as model:
        device = model.engine.core._device
        assert weight_bytes(_core.ModelFile(str(path)), device) == model.plan.weights


def test_buckets():
    assert buckets(1, 1) == [1] and buckets(1, 5) == [1, 2, 4, 8] and buckets(1024, 4096) == [1024, 2048, 4096]


@pytest.mark.parametrize("name", random_model.MODELS)
def test_the_blocks_take_every_tensor(tmp_path, name):
    """The graph's list is the core's, and what its blocks read is what the core's blocks state, each once."""
    file = _core.ModelFile(str(random_model.write(tmp_path, name, "int4", seed=6)))
    read = []

    class Noted(WeightReader):
        def _stacked(self, names, in_turn=False):
            read.extend(names)
            return super()._stacked(names, in_turn)

        def floats(self, name):
            read.append(name)
            return super().floats(name)

    config = ModelConfig.from_metadata(file)
    kinds = ["attention", "experts" if config.experts else "dense"]
    assert file.blocks() == [(kind, layer) for layer in range(config.layers) for kind in kinds]
    assert {kind for kind, _ in file.blocks()} == config.architecture.blocks
    device = Device(torch.device("cpu"), torch.float16, captures=False)
    Graph(config, file.blocks(), Noted(file, device), 1, "f16", 1, 64)
    assert sorted(read) == sorted(tensor["name"] for tensor in file.tensors())
