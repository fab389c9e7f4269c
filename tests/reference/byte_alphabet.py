"""GPT-2's byte-level alphabet: every byte as one printable character, the way vocabularies store tokens."""

from __future__ import annotations


def _alphabet() -> dict[int, str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    rest = [byte for byte in range(256) if byte not in table]
    table.update({byte: chr(256 + index) for index, byte in enumerate(rest)})
    return table


BYTE_TO_CHAR: dict[int, str] = _alphabet()
CHAR_TO_BYTE: dict[str, int] = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def to_bytes(token: str) -> bytes | None:
    """The bytes that a stored token stands for; None if a character is outside the alphabet."""
    try:
        return bytes([CHAR_TO_BYTE[char] for char in token])
    except KeyError:
        return None


def from_bytes(data: bytes) -> str:
    """How a vocabulary stores these bytes."""
    return "".join([BYTE_TO_CHAR[byte] for byte in data])
