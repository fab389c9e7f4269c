"""Which files of a repository a model needs: nothing else of it is fetched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from qwen3edge.convert import RECIPES
from qwen3edge.errors import HubError, RequestError
from qwen3edge.formats.safetensors import INDEX, SINGLE, read_json
from qwen3edge.hub.cache import DEFAULT_TAG, KEPT_TAG
from qwen3edge.hub.model_name import ModelName, is_tag
from qwen3edge.hub.repository import Listing, RemoteFile

TEXTS = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("added_tokens.json", "special_tokens_map.json", "chat_template.jinja", "modules.json", "1_Pooling/config.json"),
)
"""What `convert` reads besides weights, in its folders."""
_MAX_TEXT_BYTES = 256 << 20  # of each, and of the index
_MAX_CONFIG_BYTES = 1 << 20
_MAX_SHARDS = 1024

_GGUF = re.compile(r"(?P<stem>.+?)(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?\.gguf", re.IGNORECASE | re.ASCII)
_TYPE = re.compile(r"(?:\A|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP\d\w*|BF16|F16|F32))\Z", re.IGNORECASE | re.ASCII)
_NO_MODEL = ("mmproj", "imatrix")  # what such files begin with: an image encoder, statistics


@dataclass(frozen=True)
class Selection:
    """The files of one model. tag: of the packed file. quant: as of `convert`; None keeps what is quantized already.
    gguf: the name of the first file, where it is GGUF. texts: all but the weights. contents: a hash over the names and
    contents of all that it may be made of; another one means that the model has changed on the hub.
    """

    tag: str
    quant: str | None
    gguf: str | None
    texts: tuple[RemoteFile, ...]
    weights: tuple[RemoteFile, ...]
    contents: str

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """All."""
        return (*self.texts, *self.weights)


def is_gguf(listing: Listing, name: ModelName) -> bool:
    """Whether a name means a GGUF file of the repository: its tag is one's type, or there are no other weights.

    Raises HubError for a repository without weights that `convert` reads.
    """
    safe, found = _safetensors(listing), _gguf_files(listing)
    if not safe and not found:
        names = ", ".join(sorted(listing.files)[:12]) or "none"
        raise HubError(f"{listing.repository}: expected safetensors or GGUF files, found {names}")
    if not safe:
        return True
    return name.tag is not None and name.tag not in RECIPES and bool(_matching(found, name.tag))


def select_gguf(listing: Listing, name: ModelName, quant: str | None) -> Selection:
    """The GGUF file of the name's tag, with all its parts. Raises HubError where none or several are meant,
    RequestError for a quant that contradicts the tag.
    """
    found = _gguf_files(listing)
    matching = _matching(found, name.tag)
    behind = (name.tag or "").partition("+")[2] or quant
    if quant not in (None, behind) or (behind is not None and behind not in RECIPES):
        raise RequestError(f"{name}: expected one of {', '.join(RECIPES)} behind +, as --quant, found {behind!r}")
    quant = behind
    if len(matching) != 1:
        choices = ", ".join(f"{name.repository}:{_label(stem, found)}" for stem in found)
        raise HubError(f"{name}: expected one GGUF file, found {len(matching)} that match; there is {choices}")
    stem, parts = matching.popitem()
    label = _label(stem, found)
    tag = label if quant is None else f"{label}+{quant}"
    if not is_tag(tag):
        raise HubError(f"{listing.repository}: expected a file with a plain name, found {stem!r:.80}")
    count = _parts_of(parts[0])
    if len(parts) != count:
        raise HubError(f"{listing.repository}: expected the {count} parts of {stem!r:.80}, found {len(parts)}")
    weights = tuple(listing.files[path] for path in parts)
    return Selection(tag, quant, _name(parts[0]), (), weights, _contents(weights))


def select_texts(listing: Listing, name: ModelName, quant: str | None) -> Selection:
    """The files of a folder that are needed before its weights are known; these follow by `with_weights`. Without a
    quantization in name or quant it is None until then.

    Raises RequestError for a quantization that is none, HubError where config.json is missing.
    """
    if name.tag is not None and quant is not None and name.tag != quant:
        raise RequestError(f"{name}: expected the same --quant behind the colon, found {quant!r}")
    chosen = name.tag if name.tag not in (None, KEPT_TAG) else quant
    if chosen not in (None, *RECIPES):
        found = _gguf_files(listing)
        choices = ", ".join(f"{name.repository}:{_label(stem, found)}" for stem in found)
        raise RequestError(
            f"{name.repository}: expected one of {', '.join(RECIPES)}{f', or {choices}' if choices else ''}, "
            f"found {chosen!r}"
        )
    if "config.json" not in listing.files:
        raise HubError(f"{listing.repository}: expected config.json beside the weights, found none")
    wanted = [*TEXTS, *([INDEX] if _is_indexed(listing) else [])]
    texts = tuple(listing.files[path] for path in wanted if path in listing.files)
    for file in texts:
        if file.nbytes > _MAX_TEXT_BYTES:
            raise HubError(
                f"{listing.repository}: {file.path}: expected at most {_MAX_TEXT_BYTES:,} bytes, found {file.nbytes:,}"
            )
    possible = [*texts, *(listing.files[path] for path in _safetensors(listing))]
    return Selection(chosen or name.tag or DEFAULT_TAG, chosen, None, texts, (), _contents(possible))


def with_weights(selection: Selection, listing: Listing, folder: Path) -> Selection:
    """folder: with the texts. Raises HubError for weights that are not there, CheckpointError for a broken index or
    config.
    """
    there = _safetensors(listing)
    if _is_indexed(listing):
        shards = sorted(set(map(str, weight_map(folder).values())))
    else:
        shards = [SINGLE] if SINGLE in there else there
    missing = [shard for shard in shards if shard not in there]
    if missing or len(shards) > _MAX_SHARDS:
        raise HubError(
            f"{listing.repository}: expected at most {_MAX_SHARDS} files of weights, each in the repository, found "
            f"{len(shards)}, and {len(missing)} that are not there: {missing[:1]!r:.100}"
        )
    weights = tuple(listing.files[shard] for shard in shards)
    if selection.quant is not None:
        return replace(selection, weights=weights)
    if read_json(folder / "config.json", _MAX_CONFIG_BYTES).get("quantization_config"):
        return replace(selection, tag=KEPT_TAG, weights=weights)
    return replace(selection, tag=DEFAULT_TAG, quant=DEFAULT_TAG, weights=weights)


def weight_map(folder: Path) -> dict[str, str]:
    """The files of the tensors, by the index; empty where there is none. Raises CheckpointError."""
    if not (folder / INDEX).exists():
        return {}
    found = read_json(folder / INDEX, _MAX_TEXT_BYTES).get("weight_map")
    return found if isinstance(found, dict) else {}


def _is_indexed(listing: Listing) -> bool:
    """Where both are there, transformers reads the single file."""
    return INDEX in listing.files and SINGLE not in listing.files


def _safetensors(listing: Listing) -> list[str]:
    """Those that can be the model's weights."""
    return sorted(path for path in listing.files if path.endswith(".safetensors") and "/" not in path)


