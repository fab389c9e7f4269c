"""Adapters as PEFT saves them: adapter_config.json, adapter_model.safetensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from qwen3edge.convert.adapter import AdapterFiles, Changes, Update
from qwen3edge.convert.experts import expert_rows, find_expert
from qwen3edge.convert.names import HEAD_SOURCE
from qwen3edge.convert.same_weights import same_weights
from qwen3edge.errors import CheckpointError, UnsupportedModelError

PEFT_WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_HALF = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])\.weight\Z")
_EMBEDDING_HALF = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<half>[AB])\Z")
_EXPERTS = re.compile(r"(?P<experts>(?:model\.)?layers\.[0-9]{1,4}\.mlp\.experts)(?:\.base_layer)?\Z")
_TOKENS = ".token_adapter.trainable_tokens_delta"
_MERGE = "merge it with PEFT (merge_and_unload) and convert what that saves"
_REFUSED = {  # what changes the weights in other ways
    "use_dora": "DoRA",
    "lora_bias": "biases",
    "use_qalora": "QA-LoRA",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "an adapter that tokens switch on",
    "arrow_config": "a router of adapters",
    "use_bdlora": "block-diagonal LoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "random samples of updates",
}
_REPLACED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that take the first product off the base model's weights, which are no longer the checkpoint's."""


def peft_changes(files: AdapterFiles, keys: Mapping[str, Any], where: str) -> Changes:
    """Raises CheckpointError, UnsupportedModelError."""
    scaling = _Scaling(keys, where)
    changes = Changes()
    halves: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}  # module.weight or module.bias: the adapter's name
    for name in files.files.names():
        core = name.removeprefix(_PREFIX)
        match = _HALF.match(core) or _EMBEDDING_HALF.match(core)
        if core == name:
            raise UnsupportedModelError(f"{files.where}: expected names that begin with {_PREFIX!r}, found {name!r}")
        if match is not None:
            halves.setdefault(match["module"], {})[match["half"]] = name
        elif core.endswith(_TOKENS):
            _add_tokens(files, changes, keys.get("trainable_token_indices"), core.removesuffix(_TOKENS), name)
        elif core.endswith((".weight", ".bias")) and ".lora_" not in core:
            module, _, kind = core.replace(".base_layer.", ".").rpartition(".")
            whole[f"{files.module(module)}.{kind}"] = name
        else:
            raise UnsupportedModelError(
                f"{files.where}: expected updates lora_A and lora_B, or whole tensors, found {name!r}; {_MERGE}"
            )
    scaling.require_matches(files, halves)
    for module, names in halves.items():
        if names.keys() != {"A", "B"}:
            raise CheckpointError(f"{files.where}: {module!r}: expected lora_A and lora_B, found one of them")
        for weight, update in _updates(files, module, names["A"], names["B"], scaling):
            changes.updates.setdefault(weight, []).append(update)
    for name, stored in whole.items():
        files.require_whole(name, stored)
    changes.whole.update(whole)
    if files.config.tied_embeddings:
        _untie(files, changes, keys)
    return changes


def _add_tokens(files: AdapterFiles, changes: Changes, indices: object, module: str, stored: str) -> None:
    """Rows that were trained as they are: PEFT writes them over the embedding's."""
    name = f"{files.module(module)}.weight"
    if isinstance(indices, Mapping):
        ends = [key for key in indices if module == key or module.endswith(f".{key}")]
        indices = indices[ends[0]] if ends else None
    shape = files.shape(name) if files.has(name) else ()
    shape = shape if len(shape) == 2 else (0, 0)
    if not isinstance(indices, list) or not all(type(i) is int and 0 <= i < shape[0] for i in indices):
        raise CheckpointError(
            f"{files.where}: trainable_token_indices: expected rows of {module!r} below {shape[0]}, "
            f"found {indices!r:.80}"
        )
    if files.files.shape(stored) != (len(indices), shape[-1]):
        raise CheckpointError(
            f"{files.where}: {stored!r}: expected the shape {[len(indices), shape[-1]]}, "
            f"found {list(files.files.shape(stored))}"
        )
    changes.rows[name] = (indices, stored)


