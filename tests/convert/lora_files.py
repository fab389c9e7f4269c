"""PEFT adapters on disk, without torch."""

import json

import numpy as np

from tests.formats.safetensors_bytes import encode

RANK = 4
PLAIN = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "bias": "none"}
MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]


def halves(tensors, seed, modules=MODULES, rank=RANK, dtype=np.float32):
    """lora_A and lora_B of each module."""
    rng = np.random.default_rng(seed)
    found = {}
    for module in modules:
        rows, columns = tensors[f"{module}.weight"].shape
        for half, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            values = rng.standard_normal(shape).astype(np.float32) * 0.1
            if dtype == np.uint16:
                values = (values.view(np.uint32) >> 16).astype(np.uint16)
            found[f"base_model.model.{module}.lora_{half}.weight"] = values.astype(dtype, copy=False)
    return found


def write_adapter(folder, tensors, config=None):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **(config or {})}))
    (folder / "adapter_model.safetensors").write_bytes(encode(tensors))
    return folder
