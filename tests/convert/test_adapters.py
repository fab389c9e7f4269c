"""Adapters that are more than updates of linear modules: against NumPy, and against PEFT where it is installed."""

import contextlib
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

import qwen3edge
from qwen3edge import _core
from qwen3edge.convert import convert
from qwen3edge.errors import CheckpointError, MissingShardError, Qwen3EdgeError, UnsupportedModelError
from tests.checkpoints import MOE_SHAPES, SHAPES, make_model, save
from tests.convert.lora_files import halves, write_adapter
from tests.convert.random_gguf import Case, write_gguf
from tests.convert.small_checkpoint import CONFIG, MOE, QWEN2, random_tensors, write
from tests.formats.safetensors_bytes import encode

EMBED, HEAD, Q = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.self_attn.q_proj"
BASE = "base_model.model."
ROWS, HIDDEN = CONFIG["vocab_size"], CONFIG["hidden_size"]


class Maker:
    """Random tensors of an adapter for a checkpoint."""

    def __init__(self, folder, config, seed):
        self.folder, self.config = folder, config
        self.rng = np.random.default_rng(seed)
        self.tensors = random_tensors(config, seed)

    def random(self, *shape):
        return (self.rng.standard_normal(shape) * 0.1).astype(np.float32)

    def convert(self, adapter, config=None, quant="f32", tensors=None):
        write(self.folder / "hf", self.config, tensors or self.tensors)
        if adapter is not None:
            write_adapter(self.folder / "lora", adapter, config)
        return self.merge(self.folder / "lora", quant)

    def merge(self, lora, quant="f32"):
        target = self.folder / "m.q3e"
        report = convert(self.folder / "hf", target, quant, lora=lora, allow_missing_tokenizer=True)
        return _core.ModelFile(str(target)), report

    def mlx(self, adapter, config=None):
        folder = self.folder / "lora"
        folder.mkdir(exist_ok=True)
        keys = {"fine_tune_type": "lora", "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0}}
        (folder / "adapter_config.json").write_text(json.dumps(keys | {"num_layers": 1} | (config or {})))
        (folder / "adapters.safetensors").write_bytes(encode(adapter))
        return self.convert(None)


@pytest.fixture
def tied(tmp_path, seed):
    return Maker(tmp_path, CONFIG, seed)


def assert_embedding_and_head(file, report, embedding, head):
    """head: None where it is the embedding."""
    np.testing.assert_allclose(file.dequantize("token_embd.weight"), embedding, rtol=0, atol=1e-6)
    assert report.config.tied_embeddings == (head is None)
    if head is not None:
        np.testing.assert_allclose(file.dequantize("output.weight"), head, rtol=0, atol=1e-6)
        assert [note for note in report.notes if "no longer the embedding" in note]


def test_several_adapters_in_order(tied, tmp_path, seed):
    """Whole tensors of a later one stand in place of what an earlier one did."""
    first, second = halves(tied.tensors, seed, [Q]), halves(tied.tensors, seed + 1, [Q])
    tied.convert(first)
    write_adapter(tmp_path / "second", second, {"lora_alpha": 4})
    file, report = tied.merge([tmp_path / "lora", tmp_path / "second"])
    expected = tied.tensors[f"{Q}.weight"].astype(np.float64)
    for adapter, scale in ((first, 2), (second, 1)):
        a, b = (adapter[f"{BASE}{Q}.lora_{half}.weight"].astype(np.float64) for half in "AB")
        expected += scale * (b @ a)
    np.testing.assert_allclose(file.dequantize("blk.0.attn_q.weight"), expected, rtol=0, atol=1e-6)
    assert len([note for note in report.notes if "have the updates of" in note]) == 2
    one, _ = tied.merge(tmp_path / "lora")
    again, _ = tied.merge((tmp_path / "lora",))
    np.testing.assert_array_equal(one.packed("blk.0.attn_q.weight"), again.packed("blk.0.attn_q.weight"))


def test_an_update_of_the_embedding(tied):
    """(B A) transposed. The head of a tied model has none of it, as PEFT computes."""
    a, b = tied.random(4, ROWS), tied.random(HIDDEN, 4)
    name = f"{BASE}model.embed_tokens"
    halves = {f"{name}.lora_embedding_A": a, f"{name}.lora_embedding_B": b}
    file, report = tied.convert({**halves, f"{name}.base_layer.weight": tied.tensors[EMBED]})
    assert_embedding_and_head(file, report, tied.tensors[EMBED] + 2 * (b @ a).T, tied.tensors[EMBED])
    base = tied.random(ROWS, HIDDEN)  # another one than the checkpoint's: of both
    file, report = tied.convert({**halves, f"{name}.base_layer.weight": base})
    assert_embedding_and_head(file, report, base + 2 * (b @ a).T, base)


def test_an_update_of_a_tied_head(tied):
    a, b = tied.random(4, HIDDEN), tied.random(ROWS, 4)
    adapter = {f"{BASE}lm_head.lora_A.weight": a, f"{BASE}lm_head.lora_B.weight": b}
    for base in ({}, {f"{BASE}lm_head.base_layer.weight": tied.tensors[EMBED]}):
        file, report = tied.convert(adapter | base)
        assert_embedding_and_head(file, report, tied.tensors[EMBED], tied.tensors[EMBED] + 2 * (b @ a))


def test_whole_embeddings(tied):
    """modules_to_save trains a copy of its own; what is saved along (save_embedding_layers) is one tensor still."""
    plain = halves(tied.tensors, 1, [Q])
    embedding, head = tied.random(ROWS, HIDDEN), tied.random(ROWS, HIDDEN)
    old, e, h = tied.tensors[EMBED], {f"{BASE}{EMBED}": embedding}, {f"{BASE}{HEAD}": head}
    for adapter, saved, expected in (
        (e | h, ["embed_tokens", "lm_head"], (embedding, head)),
        (e, ["embed_tokens"], (embedding, old)),
        (h, ["lm_head"], (old, head)),
        (e, None, (embedding, None)),
        ({f"{BASE}{HEAD}": embedding} | e, None, (embedding, None)),
        (e | h, None, (embedding, head)),
    ):
        file, report = tied.convert(plain | adapter, {"modules_to_save": saved})
        assert_embedding_and_head(file, report, *expected)


def test_whole_vectors_and_biases(tmp_path, seed):
    maker = Maker(tmp_path, QWEN2, seed)
    norm, bias, head = maker.random(HIDDEN), maker.random(64), maker.random(ROWS, HIDDEN)
    adapter = halves(maker.tensors, seed, [Q])
    adapter |= {f"{BASE}model.norm.weight": norm, f"{BASE}{Q}.base_layer.bias": bias, f"{BASE}{HEAD}": head}
    file, report = maker.convert(adapter, {"bias": "all", "modules_to_save": ["norm", "lm_head"]})
    np.testing.assert_array_equal(file.dequantize("output_norm.weight")[0], norm)
    np.testing.assert_array_equal(file.dequantize("blk.0.attn_q.bias")[0], bias)
    np.testing.assert_array_equal(file.dequantize("output.weight"), head)
    np.testing.assert_array_equal(file.dequantize("token_embd.weight"), maker.tensors[EMBED])
    assert [note for note in report.notes if note.startswith("3 tensors are those of")]


@pytest.mark.parametrize("quant", ["f32", "q8"])
def test_trained_tokens(tied, quant, monkeypatch):
    """Rows in place of the checkpoint's, whichever slices they fall into; of a tied head, too."""
    monkeypatch.setattr("qwen3edge.convert.quantize.SLICE_BYTES", 1)
    plain, name = halves(tied.tensors, 1, [Q]), "embed_tokens.token_adapter.trainable_tokens_delta"
    rows = tied.random(3, HIDDEN)
    expected = tied.tensors[EMBED].copy()
    expected[[49, 3, 17]] = rows
    for indices in ([49, 3, 17], {"embed_tokens": [49, 3, 17]}):
        file, report = tied.convert(plain | {f"{BASE}model.{name}": rows}, {"trainable_token_indices": indices}, quant)
        np.testing.assert_array_equal(file.packed("token_embd.weight"), _core.quantize(quant, expected))
        assert report.config.tied_embeddings
        assert [note for note in report.notes if note.startswith("3 rows of the embedding")]
    both = {f"{BASE}model.{name}": rows, f"{BASE}lm_head.token_adapter.trainable_tokens_delta": rows[:1]}
    file, _ = tied.convert(plain | both, {"trainable_token_indices": {"embed_tokens": [49, 3, 17], "lm_head": [5]}})
    head = tied.tensors[EMBED].copy()
    head[5] = rows[0]
    np.testing.assert_array_equal(file.dequantize("output.weight"), head)
    for indices in (None, [49, 3], [49, 3, 50], [49, 3, -1], ["a", 3, 4], {"lm_head": [1, 2, 3]}):
        with pytest.raises(CheckpointError, match=r"trainable_token|shape"):
            tied.convert(plain | {f"{BASE}model.{name}": rows}, {"trainable_token_indices": indices})


def stacked_experts(file, config):
    """gate_up [experts, 2 ffn, hidden] and down [experts, hidden, ffn] of layer 1, as transformers has them."""
    experts, ffn = config["num_experts"], config["moe_intermediate_size"]
    panels = file.dequantize("blk.1.ffn_gate_up_exps.weight").reshape(experts, -1, 2, 16, HIDDEN)
    down = file.dequantize("blk.1.ffn_down_exps.weight").reshape(experts, HIDDEN, ffn)
    return np.moveaxis(panels, 2, 1).reshape(experts, 2 * ffn, HIDDEN), down


def expert_layout(tensors, layout, config):
    """The checkpoint's tensors with their experts in another layout; their gate_up and down of layer 1."""
    out = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for layer in range(config["num_hidden_layers"]):
        mlp = f"model.layers.{layer}.mlp"
        gate, up, down = (
            np.stack([tensors[f"{mlp}.experts.{e}.{part}_proj.weight"] for e in range(config["num_experts"])])
            for part in ("gate", "up", "down")
        )
        fused = np.concatenate([gate, up], axis=1)
        if layout == "fused":
            out |= {f"{mlp}.experts.gate_up_proj": fused, f"{mlp}.experts.down_proj": down}
        else:
            stacks = {"gate": gate, "up": up, "down": down}
            out |= {f"{mlp}.switch_mlp.{part}_proj.weight": stack for part, stack in stacks.items()}
    return tensors if layout == "apart" else out, fused, down


@pytest.mark.parametrize("layout", ["apart", "fused", "mlx"])
def test_experts_of_every_layout(tmp_path, seed, layout):
    maker = Maker(tmp_path, MOE, seed)
    tensors, gate_up, down = expert_layout(maker.tensors, layout, MOE)
    write(tmp_path / "hf", MOE, tensors)
    for found, right in zip(stacked_experts(maker.merge(None)[0], MOE), (gate_up, down), strict=True):
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("layout", ["apart", "fused", "mlx"])
@pytest.mark.parametrize("which", ["both", "gate_up", "down"])
def test_target_parameters(tmp_path, seed, layout, which, monkeypatch):
    """Of experts, as transformers 5 and PEFT have them; PEFT's own sum is an einsum over these."""
    monkeypatch.setattr("qwen3edge.convert.quantize.SLICE_BYTES", 1)
    maker = Maker(tmp_path, MOE, seed)
    tensors, gate_up, down = expert_layout(maker.tensors, layout, MOE)
    experts, ffn, rank = MOE["num_experts"], MOE["moe_intermediate_size"], 3
    module, router = f"{BASE}model.layers.1.mlp.experts", f"{BASE}model.layers.1.mlp.gate"
    adapter = {f"{router}.lora_A.weight": maker.random(2, HIDDEN), f"{router}.lora_B.weight": maker.random(experts, 2)}
    config = {"target_parameters": ["gate.weight"], "alpha_pattern": {"gate.weight": 6}}
    gate = maker.tensors["model.layers.1.mlp.gate.weight"] + 3 * (
        adapter[f"{router}.lora_B.weight"] @ adapter[f"{router}.lora_A.weight"]
    )
    inner = f"{module}.base_layer" if which == "both" else module
    if which != "down":
        a, b = maker.random(2 * rank * experts, HIDDEN), maker.random(2 * ffn, 2 * rank * experts)
        adapter |= {f"{inner}.lora_A.weight": a, f"{inner}.lora_B.weight": b}
        config["alpha_pattern"][r".*\.gate_up_proj"] = 16  # as PEFT writes it, with twice the rank
        factors = b.reshape(2 * ffn, 2 * rank, experts), a.reshape(experts, 2 * rank, HIDDEN)
        gate_up = gate_up + 16 / (2 * rank) * np.einsum("ore,eri->eoi", *factors)
    if which != "gate_up":
        a, b = maker.random(rank * experts, ffn), maker.random(HIDDEN, rank * experts)
        adapter |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
        factors = b.reshape(HIDDEN, rank, experts), a.reshape(experts, rank, ffn)
        down = down + 8 / rank * np.einsum("ore,eri->eoi", *factors)
    file, report = maker.convert(adapter, config, tensors=tensors)
    for found, right in zip(stacked_experts(file, MOE), (gate_up, down), strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-5)
    np.testing.assert_allclose(file.dequantize("blk.1.ffn_gate_inp.weight"), gate, rtol=0, atol=1e-6)
    assert [note for note in report.notes if "have the updates" in note]
    adapter[f"{module}.lora_A.weight"] = adapter[f"{module}.lora_A.weight"][:-1].copy()
    with pytest.raises(CheckpointError, match="expected A and B of gate_up_proj"):
        maker.convert(adapter, config, tensors=tensors)


@pytest.mark.parametrize("layout", ["apart", "fused", "mlx"])
def test_mlx_adapters_of_experts(tmp_path, seed, layout):
    maker = Maker(tmp_path, MOE, seed)
    maker.tensors, *right = expert_layout(maker.tensors, layout, MOE)
    gate_up, down = (tensor.copy() for tensor in right)
    experts, ffn = MOE["num_experts"], MOE["moe_intermediate_size"]
    module, adapter = "model.layers.1.mlp.switch_mlp", {}
    for part, rows, columns, view in (
        ("gate", ffn, HIDDEN, gate_up[:, :ffn]),
        ("up", ffn, HIDDEN, gate_up[:, ffn:]),
        ("down", HIDDEN, ffn, down),
    ):
        a, b = maker.random(experts, 4, columns), maker.random(experts, rows, 4)
        adapter |= {f"{module}.{part}_proj.lora_a": a, f"{module}.{part}_proj.lora_b": b}
        np.add(view, 20 * (b @ a), out=view)
    file, _ = maker.mlx(adapter)
    for found, right in zip(stacked_experts(file, MOE), (gate_up, down), strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=2e-5)


def test_mlx_adapters(tied):
    """W + scale (lora_a lora_b) transposed; of an embedding not transposed, and a tied head has it, too."""
    a, b, ea, eb = tied.random(HIDDEN, 4), tied.random(4, 128), tied.random(ROWS, 4), tied.random(4, HIDDEN)
    adapter = {f"{Q}.lora_a": a, f"{Q}.lora_b": b, "model.embed_tokens.lora_a": ea, "model.embed_tokens.lora_b": eb}
    file, report = tied.mlx(adapter)
    expected = tied.tensors[f"{Q}.weight"] + 20 * (a @ b).T
    np.testing.assert_allclose(file.dequantize("blk.0.attn_q.weight"), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(file.dequantize("token_embd.weight"), tied.tensors[EMBED] + 20 * (ea @ eb), atol=1e-5)
    assert report.config.tied_embeddings
    norm, embedding = tied.random(HIDDEN), tied.random(ROWS, HIDDEN)
    file, report = tied.mlx({"model.norm.weight": norm, EMBED: embedding}, {"fine_tune_type": "full"})
    np.testing.assert_array_equal(file.dequantize("output_norm.weight")[0], norm)
    assert_embedding_and_head(file, report, embedding, None)


@pytest.mark.parametrize(
    ("config", "change", "error", "match"),
    [
        ({"fine_tune_type": "dora"}, {}, UnsupportedModelError, "dora.*mlx_lm.fuse"),
        ({"lora_parameters": {"rank": 4}}, {}, CheckpointError, "scale"),
        ({"lora_parameters": {"rank": 4, "scale": float("nan")}}, {}, CheckpointError, "scale"),
        (
            {"lora_parameters": {"rank": 4, "scale": 10.0, "alpha": 16}},
            {},
            UnsupportedModelError,
            "alpha.*old versions",
        ),
        ({}, {f"{Q}.m": np.ones(128, np.float32)}, UnsupportedModelError, r"q_proj\.m"),
        ({}, {f"{Q}.lora_b": np.ones((3, 128), np.float32)}, CheckpointError, "rank"),
        ({}, {"model.layers.9.x.lora_a": np.ones((3, 128), np.float32)}, CheckpointError, "one of them"),
        ({"fine_tune_type": "full"}, {}, CheckpointError, "lora_a"),
    ],
    ids=str,
)
def test_mlx_adapters_that_are_refused(tied, config, change, error, match):
    adapter = {f"{Q}.lora_a": tied.random(HIDDEN, 4), f"{Q}.lora_b": tied.random(4, 128)}
    with pytest.raises(error, match=match):
        tied.mlx(adapter | change, config)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"init_lora_weights": "pissa"}, "pissa.*merge_and_unload"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa_niter"),
        ({"init_lora_weights": "OLoRA"}, "OLoRA"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"kasa_config": {"x": 1}}, "KaSA"),
        ({"use_dora": True}, "DoRA.*merge_and_unload"),
    ],
    ids=str,
)
def test_bases_that_are_not_the_checkpoint(tied, config, match):
    """These take their first product off the base model: added to the checkpoint they would be wrong, silently."""
    with pytest.raises(UnsupportedModelError, match=match):
        tied.convert(halves(tied.tensors, 1, [Q]), config)
    for harmless in ("gaussian", "eva", "orthogonal", True, False):
        tied.convert(halves(tied.tensors, 1, [Q]), {"init_lora_weights": harmless, "fan_in_fan_out": True})


