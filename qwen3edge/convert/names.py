"""Which tensors a model has, and what they are called in Hugging Face checkpoints and in a `.q3e` file.

The quirks of checkpoints live here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from qwen3edge.architectures.architecture import ModelTensor, matrix, vector
from qwen3edge.config import ModelConfig
from qwen3edge.errors import CheckpointError

EMBEDDING = "token_embd.weight"
HEAD = "output.weight"
FREQUENCIES = "rope.inverse_frequencies"  # computed, in no checkpoint

HEAD_SOURCE = "lm_head.weight"
_EMBEDDING_SOURCE = "model.embed_tokens.weight"
_PREFIX = "model."


def model_tensors(config: ModelConfig) -> list[ModelTensor]:
    """All tensors of the checkpoint, in the order of the `.q3e` file. The core holds each file against its own table
    (csrc/models/tensors.cpp)."""
    head = matrix(HEAD, HEAD_SOURCE, config.vocab_size, config.hidden_size)
    embedding = replace(head, name=EMBEDDING, source=_EMBEDDING_SOURCE, is_head_too=config.tied_embeddings)
    layers = [
        replace(
            tensor,
            name=f"blk.{n}.{tensor.name}",
            source=f"{_PREFIX}layers.{n}.{tensor.source}",
            gguf=f"blk.{n}.{tensor.gguf_name}",
        )
        for n in range(config.layers)
        for tensor in config.architecture.layer(config, n)
    ]
    norm = vector("output_norm.weight", "model.norm.weight", config.hidden_size)
    norm = replace(norm, change=config.architecture.norms)
    return [embedding, *layers, norm, *([] if config.tied_embeddings else [head])]


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
            raise CheckpointError(f"expected the tensor {name!r} in the checkpoint, found none of that name")
    ignored = {HEAD_SOURCE} if tied else set()
    for name in sorted(have - set(names.values()) - ignored):
        if not name.endswith("rotary_emb.inv_freq"):
            raise CheckpointError(f"the config does not account for the tensor {name!r} of the checkpoint")
    return names