def _updates(files: AdapterFiles, module: str, a: str, b: str, scaling: _Scaling) -> list[tuple[str, Update]]:
    """Each with the checkpoint's tensor that it is for."""
    ours = files.module(module)
    scale = partial(scaling.of, module)
    if a.endswith(".lora_embedding_A"):  # A [rank, vocabulary], B [hidden, rank]: the update is (B A) transposed
        name = f"{ours}.weight"
        if not files.has(name):
            raise CheckpointError(f"{files.where}: expected modules of the checkpoint, found {module!r}")
        return [(name, files.product(module, b, a, files.shape(name), scale, transposed=True))]
    match = _EXPERTS.match(ours)
    if match is not None and files.config.is_moe:
        return _parameter_updates(files, match["experts"], module, a, b, scaling)
    weight, first_row = f"{ours}.weight", 0
    if files.has(weight):
        shape = files.shape(weight)
    else:
        place = find_expert(ours, files.found, files.config) if files.config.is_moe else None
        if place is None:
            raise CheckpointError(f"{files.where}: expected modules of the checkpoint, found {module!r}")
        weight, first_row, shape = place
    return [(weight, files.product(module, a, b, shape, scale, first_row=first_row))]


def _parameter_updates(
    files: AdapterFiles, experts: str, module: str, a: str, b: str, scaling: _Scaling
) -> list[tuple[str, Update]]:
    """Of `target_parameters`: A [experts * rank, columns], expert by expert; B [rows, rank * experts], rank by rank.

    Which of a layer's two parameters it is, the shapes tell.
    """
    config = files.config
    count, hidden, ffn = config.experts, config.hidden_size, config.expert_ffn_size
    found_a, found_b = files.files.shape(a), files.files.shape(b)
    outer = (found_b[0], found_a[-1]) if len(found_a) == len(found_b) == 2 else None
    if (
        outer not in ((2 * ffn, hidden), (hidden, ffn))
        or found_a[0] != found_b[1]
        or found_a[0] % count
        or not found_a[0]
    ):
        raise CheckpointError(
            f"{files.where}: {module!r}: expected A and B of gate_up_proj [{count}, {2 * ffn}, {hidden}] or of "
            f"down_proj [{count}, {hidden}, {ffn}], found {list(found_a)} and {list(found_b)}"
        )
    fused = outer == (2 * ffn, hidden)
    rank = found_a[0] // count
    scale = scaling.of(f"{experts}.{'gate_up_proj' if fused else 'down_proj'}", rank)
    updates = []
    for expert in range(count):
        read_a = partial(files.read_rows, a, expert * rank, (expert + 1) * rank)
        for at, projection in enumerate(("gate", "up") if fused else ("down",)):

            def read_b(start: int, stop: int, first: int = at * ffn, expert: int = expert) -> Any:
                return np.ascontiguousarray(files.read_whole(b)[first + start : first + stop, expert::count])

            name, first_row = expert_rows(experts, projection, expert, files.found, config)
            if not files.has(name):
                raise CheckpointError(f"{files.where}: expected modules of the checkpoint, found {module!r}")
            updates.append((name, Update(read_a, read_b, scale, first_row, ffn if fused else hidden)))
    return updates


