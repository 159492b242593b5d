"""What is to be gathered for each weight, and what gathering took."""

from __future__ import annotations

from dataclasses import dataclass

from regc.compiler.calibration.tally import SAMPLE
from regc.compiler.calibration.taps import Tap
from regc.compiler.report import text
from regc.compiler.sites import Site
from regc.compiler.statistics import Need

Taps = frozenset[Tap]


@dataclass(frozen=True)
class Inlet:
    """What flows into a weight: ``upstream`` has the weights that it depends on as bits, ``bit`` is its own.

    ``paired`` tells that what flowed in before is counted beside it.
    """

    site: Site
    taps: Taps
    needs: frozenset[Need]
    reason: str
    upstream: int
    bit: int
    paired: bool

    @property
    def inputs(self) -> int:
        """Inputs of the weight, K."""
        return self.site.info.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory that the statistics take."""
        gram = self.inputs * self.inputs * 4 * (1 + self.paired) if "gram" in self.needs else 0
        return gram + (self.inputs * SAMPLE * 4 if "quantiles" in self.needs else 0)


@dataclass
class Effort:
    """What gathering took: runs over the inputs, feeds in each, rows counted, seconds, most bytes at a time."""

    runs: int = 0
    feeds: int = 0
    rows: int = 0
    tensors: int = 0
    seconds: float = 0.0
    nbytes: int = 0

    @property
    def words(self) -> str:
        """Such as ``24 tensors, up to 7,432 rows each; 3.2 s in 1 run, 60 MB of statistics``."""
        return (
            f"{text.count(self.tensors, 'tensor')}, up to {self.rows:,} rows each; {self.seconds:.1f} s in "
            f"{text.count(self.runs, 'run')}, {text.size(self.nbytes)} of statistics at a time"
        )
