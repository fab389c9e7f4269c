"""The good images, and how a bad one is shown to be refused."""

import pytest

from qwen3edge import _core
from tests.hostile.model_image import (
    Image,
    good_image,
    moe_image,
)

GOOD = good_image()
MOE = moe_image()


def open_bytes(folder, data: bytes) -> _core.ModelFile:
    path = folder / "m.q3e"
    path.write_bytes(data)
    return _core.ModelFile(str(path))


def read_everything(file: _core.ModelFile) -> None:
    """What a program may do with a file that opened."""
    for key in file.keys():  # noqa: SIM118
        file.get(key)
    for tensor in file.tensors():
        assert tensor["offset"] % 64 == 0
        assert len(file.packed(tensor["name"])) == tensor["nbytes"]
        file.dequantize(tensor["name"])
    file.verify()


def data_start_of(image: Image) -> int:
    header = len(image.header())
    return header + -header % 64


def refuse(folder, image: Image | bytes, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        open_bytes(folder, image if isinstance(image, bytes) else image.build())
    assert caught.type is error