def _untie(files: AdapterFiles, changes: Changes, keys: Mapping[str, Any]) -> None:
    """What becomes of a tied head, as PEFT computes with it.

    An update or a trained copy belongs to the one module; trained rows, and tensors that are saved along because the
    vocabulary was resized, to both.
    """
    embedding, whole, shared = files.embedding, changes.whole, None
    if embedding == HEAD_SOURCE:
        raise UnsupportedModelError(f"{files.where}: expected a checkpoint with an embedding, found its head alone")
    listed = keys.get("modules_to_save") or []
    if not isinstance(listed, list):
        raise CheckpointError(f"{files.where}: modules_to_save: expected a list, found {listed!r:.60}")
    saved = {str(name).split(".")[-1] for name in listed}
    if whole.keys() >= {embedding, HEAD_SOURCE}:
        if same_weights(files.files, whole[embedding], whole[HEAD_SOURCE]):
            shared = whole.pop(HEAD_SOURCE)
    elif HEAD_SOURCE in whole and (".base_layer." in whole[HEAD_SOURCE] or "lm_head" not in saved):
        shared = whole[embedding] = whole.pop(HEAD_SOURCE)
    elif embedding in whole and (".base_layer." in whole[embedding] or "embed_tokens" not in saved):
        shared = whole[embedding]
    elif embedding in whole:
        changes.unties = True
    changes.unties |= HEAD_SOURCE in changes.names() or embedding in changes.updates
    if changes.unties and shared is not None:
        whole[HEAD_SOURCE] = shared
    if changes.unties and embedding in changes.rows:
        changes.rows.setdefault(HEAD_SOURCE, changes.rows[embedding])


class _Scaling:
    """What adapter_config.json says of the updates' size."""

    def __init__(self, config: Mapping[str, Any], where: str):
        if config.get("peft_type") != "LORA":
            raise UnsupportedModelError(f"{where}: peft_type: expected 'LORA', found {config.get('peft_type')!r}")
        for key, what in _REFUSED.items():
            if config.get(key):
                raise UnsupportedModelError(f"{where}: {key}: expected none, found {what}; {_MERGE}")
        start = config.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_REPLACED_BASES):
            raise UnsupportedModelError(
                f"{where}: init_lora_weights: expected an adapter for the checkpoint's own weights, found {start!r}, "
                f"which changed them; {_MERGE}"
            )
        self._root = config.get("use_rslora", False)
        self._alpha = self._number(config.get("lora_alpha"), where)
        patterns = config.get("alpha_pattern") or {}
        if not isinstance(patterns, Mapping) or type(self._root) is not bool:
            raise CheckpointError(f"{where}: expected an object alpha_pattern and a flag use_rslora")
        self._patterns = {_plain(str(pattern)): self._number(alpha, where) for pattern, alpha in patterns.items()}

    @staticmethod
    def _number(alpha: object, where: str) -> float:
        if type(alpha) not in (int, float) or not math.isfinite(alpha):  # type: ignore[arg-type]
            raise CheckpointError(f"{where}: lora_alpha: expected a number, found {alpha!r}")
        return float(alpha)  # type: ignore[arg-type]

    def of(self, module: str, rank: int) -> float:
        """alpha / rank, or alpha / sqrt(rank)."""
        alpha = next((alpha for key, alpha in self._patterns.items() if _matches(key, module)), self._alpha)
        return alpha / (math.sqrt(rank) if self._root else rank)

    def require_matches(self, files: AdapterFiles, modules: Mapping[str, Any]) -> None:
        """Raises UnsupportedModelError for a pattern that is no module's name but, perhaps, a regular expression."""
        experts = [name for module in modules if (match := _EXPERTS.match(module)) for name in (match["experts"],)]
        names = [*modules, *(f"{name}.{part}_proj" for name in experts for part in ("gate_up", "down"))]
        for pattern in self._patterns:
            if not any(_matches(pattern, name) for name in names):
                raise UnsupportedModelError(f"{files.where}: alpha_pattern: expected modules' names, found {pattern!r}")


def _matches(key: str, module: str) -> bool:
    """A key is a module's name or the end of one; of a parameter, with the parameter's name."""
    return any(name == key or name.endswith(f".{key}") for name in (module, f"{module}.weight"))


def _plain(pattern: str) -> str:
    """The name in a regular expression that is one, as PEFT writes for fused experts: `.*\\.gate_up_proj`."""
    return pattern.removeprefix("^").removeprefix(".*\\.").replace("\\.", ".")
