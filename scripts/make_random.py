"""Writes a model of any Qwen3 shape with random weights: for benchmarks and tests of size, not of sense.

    python scripts/make_random.py --shape 0.6B --to hf DIR
    python scripts/make_random.py --shape 8B --to q3e FILE --quant int4
    python scripts/make_random.py --shape 8B --to hollow FILE --quant int4

`hollow` writes a `.q3e` file with holes in place of weights, in no time and on no disk: its plan is that of a full one.

Weights are normal with a deviation of 0.02 and depend on the seed only, not on how they are cut; norms lie near 1.
Of a mixture, embeddings have a deviation of 1 and attention's outputs are scaled down by sqrt(2 layers), so that tokens
stay apart from each other and choose all experts nearly alike, as a trained router's do. With 0.02 everywhere, what
attention averages over the prompt is soon the same for all tokens, and larger than what tells them apart.
Memory stays bounded: a `.q3e` file goes through the converter with this generator in place of a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.convert.checkpoint import ConvertReport, write_model
from qwen3edge.convert.experts import checkpoint_shapes
from qwen3edge.convert.names import FREQUENCIES, model_tensors
from qwen3edge.convert.recipe import VECTOR, find_recipe
from qwen3edge.convert.tokenizer import TextFiles
from qwen3edge.errors import Qwen3EdgeError
from qwen3edge.formats.gguf_header import MetadataItem
from qwen3edge.formats.q3e import ALIGNMENT, TensorSpec, header_and_places
from qwen3edge.formats.safetensors import INDEX, SINGLE
from qwen3edge.tokenization import WORDS


def _qwen3(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": 151936,
        "head_dim": 128,
        "num_key_value_heads": 8,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "rms_norm_eps": 1e-06,
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": True,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        **changes,
    }


def _qwen3_moe(**changes: Any) -> dict[str, Any]:
    return _qwen3(
        **{
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 768,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "tie_word_embeddings": False,
            **changes,
        }
    )


def _qwen3_5(**changes: Any) -> dict[str, Any]:
    """The text model alone."""
    return {
        "architectures": ["Qwen3_5ForCausalLM"],
        "model_type": "qwen3_5_text",
        "vocab_size": 248320,
        "head_dim": 256,
        "max_position_embeddings": 262144,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25},
        "rms_norm_eps": 1e-06,
        "hidden_act": "silu",
        "attention_bias": False,
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": True,
        "bos_token_id": 248044,
        "eos_token_id": 248046,
        **changes,
    }


def _qwen3_5_moe(**changes: Any) -> dict[str, Any]:
    return _qwen3_5(
        **{
            "architectures": ["Qwen3_5MoeForCausalLM"],
            "model_type": "qwen3_5_moe_text",
            "num_experts": 256,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "tie_word_embeddings": False,
            **changes,
        }
    )


def _heads(kv_heads: int, delta_heads: int) -> dict[str, int]:
    return {"num_key_value_heads": kv_heads, "linear_num_value_heads": delta_heads}


def _size(hidden: int, layers: int, heads: int, ffn: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
    }


SHAPES = {
    "tiny": _qwen3(**_size(256, 4, 4, 768), num_key_value_heads=2, vocab_size=512, eos_token_id=259, bos_token_id=257),
    "0.6B": _qwen3(**_size(1024, 28, 16, 3072)),
    "1.7B": _qwen3(**_size(2048, 28, 16, 6144)),
    "4B": _qwen3(**_size(2560, 36, 32, 9728)),
    "8B": _qwen3(**_size(4096, 36, 32, 12288), tie_word_embeddings=False),
    "30B-A3B": _qwen3_moe(**_size(2048, 48, 32, 6144), num_key_value_heads=4),
    "tiny-moe": _qwen3_moe(
        **_size(256, 4, 4, 768),
        num_key_value_heads=2,
        num_experts=16,
        num_experts_per_tok=4,
        moe_intermediate_size=64,
        vocab_size=512,
        eos_token_id=259,
        bos_token_id=257,
    ),
    "3.5-0.8B": _qwen3_5(**_size(1024, 24, 8, 3584), **_heads(2, 16)),
    "3.5-2B": _qwen3_5(**_size(2048, 24, 8, 6144), **_heads(2, 16)),
    "3.5-4B": _qwen3_5(**_size(2560, 32, 16, 9216), **_heads(4, 32)),
    "3.5-9B": _qwen3_5(**_size(4096, 32, 16, 12288), **_heads(4, 32), tie_word_embeddings=False),
    "3.5-35B-A3B": _qwen3_5_moe(**_size(2048, 40, 16, 512), **_heads(2, 32)),
    "tiny-3.5": _qwen3_5(
        **_size(256, 6, 4, 768),
        **_heads(2, 8),
        head_dim=128,
        linear_key_head_dim=64,
        linear_value_head_dim=64,
        linear_num_key_heads=4,
        vocab_size=512,
        eos_token_id=259,
        bos_token_id=257,
    ),
    "tiny-3.5-moe": _qwen3_5_moe(
        **_size(256, 5, 4, 64),
        **_heads(2, 8),
        head_dim=128,
        linear_key_head_dim=64,
        linear_value_head_dim=64,
        linear_num_key_heads=4,
        num_experts=16,
        num_experts_per_tok=4,
        moe_intermediate_size=64,
        shared_expert_intermediate_size=96,
        vocab_size=512,
        eos_token_id=259,
        bos_token_id=257,
    ),
    "qwen2.5-0.5B": {
        **_qwen3(**_size(896, 24, 14, 4864), num_key_value_heads=2, max_position_embeddings=32768),
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "head_dim": None,
    },
}
"""config.json by name. Those of Qwen's models are theirs."""