def test_adapters_of_another_size(tied, tmp_path):
    plain = halves(tied.tensors, 1, [Q])
    with pytest.raises(CheckpointError, match=r"\[50, 64\], found \[52, 64\].*resizes"):
        tied.convert(plain | {f"{BASE}{EMBED}": tied.random(52, HIDDEN)}, {"modules_to_save": ["embed_tokens"]})
    with pytest.raises(CheckpointError, match="v_head"):
        tied.convert(plain | {f"{BASE}v_head.weight": tied.random(1, HIDDEN)})
    with pytest.raises(UnsupportedModelError, match="begin with"):
        tied.convert({name.removeprefix(BASE): tensor for name, tensor in plain.items()})
    (tmp_path / "lora" / "adapter_model.safetensors").unlink()
    with pytest.raises(MissingShardError, match="adapter_model"):
        tied.merge(tmp_path / "lora")
    (tmp_path / "lora" / "adapter_model.bin").write_bytes(b"PK")
    with pytest.raises(UnsupportedModelError, match=r"adapter_model\.bin; save it as safetensors"):
        tied.merge(tmp_path / "lora")


PLAIN = ["q_proj", "v_proj"]
PEFT_CASES = {
    "whole": ({"modules_to_save": ["embed_tokens", "lm_head"]}, {}),
    "whole embedding": ({"modules_to_save": ["embed_tokens"]}, {}),
    "whole head": ({"modules_to_save": ["lm_head"]}, {}),
    "whole, tied": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, {}),
    "norms": ({"modules_to_save": ["norm", "input_layernorm", "q_norm"]}, {}),
    "saved along": ({}, {"save_embedding_layers": True}),
    "tokens": ({"trainable_token_indices": [77, 5, 40]}, {}),
    "tokens of both": ({"trainable_token_indices": {"embed_tokens": [7, 40], "lm_head": [5]}}, {}),
    "head": ({"target_modules": [*PLAIN, "lm_head"]}, {}),
    "embedding": ({"target_modules": [*PLAIN, "embed_tokens"]}, {}),
    "embedding, tied": ({"target_modules": [*PLAIN, "embed_tokens"], "ensure_weight_tying": True}, {}),
    "embedding and head": ({"target_modules": [*PLAIN, "embed_tokens", "lm_head"]}, {}),
    "alpha by module": ({"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 3, "v_proj": 5}}, {}),
}
PEFT_EXPERT_CASES = {
    "router": {"target_modules": ["q_proj", "gate"]},
    "experts": {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    "rank-stabilized": {"target_modules": ["gate_proj", "up_proj"], "use_rslora": True},
    "parameters": {"target_modules": ["q_proj"], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
    "down": {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]},
}


def assert_as_peft(folder, tmp_path, seed, options, saving):
    """Our logits are those of the model with its adapter, which is not merged."""
    peft = pytest.importorskip("peft", reason="the peft package is not installed")
    base = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)  # noqa: E731
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": PLAIN, **options})
    model = peft.get_peft_model(base(), config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=random))
    model.save_pretrained(tmp_path / "lora", **saving)
    ids = list(range(5, 45))
    with torch.no_grad():
        expected = (
            peft.PeftModel.from_pretrained(base(), tmp_path / "lora").eval()(torch.tensor([ids])).logits[0].numpy()
        )
    convert(folder, tmp_path / "m.q3e", "f32", lora=tmp_path / "lora", allow_missing_tokenizer=True)
    with qwen3edge.load(tmp_path / "m.q3e", context=64, kv="f32", threads=1) as ours:
        found = ours.logits(ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", PEFT_CASES)
def test_as_peft(name, tied, tmp_path, seed):
    folder = save(make_model(SHAPES[2 if tied else 3], seed), tmp_path / "hf")
    assert_as_peft(folder, tmp_path, seed, *PEFT_CASES[name])


@pytest.mark.parametrize("name", PEFT_EXPERT_CASES)
def test_experts_as_peft(name, tmp_path, seed):
    folder = save(make_model(MOE_SHAPES[1], seed), tmp_path / "hf")
    assert_as_peft(folder, tmp_path, seed, PEFT_EXPERT_CASES[name], {})


def test_names_without_their_prefix(tied, seed):
    """The adapter's names have `model.`, an embedding model's have not."""
    adapter = halves(tied.tensors, seed, [Q])
    file, _ = tied.convert(adapter, tensors={name.removeprefix("model."): t for name, t in tied.tensors.items()})
    a, b = (adapter[f"{BASE}{Q}.lora_{half}.weight"] for half in "AB")
    expected = tied.tensors[f"{Q}.weight"] + 2 * (b @ a)
    np.testing.assert_allclose(file.dequantize("blk.0.attn_q.weight"), expected, rtol=0, atol=1e-6)


def test_a_head_of_its_own_on_a_gguf_file(tmp_path, seed):
    """In the format of the embedding that it was; the embedding and the rest stay what they are, bit by bit."""
    model = write_gguf(tmp_path / "m.gguf", Case("qwen3"), seed, lambda _: "Q4_0")
    embedding = model.model.embed_tokens.weight.detach().numpy()
    rng = np.random.default_rng(seed)
    a, b = ((rng.standard_normal(shape) * 0.1).astype(np.float32) for shape in ((4, 256), (len(embedding), 4)))
    lora = write_adapter(tmp_path / "lora", {f"{BASE}lm_head.lora_A.weight": a, f"{BASE}lm_head.lora_B.weight": b})
    report = convert(tmp_path / "m.gguf", tmp_path / "m.q3e", lora=lora)
    file = _core.ModelFile(str(tmp_path / "m.q3e"))
    assert not report.config.tied_embeddings
    np.testing.assert_array_equal(file.dequantize("token_embd.weight"), embedding)
    expected = _core.quantize("q4g32", embedding + np.float32(2) * (b @ a))
    np.testing.assert_array_equal(file.packed("output.weight"), expected)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_adapter_is_merged_or_refused(tmp_path, data):
    """With a tensor under another name, in another shape or type: a file, or an error of ours."""
    maker = Maker(tmp_path, MOE, 0)
    parts = ["lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B", "weight", "base_layer.weight"]
    parts += ["token_adapter.trainable_tokens_delta", "lora_a", "lora_b", "bias"]
    modules = [
        "model.embed_tokens",
        "lm_head",
        Q,
        "model.layers.1.mlp.experts",
        "model.layers.1.mlp.experts.base_layer",
    ]
    modules += ["model.layers.1.mlp.switch_mlp.up_proj", "model.layers.0.mlp.experts.4.down_proj", "model.norm"]
    sizes = st.sampled_from([0, 1, 2, 5, 10, 50, 64, 96, 128, 192])
    adapter = {}
    for _ in range(data.draw(st.integers(1, 4))):
        module, part = data.draw(st.sampled_from(modules)), data.draw(st.sampled_from(parts))
        shape = data.draw(st.lists(sizes, max_size=3))
        dtype = data.draw(st.sampled_from([np.float32, np.float16, np.int32, np.uint8]))
        prefix = data.draw(st.sampled_from([BASE, ""]))
        adapter[f"{prefix}{module}.{part}"] = np.zeros(shape, dtype)
    config = data.draw(
        st.dictionaries(
            st.sampled_from(["trainable_token_indices", "modules_to_save", "alpha_pattern", "init_lora_weights"]),
            st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(0, 60), max_size=3),
        )
    )
    with contextlib.suppress(Qwen3EdgeError):
        if data.draw(st.booleans()):
            maker.convert(adapter, config)
        else:
            maker.mlx(adapter, data.draw(st.sampled_from([{}, {"fine_tune_type": "full"}, {"lora_parameters": 3}])))
