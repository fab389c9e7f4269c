"""Some panels of a packed matrix, such as one expert's gates, as a matrix of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwen3edge import _core
from qwen3edge.formats.blocks import PANEL_ROWS
from qwen3edge.formats.key_fold import KeyFold

_SLICE_BYTES = 4 << 20


@dataclass(frozen=True)
class PanelView:
    """Rows of a tensor of a `.q3e` file."""

    tensor: str
    format: str
    rows: int  # of the view
    columns: int
    first: int = 0  # panel
    step: int = 1  # every step-th panel

    def slices(self, file: _core.ModelFile, fold: KeyFold) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Some megabytes of panels at a time, each with how many of its rows are the matrix's.

        fold: the file's, which is undone.
        """
        size = _core.packed_nbytes(self.format, PANEL_ROWS, self.columns)
        count, step = -(-self.rows // PANEL_ROWS), max(1, _SLICE_BYTES // size)
        panels = file.packed(self.tensor).reshape(-1, size)[self.first :: self.step][:count]  # of the mapping
        for start in range(0, len(panels), step):
            first_row = start * PANEL_ROWS
            own = fold.undo(self.tensor, self.format, panels[start : start + step], self.columns, first_row)
            yield own, min(step * PANEL_ROWS, self.rows - first_row)
