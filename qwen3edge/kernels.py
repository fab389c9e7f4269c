"""The Triton kernels, which a checkout has in its folder kernels/. A wheel has that folder in place of this file."""

from __future__ import annotations

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "kernels")]