_DEVIATION = 0.02
_BLOCK_ROWS = 16  # rows that share a random state: slices of whole panels never make a row twice
_SHARD_BYTES = 4 << 30
_CHUNK_ROWS = 1024
_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{%- endif %}"
)


@dataclass(frozen=True)
class RandomTensors:
    """A source of tensors for the converter."""

    shapes: Mapping[str, tuple[int, ...]]  # by name, as a checkpoint has them
    seed: int = 0

    @cached_property
    def _attention_scale(self) -> float:
        """Of attention's outputs: 1 without experts."""
        layers = sum(name.endswith("o_proj.weight") for name in self.shapes)
        return 1 / math.sqrt(2 * layers) if self._mixture else 1

    @cached_property
    def _mixture(self) -> bool:
        return any(".mlp.experts." in name for name in self.shapes)

    @cached_property
    def _center(self) -> float:
        """Of the norms: a hybrid's checkpoint has their difference from 1."""
        return 0.0 if any(".linear_attn." in name for name in self.shapes) else 1.0

    def names(self) -> list[str]:
        """All tensors."""
        return list(self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """[rows, columns], or [elements]; of a convolution [channels, 1, taps]."""
        return self.shapes[name]

    def read_rows(self, name: str, start: int, stop: int) -> NDArray[np.uint16]:
        """Rows [start, stop) of a matrix, or elements of a vector, in bfloat16 as uint16."""
        shape = self.shape(name)
        if len(shape) == 1:
            center, deviation = (self._center, 0.1) if "norm" in name else (0.0, 0.1)
            if name.endswith("linear_attn.norm.weight"):
                center = 1.0
            return _bf16(center + deviation * self._state(name, 0).standard_normal(shape[0], np.float32))[start:stop]
        first = start // _BLOCK_ROWS
        blocks = [
            self._state(name, block).standard_normal((_BLOCK_ROWS, shape[-1]), np.float32)
            for block in range(first, -(-stop // _BLOCK_ROWS))
        ]
        rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return _bf16(rows[start - first * _BLOCK_ROWS : stop - first * _BLOCK_ROWS] * np.float32(self.deviation(name)))

    def deviation(self, name: str) -> float:
        """Of a matrix."""
        if self._mixture and name.endswith("embed_tokens.weight"):
            return 1.0
        if name.endswith("conv1d.weight"):
            return 0.5  # of four taps: what comes out is as large as what goes in
        return _DEVIATION * (self._attention_scale if name.endswith("o_proj.weight") else 1)

    def _state(self, name: str, block: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self.seed, zlib.crc32(name.encode()), block]))


def _bf16(values: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    bits = values.astype(np.float32).view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return rounded


def write_checkpoint(folder: Path, shape: dict[str, Any], seed: int, tokenizer: str) -> None:
    """A Hugging Face folder: config, generation config, tokenizer, shards of at most 4 GiB in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape, indent=2))
    _write_texts(folder, shape, tokenizer)
    config = ModelConfig.from_hf(shape)
    source = RandomTensors(checkpoint_shapes(config), seed)
    shards: list[list[str]] = [[]]
    filled = 0
    for tensor in source.names():
        size = 2 * math.prod(source.shape(tensor))
        if shards[-1] and filled + size > _SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += size
    names = [SINGLE] if len(shards) == 1 else [_shard_name(i, len(shards)) for i in range(len(shards))]
    with ThreadPoolExecutor(_core.usable_cores()) as pool:
        for name, tensors in zip(names, shards, strict=True):
            _write_shard(folder / name, source, tensors, pool)
            print(f"{folder / name}: {(folder / name).stat().st_size:,} bytes", file=sys.stderr)
    if len(shards) > 1:
        weights = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}))


def write_q3e(target: Path, shape: dict[str, Any], seed: int, quant: str, tokenizer: str) -> ConvertReport:
    """A `.q3e` file, without the checkpoint between."""
    config, metadata = _described(target, shape, tokenizer)
    return write_model(RandomTensors(checkpoint_shapes(config), seed), config, metadata, target, find_recipe(quant))


def write_hollow(target: Path, shape: dict[str, Any], quant: str, tokenizer: str) -> int:
    """A `.q3e` file with holes in place of tensors; its bytes. Nothing but a plan can be made of it."""
    config, metadata = _described(target, shape, tokenizer)
    recipe = find_recipe(quant)
    specs = [TensorSpec(t.name, recipe.format_of(t, config.layers), t.rows, t.columns) for t in model_tensors(config)]
    frequencies = np.array(config.inverse_frequencies(), "<f4")  # which a plan reads
    specs.append(TensorSpec(FREQUENCIES, VECTOR, 1, frequencies.size))
    keys = {**metadata, **config.to_metadata(), "qwen3edge.recipe": recipe.to_json()}
    header, places = header_and_places(keys, specs, [spec.nbytes for spec in specs])
    header += bytes(-len(header) % ALIGNMENT)
    with open(target, "wb") as file:
        file.write(header)
        file.seek(places[-2])
        file.write(frequencies.tobytes())
        file.seek(places[-1])
        file.write(np.array([0] * len(specs) + [_core.crc32(header)], "<u4").tobytes())
        return file.tell()


def _described(target: Path, shape: dict[str, Any], tokenizer: str) -> tuple[ModelConfig, dict[str, MetadataItem]]:
    """The config, and what the file says besides."""
    config = ModelConfig.from_hf(shape)
    with tempfile.TemporaryDirectory() as folder:
        _write_texts(Path(folder), shape, tokenizer)
        texts = TextFiles(Path(folder))
    config = replace(config, stop_token_ids=texts.stop_token_ids(config.stop_token_ids, config.vocab_size))
    metadata = {
        "general.name": f"random {target.stem}",
        **texts.metadata(config.vocab_size, config.model_type, config.hidden_size),
    }
    return config, metadata


def _shard_name(index: int, count: int) -> str:
    return f"model-{index + 1:05d}-of-{count:05d}.safetensors"


def _write_shard(path: Path, source: RandomTensors, names: list[str], pool: ThreadPoolExecutor) -> None:
    header: dict[str, Any] = {}
    at = 0
    for name in names:
        size = 2 * math.prod(source.shape(name))
        header[name] = {"dtype": "BF16", "shape": source.shape(name), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            for rows in _in_order(source, name, pool):
                file.write(rows.data)


def _in_order(source: RandomTensors, name: str, pool: ThreadPoolExecutor) -> Iterator[NDArray[np.uint16]]:
    """All rows in pieces, a few at a time made on all cores."""
    shape = source.shape(name)
    count = shape[0]
    step = count if len(shape) == 1 else _CHUNK_ROWS
    starts = list(range(0, count, step))
    ahead = 2 * _core.usable_cores()
    for first in range(0, len(starts), ahead):
        batch = starts[first : first + ahead]
        yield from pool.map(lambda start: source.read_rows(name, start, min(start + step, count)), batch)


def _write_texts(folder: Path, shape: dict[str, Any], tokenizer: str) -> None:
    """tokenizer: `bytes` (one token a byte, and Qwen's three special ones), `none`, or a folder to copy from."""
    stop = [shape["eos_token_id"], shape["bos_token_id"]]
    generation = {"eos_token_id": stop, "do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    if tokenizer == "none":
        return
    if tokenizer != "bytes":
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (Path(tokenizer) / name).exists():
                shutil.copyfile(Path(tokenizer) / name, folder / name)
        return
    vocabulary = {char: index for index, char in enumerate(_byte_alphabet())}
    vocabulary["Ġt"] = len(vocabulary)  # one merge, as readers expect some
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    added = {name: len(vocabulary) + index for index, name in enumerate(names)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [{"id": i, "content": name, "special": True} for name, i in added.items()],
                "normalizer": {"type": "NFC"},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
                "decoder": byte_level,
                "model": {"type": "BPE", "vocab": vocabulary, "merges": [["Ġ", "t"]]},
            }
        )
    )
    texts = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": _TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(texts))


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, by byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", required=True, choices=list(SHAPES))
    parser.add_argument(
        "--to", required=True, nargs=2, metavar=("KIND", "PATH"), help="hf DIR, q3e FILE or hollow FILE"
    )
    parser.add_argument("--quant", default="int4", help="recipe or block format of a .q3e file (default int4)")
    parser.add_argument("--layers", type=int, help="another number of layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokenizer", default="bytes", help="bytes (default), none, or a folder to copy from")
    arguments = parser.parse_args()
    kind, path = arguments.to
    if kind not in ("hf", "q3e", "hollow"):
        parser.error(f"--to: expected hf, q3e or hollow, found {kind!r}")
    shape = dict(SHAPES[arguments.shape])
    if arguments.layers is not None:
        shape["num_hidden_layers"] = arguments.layers
    try:
        if kind == "hf":
            write_checkpoint(Path(path), shape, arguments.seed, arguments.tokenizer)
        elif kind == "hollow":
            nbytes = write_hollow(Path(path), shape, arguments.quant, arguments.tokenizer)
            print(f"{path}: {nbytes:,} bytes, all but the header holes")
        else:
            report = write_q3e(Path(path), shape, arguments.seed, arguments.quant, arguments.tokenizer)
            print(f"{report.path}: {report.nbytes:,} bytes in {report.seconds:.1f} s")
    except (Qwen3EdgeError, OSError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
