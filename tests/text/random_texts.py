"""Random texts in all scripts, with marks, emoji, code, odd spaces and invalid UTF-8."""

from __future__ import annotations

import random
import unicodedata

# The scripts of Qwen3's 119 languages and some more: Latin with its extensions, Cyrillic, Greek, Armenian, Georgian,
# Hebrew, Arabic, Syriac, Thaana, Indic scripts, Sinhala, Thai, Lao, Tibetan, Burmese, Khmer, Ethiopic, Cherokee,
# Mongolian, Ol Chiki, Meetei Mayek, Javanese, Balinese, Hangul with its parts, Kana, Bopomofo, Han.
SCRIPTS = [
    (0x0041, 0x007A), (0x00C0, 0x024F), (0x1E00, 0x1EFF), (0x0400, 0x052F), (0x0370, 0x03FF), (0x1F00, 0x1FFF),
    (0x0531, 0x058F), (0x10A0, 0x10FF), (0x0591, 0x05F4), (0x0600, 0x06FF), (0x0750, 0x077F), (0xFB50, 0xFDFF),
    (0xFE70, 0xFEFC), (0x0700, 0x074F), (0x0780, 0x07B1), (0x0900, 0x097F), (0x0980, 0x09FF), (0x0A00, 0x0A7F),
    (0x0A80, 0x0AFF), (0x0B00, 0x0B7F), (0x0B80, 0x0BFF), (0x0C00, 0x0C7F), (0x0C80, 0x0CFF), (0x0D00, 0x0D7F),
    (0x0D80, 0x0DFF), (0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF),
    (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1820, 0x18AA), (0x1C50, 0x1C7F), (0xABC0, 0xABF9), (0xA980, 0xA9DF),
    (0x1B00, 0x1B7C), (0x1100, 0x11FF), (0xAC00, 0xD7A3), (0x3131, 0x318E), (0x3041, 0x309F), (0x30A0, 0x30FF),
    (0x3105, 0x312F), (0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0xF900, 0xFAD9), (0x20000, 0x2A6DD), (0x2F800, 0x2FA1D),
]  # fmt: skip
OTHERS = [
    (0x0000, 0x00BF), (0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x2000, 0x206F), (0x2070, 0x218B), (0x2190, 0x23FF),
    (0x2460, 0x24FF), (0x2500, 0x27BF), (0x3000, 0x303F), (0xFF00, 0xFFEF), (0x0660, 0x0669), (0x1D400, 0x1D7FF),
    (0xFE00, 0xFE0F), (0xE000, 0xE0FF), (0x1F100, 0x1F1FF), (0xE0001, 0xE007F),
]  # fmt: skip
EMOJI = [(0x1F300, 0x1F64F), (0x1F680, 0x1F6FC), (0x1F900, 0x1F9FF), (0x2600, 0x26FF)]
ZWJ, VARIATION, KEYCAP = "\u200d", "\ufe0f", "\u20e3"
SKIN = [chr(code) for code in range(0x1F3FB, 0x1F400)]
MARKS = [chr(code) for code in (*range(0x0300, 0x0345), 0x0591, 0x064B, 0x0651, 0x093C, 0x0E38, 0x3099, 0x309A)]
SPACES = [" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\x0b", "\x0c", "\x85"]
CODE = [
    "def f(x):\n    return x+1\n", "if (a->b != NULL && c[i]++) {", "}\n\n\n\t// TODO", "SELECT * FROM t WHERE a='b';",
    "<div class=\"x\">", "https://example.org/a?b=c&d=%20", "0x1F 1e-10 3.14159", "it's I'LL we've DON'T they're o'd",
    "λ x → x", "$\\frac{1}{2}$", "\\n\\t\"\\u0041\"", "#!/bin/sh", "a_b.C::d<E>()", "'''", "...", "!!??\n", "<|im_end|",
]  # fmt: skip


# Marks newer than Unicode 9: the NFC of Python and the older one of Qwen's tokenizer put them in different orders.
NEW_MARKS = {0x09FE, 0x0C3C, 0x0D3B, 0x0D3C, 0x0EBA, *range(0x1ABF, 0x1ACF)}


def assigned(low: int, high: int) -> list[str]:
    codes = [code for code in range(low, high + 1) if code not in NEW_MARKS]
    return [chr(code) for code in codes if unicodedata.category(chr(code)) not in ("Cn", "Cs")]


SCRIPT_CHARS = [assigned(*span) for span in SCRIPTS]
OTHER_CHARS = [assigned(*span) for span in OTHERS]
EMOJI_CHARS = [char for span in EMOJI for char in assigned(*span)]
KNOWN_MARKS = {char for chars in [MARKS, *SCRIPT_CHARS, *OTHER_CHARS] for char in chars if unicodedata.combining(char)}


def word(rng: random.Random) -> str:
    chars = rng.choice(SCRIPT_CHARS)
    text = "".join(rng.choices(chars, k=rng.randint(1, 9)))
    if rng.random() < 0.3:
        text = "".join(char + rng.choice(MARKS) * (rng.random() < 0.4) for char in text)
    return unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKD"]), text) if rng.random() < 0.3 else text


def emoji(rng: random.Random) -> str:
    one = [rng.choice(EMOJI_CHARS) + rng.choice(["", VARIATION, rng.choice(SKIN)]) for _ in range(rng.randint(1, 4))]
    return rng.choice([ZWJ, ""]).join(one)


def piece(rng: random.Random) -> str:
    kind = rng.randrange(9)
    if kind < 3:
        return word(rng)
    if kind == 3:
        return emoji(rng)
    if kind == 4:
        return str(rng.randrange(10 ** rng.randint(1, 20))) + rng.choice(["", KEYCAP, ".5", "%", "月"])
    if kind == 5:
        return rng.choice(CODE)
    if kind == 6:
        return rng.choice(SPACES) * rng.randint(1, 12)
    if kind == 7:
        return "".join(rng.choices(rng.choice(OTHER_CHARS), k=rng.randint(1, 4)))
    return rng.choice("abcdefgxyzABCXYZ_-=*#.") * rng.randint(1, 70)


def text(rng: random.Random) -> str | bytes:
    joined = "".join(piece(rng) + rng.choice(["", " "]) for _ in range(rng.randint(1, 14)))
    if rng.random() < 0.15:  # invalid UTF-8: bytes cut, replaced and put in
        data = bytearray(joined.encode())
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = bytes(data[rng.randint(0, 2) : len(data) - rng.randint(0, 2)])
        # Changed bytes may make a mark that is too new, too.
        if all(char in KNOWN_MARKS for char in as_text(cut) if unicodedata.combining(char)):
            return cut
    return joined


def texts(seed: int, count: int) -> list[str | bytes]:
    rng = random.Random(seed)
    return [text(rng) for _ in range(count)]


def as_text(item: str | bytes) -> str:
    """What a tokenizer reads of it."""
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item
