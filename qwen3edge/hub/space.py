"""How much of the disk a pull takes, before anything large is fetched."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwen3edge.architectures.architecture import ModelTensor
from qwen3edge.config import ModelConfig
from qwen3edge.convert.names import model_tensors
from qwen3edge.convert.recipe import find_recipe
from qwen3edge.convert.shard_release import most_space
from qwen3edge.errors import CheckpointError, HubError, UnsupportedModelError
from qwen3edge.formats.q3e import TensorSpec
from qwen3edge.formats.safetensors import read_json
from qwen3edge.hub.selection import Selection, weight_map

_MARGIN = 1 << 20  # of the packed file: its other keys, and what aligns tensors
_REPACKED = 1.25  # times the bytes of weights that are quantized already, at most
_MAX_CONFIG_BYTES = 1 << 20
_PREFIX = "model."


@dataclass(frozen=True)
class Need:
    """Bytes. download: still to come. packed: of the `.q3e` file, about. beside: what packing takes at its peak, beyond
    all that was downloaded; less than packed where files go meanwhile.
    """

    download: int
    packed: int
    beside: int

    def require(self, folder: Path) -> None:
        """Raises HubError with all numbers."""
        free = shutil.disk_usage(folder).free
        if free < self.download + self.beside:
            raise HubError(
                f"{folder}: expected {self.download + self.beside:,} bytes of free space, {self.download:,} for the "
                f"download and {self.beside:,} for packing it, found {free:,}; QWEN3EDGE_CACHE names another place"
            )


def space_needed(selection: Selection, folder: Path, download: int, *, discard: bool) -> Need:
    """folder: with the texts. Raises CheckpointError, UnsupportedModelError for a model that `convert` would refuse by
    its config.
    """
    weights = sum(file.nbytes for file in selection.weights)
    texts = sum(file.nbytes for file in selection.texts) + _MARGIN
    kept = int(_REPACKED * weights) + texts  # of GGUF also a bound for what is packed in fewer bits
    if selection.gguf is not None:
        return Need(download, kept, kept)
    keys = read_json(folder / "config.json", _MAX_CONFIG_BYTES)
    try:
        config = ModelConfig.from_hf(keys)
    except (CheckpointError, UnsupportedModelError) as error:
        raise type(error)(f"config.json: {error}") from None
    if selection.quant is None:
        return Need(download, kept, kept)
    recipe = find_recipe(selection.quant)
    tensors = model_tensors(config)
    sizes = [TensorSpec(t.name, recipe.format_of(t, config.layers), t.rows, t.columns).nbytes for t in tensors]
    packed = beside = sum(sizes) + texts
    if discard and not keys.get("quantization_config"):
        files = {Path(file.path): file.nbytes for file in selection.weights}
        index = {config.architecture.source_name(name) or name: file for name, file in weight_map(folder).items()}
        beside = most_space(sizes, _uses(tensors, index, list(files)), files) + texts
    return Need(download, packed, beside)


def _uses(tensors: Sequence[ModelTensor], index: Mapping[str, str], files: Sequence[Path]) -> list[set[Path]]:
    """The files that each tensor may lie in: of experts all that have any of their layer's."""
    at: dict[str, set[Path]] = {}
    for name, file in index.items():
        bare = name.removeprefix(_PREFIX)
        at.setdefault(bare, set()).add(Path(file))
        if ".mlp.experts." in bare:
            at.setdefault(f"{bare.partition('.mlp.experts.')[0]}.mlp.experts", set()).add(Path(file))
    uses = []
    for tensor in tensors:
        source = tensor.source.removeprefix(_PREFIX)
        place = source.rpartition(".")[0] if tensor.holds_experts else source
        uses.append(at.get(place) or set(files))
    uses[-1] |= set(files) - set().union(*uses)  # what nothing is read of goes last
    return uses
