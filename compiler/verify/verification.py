"""The original against the compressed model in ONNX Runtime: both on the same inputs, with our operator
library and without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regc.compiler.errors import MissingError, ModelError, RegcError, UsageError
from regc.compiler.feeds.inputs import Feed, Input, inputs_of, load_feeds
from regc.compiler.feeds.sources import Feeds, open_feeds
from regc.compiler.model import load
from regc.compiler.report.text import count as counted
from regc.compiler.verify.difference import OutputError, differences, largest_difference
from regc.compiler.verify.guess import index_bounds, random_feeds
from regc.compiler.verify.memory import available_memory
from regc.compiler.verify.outcome import Verification
from regc.compiler.verify.placement import Elsewhere, elsewhere
from regc.compiler.verify.running import (
    CPU,
    NOT_CHECKED,
    NOT_LOADED,
    OK,
    Run,
    Runner,
    check_providers,
    first_line,
    library_status,
)

__all__ = ["OutputError", "Verification", "compare", "load_feeds", "random_feeds", "verify_compiled"]

RANDOM_FEEDS = 4
MEMORY_SHARE = 0.5
"""Share of the available memory that the weights of a model may take for it to be run."""


def compare(
    original: str | Path,
    compressed: str | Path,
    feeds: Sequence[Feed],
    *,
    providers: Sequence[str] = CPU,
    threads: int | None = None,
) -> tuple[OutputError, ...]:
    """Run both models on the feeds, one after the other, and measure each output. The operator library is
    used where it is found.

    Raises:
        RegcError: one of the two cannot be loaded or run.
    """
    runner = Runner(providers, threads)
    library = library_status(providers) == OK
    runs = []
    for step, path in enumerate((Path(original), Path(compressed))):
        runs.append(runner.run(path, feeds, library, step))
        if runs[-1].status != OK:
            raise RegcError(f"{path} {runs[-1].status}")
    return differences(*runs)


def verify_compiled(
    original: str | Path,
    compressed: str | Path,
    feeds: str | Path | Sequence[Feed] | Feeds | None = None,
    *,
    count: int = RANDOM_FEEDS,
    seed: int = 0,
    providers: Sequence[str] = CPU,
    threads: int | None = None,
    callback: Callable[[int, int, str], None] | None = None,
) -> Verification:
    """Check a compressed model against its original.

    ``feeds`` is what :func:`regc.compiler.feeds.sources.open_feeds` takes or gives, or None for ``count`` random
    ones. One
    session is open at a time. A model whose weights take more than half of the available memory is not run,
    and the result says so. ``callback`` gets (step, steps, what).

    Raises:
        ModelError: a file that is not there, as from :func:`regc.compiler.model.load`.
        UsageError: a folder of feeds that does not fit the model, or a provider that ONNX Runtime lacks.
    """
    check_providers(providers)
    for path in (Path(original), Path(compressed)):
        if not path.exists():
            raise MissingError(f"{path}: there is no such file; check the path")
        if not path.is_file():
            raise ModelError(f"{path}: is no file; give the path of an .onnx file")
    runner = Runner(providers, threads, callback)
    library = library_status(providers)
    size, bounds = _look(Path(original))
    memory = available_memory()
    if memory is not None and size > MEMORY_SHARE * memory:
        return _unverified(runner, Path(compressed), library, _too_big(size, memory), memory)
    reference = _original(runner, Path(original), library == OK, feeds or _Guessed(count, seed, bounds))
    with_library = runner.run(Path(compressed), reference.feeds, True, 1) if library == OK else Run(library)
    without = runner.run(Path(compressed), reference.feeds, False, 2)
    runner.tell(runner.steps, "")
    best = with_library if with_library.status == OK else without
    return Verification(
        inputs=reference.inputs,
        outputs=differences(reference.run, best) if reference.run.outputs and best.status == OK else (),
        problems=reference.problems,
        with_library=with_library.status,
        without_library=without.status,
        library_difference=largest_difference(with_library, without),
        original=reference.run.status,
        elsewhere=_elsewhere(runner, Path(compressed), reference.feeds, with_library),
    )


def _elsewhere(runner: Runner, path: Path, feeds: Iterable[Feed], with_library: Run) -> Elsewhere | None:
    """What of a model that runs is not on the first provider, unless that is the CPU's."""
    feed = next(iter(feeds), None)
    if runner.providers[0] in CPU or with_library.status != OK or feed is None:
        return None
    return elsewhere(runner, path, feed, True)


@dataclass(frozen=True)
class _Guessed:
    """Random feeds to be made."""

    count: int
    seed: int
    bounds: dict[str, int]


@dataclass(frozen=True)
class _Given:
    """Feeds that are read anew each time they are asked for, so that one at a time is in memory."""

    feeds: Feeds
    inputs: list[Input]

    def __iter__(self) -> Iterator[Feed]:
        return self.feeds.of(self.inputs)


@dataclass(frozen=True)
class _Reference:
    """How the original ran, on what (no feeds when it did not run), and what kept it from running."""

    run: Run
    feeds: Iterable[Feed] = ()
    inputs: str = "none"
    problems: tuple[str, ...] = ()


def _original(
    runner: Runner, path: Path, library: bool, feeds: str | Path | Sequence[Feed] | Feeds | _Guessed
) -> _Reference:
    runner.tell(0, path.name)
    try:
        session = runner.open(path, library)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        words = f"{NOT_LOADED}: {first_line(error)}"
        return _Reference(Run(words), problems=(f"the original {words}",))
    try:
        given, inputs = _given(session, feeds)
    except UsageError:
        raise
    except RegcError as error:
        return _Reference(Run(OK), problems=(f"the original cannot be run on random inputs: {error}",))
    del session  # a new one, so that operators that draw random numbers start where those of the compressed model do
    result = runner.run(path, given, library, 0)
    if result.status != OK:
        return _Reference(Run(result.status), problems=(f"the original {result.status}",))
    return _Reference(result, given, inputs)


def _given(session: Any, feeds: str | Path | Sequence[Feed] | Feeds | _Guessed) -> tuple[Iterable[Feed], str]:
    if isinstance(feeds, _Guessed):
        made = random_feeds(session, feeds.count, feeds.seed, feeds.bounds)
        return made, f"{counted(feeds.count, 'random feed')}, seed {feeds.seed}"
    inputs, opened = inputs_of(session), open_feeds(feeds)
    opened.check(inputs)
    return _Given(opened, inputs), opened.words


def _unverified(runner: Runner, path: Path, library: str, reason: str, memory: int) -> Verification:
    """The check of a model that is too big to be run with its weights decoded: it is loaded with the library,
    when that is small enough.
    """
    with_library = library
    if library == OK:
        size, _ = _look(path)
        fits = size <= MEMORY_SHARE * memory
        with_library = runner.run(path, (), True, 1).status if fits else _too_big(size, memory)
    return Verification("none", (), (f"outputs {reason}",), with_library, reason, original=reason)


def _too_big(size: int, memory: int) -> str:
    return f"{NOT_CHECKED}: weights of {size / 1e9:.1f} GB, and {memory / 1e9:.1f} GB of memory are available"


def _look(path: Path) -> tuple[int, dict[str, int]]:
    """Bytes of the weights of a model, and the bounds of its indices; of a file that regc cannot read, its
    size.
    """
    try:
        model = load(path)
    except RegcError:
        return path.stat().st_size, {}
    return model.nbytes, {} if model.opaque else index_bounds(model.graph)
