"""What a folder of sentence-transformers says about embeddings, held against what `Model.embed` does."""

from __future__ import annotations

from pathlib import Path

from qwen3edge.errors import UnsupportedModelError, shown
from qwen3edge.formats.safetensors import read_json

_MAX_JSON_BYTES = 1 << 20
_KINDS = ("Transformer", "Pooling", "Normalize")


def check_pooling(folder: Path) -> None:
    """Raises UnsupportedModelError for another pooling than the last token's, or a layer behind it; CheckpointError."""
    path = folder / "modules.json"
    if not path.exists():
        return
    modules = read_json(path, _MAX_JSON_BYTES, list)
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""
        if kind not in _KINDS:
            raise UnsupportedModelError(f"{path}: expected modules of {', '.join(_KINDS)}, found {shown(kind)}")
        if kind != "Pooling":
            continue
        place = folder / str(module.get("path", "")) / "config.json"
        pooling = read_json(place, _MAX_JSON_BYTES)
        modes = [name for name, used in pooling.items() if name.startswith("pooling_mode") and used is True]
        if modes != ["pooling_mode_lasttoken"]:
            raise UnsupportedModelError(f"{place}: expected pooling_mode_lasttoken alone, found {shown(modes)}")