def _contents(files: Iterable[RemoteFile]) -> str:
    lines = sorted(f"{file.path} {file.key}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _gguf_files(listing: Listing) -> dict[str, list[str]]:
    """The paths of each model's parts in their order, by its path without number and suffix."""
    found: dict[str, list[str]] = {}
    for path in sorted(listing.files):
        match = _GGUF.fullmatch(path)
        if match is not None and not _name(path).lower().startswith(_NO_MODEL):
            found.setdefault(match["stem"], []).append(path)
    return found


def _matching(found: dict[str, list[str]], tag: str | None) -> dict[str, list[str]]:
    if tag is None:
        return dict(found)
    wanted = tag.partition("+")[0].casefold()
    return {stem: parts for stem, parts in found.items() if wanted in (_type(stem).casefold(), _name(stem).casefold())}


def _label(stem: str, found: dict[str, list[str]]) -> str:
    """The type where no other file has it, else the file's name."""
    kind = _type(stem)
    alike = [other for other in found if _type(other).casefold() == kind.casefold()]
    return kind if kind and len(alike) == 1 else _name(stem)


def _type(stem: str) -> str:
    match = _TYPE.search(stem)
    return "" if match is None else match[1]


def _name(path: str) -> str:
    """Without its folders."""
    return path.rpartition("/")[2]


def _parts_of(path: str) -> int:
    match = _GGUF.fullmatch(path)
    return int(match["count"]) if match is not None and match["count"] else 1
