"""What a user gives to calibrate with: inputs, or statistics of an earlier run, and how to use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from regc.compiler.calibration.gather import Gathering, Options
from regc.compiler.calibration.inlets import Effort
from regc.compiler.calibration.rows import check_mask
from regc.compiler.calibration.store import Stored, is_statistics
from regc.compiler.errors import UsageError
from regc.compiler.feeds.apart import Apart, Rest
from regc.compiler.feeds.generated import generated
from regc.compiler.feeds.inputs import Feed, inputs_of_model
from regc.compiler.feeds.mixing import Mixed
from regc.compiler.feeds.sources import Feeds, Given, open_feeds
from regc.compiler.inflows import MEMORY, Inflows, Nothing, Wanted
from regc.compiler.model import Model
from regc.compiler.records import Progress


@dataclass
class Calibration:
    """Calibration inputs, and how they are used.

    ``data`` is a folder of ``.npz`` files, one ``.npz``, ``.npy`` or ``.jsonl`` file, ``package.module:callable``, a
    callable, any iterable of feeds, a file of statistics that ``regc calibrate`` wrote, or ``generated``: texts that
    the model, a language model, writes itself (:mod:`regc.compiler.feeds.generated`). At most ``samples`` of them are
    used, drawn by ``seed``. For the others see :class:`regc.compiler.calibration.gather.Options`; ``sequential``
    it is unless that is False. ``mix`` is the share of words that are replaced by any others in a second copy of each
    feed, where inputs are words; see :mod:`regc.compiler.feeds.mixing`.

    Raises:
        UsageError: data that cannot be meant.
    """

    data: Given | Feeds
    samples: int | None = None
    seed: int = 0
    mask: str | None = None
    memory: int = MEMORY
    sequential: bool | None = None
    threads: int | None = None
    mix: float | None = None
    effort: Effort = field(default_factory=Effort, init=False)

    def __post_init__(self) -> None:
        self.statistics: Stored | None = None
        self.feeds: Feeds | None = None
        self.mixed: Feeds | None = None
        if self.mix is not None and not 0 < self.mix <= 1:
            raise UsageError(f"--mix is a share of the words, above 0 and at most 1, got {self.mix}")
        self._generated = generated(self.data, self.samples, self.seed)
        if self._generated is not None:
            self.feeds = Feeds(self._generated)
        elif isinstance(self.data, str | Path) and is_statistics(Path(self.data)):
            if unused := given_options(self.samples, self.mask, self.sequential, self.mix):
                raise UsageError(
                    f"{unused} does nothing with {self.data}, which holds statistics that are gathered already; give "
                    "the inputs themselves, or leave it out"
                )
            self.statistics = Stored(Path(self.data))
        else:
            self.feeds = open_feeds(self.data, self.samples, self.seed)

    def check(self, model: Model) -> None:
        """Refuse what is bound to fail; the model is as it came, and is the one that writes texts.

        Raises:
            UsageError: data and model do not belong together.
        """
        if self._generated is not None and not model.opaque:
            self._generated.bind(model)
        if self.statistics is not None:
            self.statistics.check(model)
        elif self.feeds is not None and not model.opaque:
            self.mixed = None if self.mix is None else Mixed.by(self.feeds, model.graph, self.mix, self.seed)
            inputs = inputs_of_model(model)
            if len(inputs) == len(model.graph.inputs):
                check_mask(self.mask, {value.name: value.dtype for value in inputs})
                self.feeds.check(inputs)

    def inflows(self, model: Model, wanted: Wanted, callback: Callable[[Progress], None]) -> Inflows:
        """The statistics of a model, which must be as it came."""
        if self.statistics is not None:
            return self.statistics
        if self.feeds is None or not any(needs for _, needs in wanted):
            return Nothing()
        options = Options(self.mask, self.memory, self.sequential is not False, self.seed, self.threads)
        return Gathering(model, wanted, self.mixed or self.feeds, options, callback, self.effort)

    def apart(self, model: Model, share: float, seed: int) -> tuple[Calibration, list[Feed], Apart]:
        """The same without a ``share`` of the samples; all feeds, and which samples these are. The model is as it came.

        Raises:
            UsageError: data and model do not belong together, or these are statistics.
        """
        self.check(model)
        if self.feeds is None:
            raise UsageError("recovery needs calibration inputs, not statistics; give some by --calibration")
        inputs = inputs_of_model(model)
        feeds = list(self.feeds.of(inputs))
        apart = Apart.of(feeds, inputs, share, seed)
        return replace(self, data=Feeds(Rest(feeds, apart, self.feeds.words))), feeds, apart

    def held_out(self) -> Feeds | None:
        """What to verify with: samples that were not drawn, as many as were, or all there are; None without feeds."""
        return None if self.feeds is None else self.feeds.held_out() or self.feeds

    @property
    def words(self) -> str:
        """What was used and what it took."""
        if self.feeds is None:
            return f"statistics from {self.data}"
        feeds = self.mixed or self.feeds
        return f"{feeds.words}: {self.effort.words}" if self.effort.runs else f"{feeds.words}: not needed"


def given_options(samples: int | None, mask: str | None, sequential: bool | None, mix: float | None = None) -> str:
    """Which options that say how inputs are run were given, as on the command line; empty when none was."""
    given = {
        "--samples": samples is not None,
        "--mask": mask is not None,
        "--sequential": sequential is True,
        "--no-sequential": sequential is False,
        "--mix": mix is not None,
    }
    return ", ".join(name for name, there in given.items() if there)
