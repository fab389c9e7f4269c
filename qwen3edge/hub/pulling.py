"""From a name to a packed file in the cache: list, fetch, check, convert."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from qwen3edge import convert as converter
from qwen3edge.errors import HubError, RequestError, shown
from qwen3edge.extras import named_extra
from qwen3edge.formats.atomic import SUFFIX
from qwen3edge.hub import cache
from qwen3edge.hub.download import Download
from qwen3edge.hub.inventory import Origin
from qwen3edge.hub.model_name import ModelName
from qwen3edge.hub.patience import patiently
from qwen3edge.hub.repository import Hub, Listing, RemoteFile
from qwen3edge.hub.repository_lock import RepositoryLock
from qwen3edge.hub.selection import Selection, is_gguf, select_gguf, select_texts, with_weights
from qwen3edge.hub.space import space_needed
from qwen3edge.hub.steps import Show, Step

_HUBS = {"huggingface": "HuggingFace", "modelscope": "ModelScope"}  # a client is imported where it is asked for
_FOLDER = "folder-"  # what folders of links begin with, beside the files that they point to


@dataclass(frozen=True)
class Pulled:
    """name: with its tag, as `load` takes it. fetched: bytes that came over the network. already: nothing was to be
    done. notes: for people.
    """

    name: str
    path: Path
    nbytes: int
    source: str
    revision: str
    fetched: int
    already: bool
    notes: tuple[str, ...]


def pull(
    name: str,
    *,
    quant: str | None = None,
    source: str | None = None,
    discard: bool = False,
    threads: int | None = None,
    show: Show = lambda step: None,
) -> Pulled:
    """Fetches a model and packs it into the cache, unless it is there as the hub has it.

    name: `OWNER/REPOSITORY`, with `:Q4_K_M` a GGUF file of it, or with `:int8` what quant says. quant: as of `convert`;
    default int4, and of GGUF what its weights are. source: "huggingface" or "modelscope"; default QWEN3EDGE_SOURCE, or
    the first. discard: the checkpoint's files go as they are packed, not those in huggingface_hub's own cache. threads:
    of packing, default all. show: called on this thread, often.

    What was there before stays until the new file is complete; what broke off goes on with the next call. Raises
    RequestError, HubError, MissingExtraError, what `convert` raises, OSError.
    """
    asked = ModelName.parse(name)
    hub = _hub(source or os.environ.get("QWEN3EDGE_SOURCE") or cache.SOURCES[0])
    if quant is not None and quant not in converter.RECIPES:
        raise RequestError(f"quant: expected one of {', '.join(converter.RECIPES)}, found {shown(quant)}")
    waiting: Callable[[], None] = lambda: show(Step("waiting", asked.repository))  # noqa: E731
    with RepositoryLock(hub.source, asked.repository, wait=True, waits=waiting):
        return _Pull(hub, asked, quant, discard, threads, show).run()


class _Pull:
    """One pull, while its repository is locked."""

    def __init__(
        self, hub: Hub, name: ModelName, quant: str | None, discard: bool, threads: int | None, show: Show
    ) -> None:
        self._hub, self._name, self._quant = hub, name, quant
        self._discard, self._threads, self._show = discard, threads, show
        self._folder = cache.checkpoint_folder(hub.source, name.repository)
        self._fetched = 0

    def run(self) -> Pulled:
        show = self._show
        show(Step("listing", self._name.repository))
        try:
            listing = patiently(lambda: self._hub.listing(self._name.repository))
        except HubError as error:
            return self._kept(error)
        models = cache.models_folder(self._hub.source, self._name.repository)
        gguf = is_gguf(listing, self._name)
        selection = (select_gguf if gguf else select_texts)(listing, self._name, self._quant)
        tags = (selection.tag,) if gguf or selection.quant else (cache.DEFAULT_TAG, cache.KEPT_TAG)
        known = {tag: Origin.of(models / f"{tag}{cache.PACKED}") for tag in tags}
        for tag, origin in known.items():
            if origin is not None and origin.contents == selection.contents:
                return self._finished(models / f"{tag}{cache.PACKED}", listing, tag, already=True, notes=())
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{_FOLDER}*"):  # of a pull that was killed
            shutil.rmtree(left, ignore_errors=True)
        download = Download(self._hub, listing, self._folder, show)
        with self._linked(download, selection.texts) as folder:
            if not gguf:
                selection = with_weights(selection, listing, folder)
            need = space_needed(selection, folder, download.missing_bytes(selection.files), discard=self._discard)
        need.require(self._folder)
        target = models / f"{selection.tag}{cache.PACKED}"
        report = self._convert(download, listing, selection, target)
        changed = ("the model has changed on the hub since it was pulled",) if known.get(selection.tag) else ()
        return self._finished(target, listing, selection.tag, already=False, notes=(*changed, *report.notes))

    def _kept(self, error: HubError) -> Pulled:
        """What is there is as good as the hub's, while nobody can tell. Raises the error where nothing is."""
        tag = "+".join(dict.fromkeys(part for part in (self._name.tag, self._quant) if part)) or None
        path = cache.cached(ModelName(self._name.repository, tag), [self._hub.source])
        origin = None if path is None else Origin.of(path)
        if path is None or origin is None:
            raise error
        notes = (f"whether it has changed is not known: {error}",)
        name = f"{self._name.repository}:{path.name.removesuffix(cache.PACKED)}"
        return Pulled(name, path, path.stat().st_size, self._hub.source, origin.revision, 0, True, notes)

    def _fetch(self, download: Download, files: tuple[RemoteFile, ...]) -> dict[RemoteFile, Path]:
        self._fetched += download.missing_bytes(files)
        return download.fetch(files)

    @contextlib.contextmanager
    def _linked(self, download: Download, files: tuple[RemoteFile, ...]) -> Iterator[Path]:
        """A folder where the files have their names, fetched if they are not there."""
        places = self._fetch(download, files)
        with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=self._folder) as name:
            for file, place in places.items():
                link = Path(name) / _local_path(file)
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(place)
            yield Path(name)

    def _convert(
        self, download: Download, listing: Listing, selection: Selection, target: Path
    ) -> converter.ConvertReport:
        """Packs; again with all files where some that were removed are needed once more."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._packed(download, listing, selection, target, discard=self._discard)
        except converter.SourceGoneError:
            return self._packed(download, listing, selection, target, discard=False)

    def _packed(
        self, download: Download, listing: Listing, selection: Selection, target: Path, *, discard: bool
    ) -> converter.ConvertReport:
        with self._linked(download, selection.files) as folder:
            origin = {
                "source": self._hub.source,
                "repository": listing.repository,
                "revision": listing.revision,
                "contents": selection.contents,
            }
            return converter.convert(
                folder if selection.gguf is None else folder / selection.gguf,
                target,
                selection.quant,
                threads=self._threads,
                name=listing.repository.partition("/")[2] if selection.gguf is None else None,
                progress=lambda done: self._show(Step("packing", done.tensor, done.done_bytes, done.total_bytes)),
                origin=origin,
                done_with=self._remove if discard else None,
            )

    def _remove(self, link: Path) -> None:
        """A file of ours behind a link; what other programs keep stays."""
        place = link.readlink()
        if place.parent == self._folder:
            place.unlink(missing_ok=True)

    def _finished(self, target: Path, listing: Listing, tag: str, *, already: bool, notes: tuple[str, ...]) -> Pulled:
        """Removes what no file of the hub has any more, or all where it is to be discarded."""
        current = set() if self._discard else {file.key for file in listing.files.values()}
        for path in self._folder.iterdir() if self._folder.exists() else ():
            if path.name.removesuffix(SUFFIX) not in current and not path.is_dir():
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            self._folder.rmdir()
        name = f"{listing.repository}:{tag}"
        size = target.stat().st_size
        return Pulled(name, target, size, self._hub.source, listing.revision, self._fetched, already, notes)


def _local_path(file: RemoteFile) -> Path:
    """Below the folder that is converted: its own name, and of the texts that lie deeper their known place."""
    folder, _, name = file.path.rpartition("/")
    return Path("1_Pooling", name) if folder == "1_Pooling" else Path(name)


def _hub(source: str) -> Hub:
    """Raises RequestError, MissingExtraError."""
    if source not in _HUBS:
        raise RequestError(f"source: expected {' or '.join(_HUBS)}, found {shown(source)}")
    try:
        module = import_module(f"qwen3edge.hub.{source}")
    except ModuleNotFoundError as error:
        raise named_extra(f"a model of {source}", error) from None
    hub: Hub = getattr(module, _HUBS[source])()
    return hub
