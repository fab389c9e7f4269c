"""What the tensors of a `.q3e` file say without the powers of two that lie between queries and keys."""

import numpy as np

from qwen3edge import _core
from qwen3edge.config import ModelConfig
from qwen3edge.formats.key_fold import KeyFold


class OwnWeights:
    """The part of `_core.ModelFile` that reads tensors, with the checkpoint's own values."""

    def __init__(self, file: _core.ModelFile):
        self._file = file
        self._fold = KeyFold.read(file, ModelConfig.from_metadata(file))
        self._tensors = {tensor["name"]: tensor for tensor in file.tensors()}

    def packed(self, name: str) -> np.ndarray:
        """Packed bytes."""
        tensor = self._tensors[name]
        return self._fold.undo(name, tensor["format"], self._file.packed(name), tensor["columns"])

    def dequantize(self, name: str) -> np.ndarray:
        """float32 [rows, columns]."""
        tensor = self._tensors[name]
        return _core.dequantize(tensor["format"], self.packed(name), tensor["rows"], tensor["columns"])
