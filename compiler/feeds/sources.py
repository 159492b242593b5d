"""Where calibration inputs come from, whatever their form: a number of samples, read as feeds as often as wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.feeds.archives import Header
from regc.compiler.feeds.files import Archive, JsonLines
from regc.compiler.feeds.imported import imported
from regc.compiler.feeds.inputs import Feed, Input, as_fed, check_arrays, check_feeds, feed_files, load_feed
from regc.compiler.feeds.source import Source
from regc.compiler.report.text import count as counted

Given = str | Path | Iterable[Feed] | Callable[[], Iterable[Feed]]
"""What may be given as calibration inputs: a path, ``package.module:callable``, a callable, or feeds themselves."""


@dataclass(frozen=True)
class Feeds:
    """Some samples of a source: those at ``indices``, or the first ``limit``; all when both are None."""

    source: Source
    indices: tuple[int, ...] | None = None
    limit: int | None = None
    note: str = ""

    def of(self, inputs: Sequence[Input]) -> Iterator[Feed]:
        """The feeds for a model with these inputs, read one at a time."""
        return self._with_values(islice(self.source.feeds(inputs, self.indices), self.limit))

    def _with_values(self, feeds: Iterator[Feed]) -> Iterator[Feed]:
        """The feeds; once all are read, UsageError where they hold floats and none of them is finite."""
        floats, finite = False, False
        for feed in feeds:
            for array in feed.values() if not finite else ():
                if array.dtype.kind == "f" and array.size:
                    floats, finite = True, finite or bool(np.isfinite(array).any())
            yield feed
        if floats and not finite:
            raise UsageError(f"{self.words}: hold nothing but NaN and infinity; give inputs as the model will get them")

    def check(self, inputs: Sequence[Input]) -> None:
        """Raise UsageError for what can be seen not to fit without reading values."""
        self.source.check(inputs)

    def held_out(self) -> Feeds | None:
        """As many samples that these are not, or as many as there are; None when there are none or nobody knows."""
        if self.indices is None or self.source.size is None:
            return None
        taken = set(self.indices)
        rest = [index for index in range(self.source.size) if index not in taken]
        return replace(self, indices=tuple(rest[: len(self.indices)]), note=", held out") if rest else None

    def count(self, inputs: Sequence[Input]) -> int | None:
        """How many feeds there are for a model with these inputs, None when only reading them tells."""
        samples = len(self.indices) if self.indices is not None else self.limit or self.source.size
        return None if samples is None else self.source.count(samples, inputs)

    @property
    def words(self) -> str:
        """Such as ``32 of 500 samples from data.npz``."""
        if self.indices is not None:
            return f"{len(self.indices)} of {self.source.words}{self.note}"
        if self.limit is not None:
            return f"the first {counted(self.limit, 'feed')} of {self.source.words}"
        return self.source.words


def open_feeds(given: Given | Feeds, samples: int | None = None, seed: int = 0) -> Feeds:
    """The samples of whatever was given; at most ``samples`` of them, drawn by ``seed`` where their number is known.

    Raises:
        UsageError: a path or a name that cannot be meant.
    """
    if isinstance(given, Feeds):
        return given
    source = _source(given, samples)
    if samples is None or (source.size is not None and source.size <= samples):
        return Feeds(source)
    if source.size is None:
        return Feeds(source, limit=samples)
    drawn = np.random.default_rng(seed).choice(source.size, samples, replace=False)
    return Feeds(source, tuple(sorted(drawn.tolist())))


def _source(given: Given, samples: int | None) -> Source:
    if isinstance(given, str | Path):
        return _named(given)
    if callable(given):
        return _Called(given, getattr(given, "__qualname__", repr(given)))
    if isinstance(given, Iterator):  # can be read once only, and statistics may take several runs
        given = list(islice(given, samples))
    return _Listed(given)


def _named(given: str | Path) -> Source:
    path = Path(given)
    if path.is_dir():
        return _Folder(path)
    if path.is_file():
        kinds: dict[str, Callable[[Path], Source]] = {
            ".npz": Archive,
            ".npy": Archive,
            ".jsonl": JsonLines,
            ".json": JsonLines,
        }
        if path.suffix not in kinds:
            raise UsageError(f"{path}: calibration inputs are .npz, .npy or .jsonl, or a folder of .npz files")
        return kinds[path.suffix](path)
    if ":" in str(given) and not path.exists():
        return _Called(imported(str(given)), str(given))
    raise UsageError(
        f"{path}: there is no such file or folder; give a folder of .npz files, one .npz, .npy or .jsonl file, or "
        "package.module:callable"
    )


class _Folder(Source):
    """A folder of ``.npz`` files, one feed each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = feed_files(folder)
        self.size = len(self.files)
        self.words = f"{counted(self.size, 'feed')} from {folder}"

    def check(self, inputs: Sequence[Input]) -> None:
        check_feeds(self.folder, inputs)

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:
        chosen = self.files if indices is None else [self.files[index] for index in indices]
        return (load_feed(path, inputs) for path in chosen)


class _Listed(Source):
    """Feeds in Python."""

    def __init__(self, given: Iterable[Feed]) -> None:
        self.given = given
        self.size = len(given) if isinstance(given, Sequence) else None
        self.words = f"{counted(self.size, 'feed')} given" if self.size is not None else "the feeds given"

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:
        wanted = None if indices is None else frozenset(indices)
        for index, feed in enumerate(self.given):
            if wanted is None or index in wanted:
                yield checked(feed, f"calibration feed {index}", inputs)


class _Called(Source):
    """Feeds that a callable makes anew each time it is called."""

    def __init__(self, function: Callable[[], Iterable[Feed]], words: str) -> None:
        self.function, self.words = function, words
        self.size = None

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:
        for index, feed in enumerate(self._made()):
            yield checked(feed, f"feed {index} of {self.words}", inputs)

    def _made(self) -> Iterator[Feed]:
        """What the callable gives; whatever it raises is told as its own."""
        try:
            made = self.function()
            if not isinstance(made, Iterable):
                raise UsageError(f"{self.words} gave {type(made).__name__}; it must give feeds, for example by yield")
            yield from made
        except RegcError:
            raise
        except Exception as error:
            raise RegcError(
                f"{self.words} failed ({type(error).__name__}: {error}); call it by itself to see where"
            ) from error


def checked(feed: object, place: str, inputs: Sequence[Input]) -> Feed:
    """A feed with arrays as ONNX Runtime takes them. Raises UsageError when it does not fit the inputs."""
    if not isinstance(feed, dict):
        raise UsageError(f"{place} is a {type(feed).__name__}; a feed is a dict of arrays by input name")
    arrays = {name: as_fed(np.asarray(value)) for name, value in feed.items()}
    check_arrays(place, {name: Header(array.dtype, array.shape) for name, array in arrays.items()}, inputs)
    return arrays
