"""Which tensors a model has, and what they are called in Hugging Face checkpoints and in a `.q3e` file.

The quirks of checkpoints live here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from qwen3edge.config import ModelConfig
from qwen3edge.errors import CheckpointError

EMBEDDING = "token_embd.weight"
HEAD = "output.weight"
FREQUENCIES = "rope.inverse_frequencies"  # computed, in no checkpoint

HEAD_SOURCE = "lm_head.weight"
_EMBEDDING_SOURCE = "model.embed_tokens.weight"
_PREFIX = "model."


@dataclass(frozen=True)
class ModelTensor:
    """One tensor of the model."""

    name: str  # in the `.q3e` file
    source: str  # in the checkpoint, with the prefix `model.` where checkpoints of causal models have it
    rows: int  # outputs; 1 for a vector
    columns: int  # inputs
    is_vector: bool
    required_format: str | None = None  # of a matrix, whatever the recipe says
    holds_experts: bool = False  # one after the other; convert/experts.py finds them under the source's name
    is_head_too: bool = False  # a tied embedding

    @property
    def shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        return (self.columns,) if self.is_vector else (self.rows, self.columns)


def model_tensors(config: ModelConfig) -> list[ModelTensor]:
    """All tensors of the checkpoint, in the order of the `.q3e` file. csrc/models/config.cpp has the same list."""
    hidden, query, kv, head = config.hidden_size, config.query_size, config.kv_size, config.head_size
    ffn = config.expert_ffn_size if config.is_moe else config.ffn_size
    embedding = _matrix(EMBEDDING, _EMBEDDING_SOURCE, config.vocab_size, hidden)
    tensors = [replace(embedding, is_head_too=config.tied_embeddings)]
    for n in range(config.layers):
        ours, theirs = f"blk.{n}.", f"model.layers.{n}."
        attention = f"{theirs}self_attn."
        tensors.append(_vector(f"{ours}attn_norm.weight", f"{theirs}input_layernorm.weight", hidden))
        for letter, rows in (("q", query), ("k", kv), ("v", kv)):
            tensors.append(_matrix(f"{ours}attn_{letter}.weight", f"{attention}{letter}_proj.weight", rows, hidden))
        if config.qkv_bias:
            for letter, size in (("q", query), ("k", kv), ("v", kv)):
                tensors.append(_vector(f"{ours}attn_{letter}.bias", f"{attention}{letter}_proj.bias", size))
        if config.qk_norm:
            for letter in "qk":
                tensors.append(_vector(f"{ours}attn_{letter}_norm.weight", f"{attention}{letter}_norm.weight", head))
        tensors += [
            _matrix(f"{ours}attn_output.weight", f"{attention}o_proj.weight", hidden, query),
            _vector(f"{ours}ffn_norm.weight", f"{theirs}post_attention_layernorm.weight", hidden),
        ]
        if config.is_moe:
            router, experts = f"{theirs}mlp.gate.weight", f"{theirs}mlp.experts."
            gate_up, down = config.experts * 2 * ffn, config.experts * hidden
            tensors += [
                ModelTensor(f"{ours}ffn_gate_inp.weight", router, config.experts, hidden, False, required_format="f32"),
                ModelTensor(f"{ours}ffn_gate_up_exps.weight", f"{experts}gate_up", gate_up, hidden, False, None, True),
                ModelTensor(f"{ours}ffn_down_exps.weight", f"{experts}down", down, ffn, False, None, True),
            ]
            continue
        tensors += [
            _matrix(f"{ours}ffn_gate.weight", f"{theirs}mlp.gate_proj.weight", ffn, hidden),
            _matrix(f"{ours}ffn_up.weight", f"{theirs}mlp.up_proj.weight", ffn, hidden),
            _matrix(f"{ours}ffn_down.weight", f"{theirs}mlp.down_proj.weight", hidden, ffn),
        ]
    tensors.append(_vector("output_norm.weight", "model.norm.weight", hidden))
    if not config.tied_embeddings:
        tensors.append(_matrix(HEAD, HEAD_SOURCE, config.vocab_size, hidden))
    return tensors


def is_bare(found: Collection[str]) -> bool:
    """Whether a checkpoint's names lack the prefix `model.`, as some embedding and base models' do."""
    return not any(name.startswith(_PREFIX) for name in found)


def embedding_source(found: Collection[str]) -> str:
    """What a checkpoint calls its embedding. A tied one may be stored as the head alone."""
    name = _EMBEDDING_SOURCE.removeprefix(_PREFIX) if is_bare(found) else _EMBEDDING_SOURCE
    return HEAD_SOURCE if name not in found and HEAD_SOURCE in found else name


def source_names(tensors: Collection[ModelTensor], found: Collection[str], tied: bool) -> dict[str, str]:
    """The checkpoint's own name of each tensor, by the name in the `.q3e` file.

    Raises CheckpointError for a tensor that is absent, and for one that would be ignored; a stored copy of a tied head
    and buffers of old versions may be.
    """
    have = set(found)
    bare = is_bare(have)
    names = {t.name: t.source.removeprefix(_PREFIX) if bare else t.source for t in tensors}
    if tied:
        names[EMBEDDING] = embedding_source(have)
    for name in names.values():
        if name not in have:
            headless = ": a model without a head, as embedding models are, has no logits to compute"
            raise CheckpointError(
                f"expected the tensor {name!r} in the checkpoint, found none of that name"
                + (headless if name == HEAD_SOURCE else "")
            )
    ignored = {HEAD_SOURCE} if tied else set()
    for name in sorted(have - set(names.values()) - ignored):
        if not name.endswith("rotary_emb.inv_freq"):
            raise CheckpointError(f"the config does not account for the tensor {name!r} of the checkpoint")
    return names


def _matrix(name: str, source: str, rows: int, columns: int) -> ModelTensor:
    return ModelTensor(name, source, rows, columns, False)


def _vector(name: str, source: str, size: int) -> ModelTensor:
    return ModelTensor(name, source, 1, size, True)
