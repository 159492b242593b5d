"""What came of running two models, and what to make of it: the exit code, tolerances, and words."""

from __future__ import annotations

from dataclasses import dataclass

from regc.compiler.report import text
from regc.compiler.verify.difference import OutputError
from regc.compiler.verify.placement import Elsewhere
from regc.compiler.verify.running import NOT_LOADED, NOT_RUN, OK, unknown_operator

FAR_SQNR, FAR_COSINE = 3.0, 0.9
"""An output below either has little in common with the original's: half of its energy is error."""
ADVICE = "try fewer passes, --exclude for the weights of largest error, or measure on true inputs with --calibration"
BRIEF = 120
"""Characters of an error of ONNX Runtime in a last line; the table has all of it."""


@dataclass(frozen=True)
class Verification:
    """What came of running both models.

    ``inputs`` tells on what. ``original``, ``with_library`` and ``without_library`` are ``ok``, ``not
    checked: why``, or what went wrong: the original, and the compressed model with our operator library
    registered and without it. ``library_difference`` is the largest difference between these two ways.
    ``problems`` are what kept outputs from being compared, in words. ``elsewhere`` is what of the compressed model does
    not run on the provider that was asked for; None where that is the CPU's.
    """

    inputs: str
    outputs: tuple[OutputError, ...]
    problems: tuple[str, ...]
    with_library: str
    without_library: str
    library_difference: float | None = None
    original: str = OK
    elsewhere: Elsewhere | None = None

    @property
    def broken(self) -> str:
        """How the compressed model fails where the original does not; empty when it does not fail."""
        if self.original.startswith(NOT_LOADED):
            return ""
        ways = ("with", self.with_library), ("without", self.without_library)
        failed = [(way, words) for way, words in ways if _fails(words)]
        if len(failed) == 2 and self.with_library == self.without_library:
            failed = [("with and without", self.with_library)]
        return "; ".join(f"{way} the operator library it {words}" for way, words in failed)

    @property
    def original_fails(self) -> bool:
        """Whether the original cannot be loaded or run, and not just for want of another vendor's operators."""
        return _fails(self.original) and not unknown_operator(self.original)

    @property
    def uncompared(self) -> str:
        """Why nothing was compared, in words; empty when something was."""
        if self.outputs:
            return ""
        unknown = unknown_operator(self.original)
        if unknown:
            return f"ONNX Runtime does not know {unknown}, which the original calls"
        if _fails(self.original):
            return _brief(f"the original {self.original.replace('loaded', 'loaded in ONNX Runtime', 1)}")
        return _brief(self.problems[0]) if self.problems else "there was nothing to run the models on"

    @property
    def doubts(self) -> str:
        """A warning for each thing that makes the result doubtful, in lines of their own; mostly empty."""
        lines = [f"warning: {output.name}: {output.note}" for output in self.outputs if output.note]
        far = [output for output in self.outputs if output.sqnr_db < FAR_SQNR or output.cosine < FAR_COSINE]
        if far:
            worst = min(far, key=lambda output: output.sqnr_db)
            figures = f"SQNR {text.decibel(worst.sqnr_db)}, cosine {text.cosine(worst.cosine)}"
            more = f", and of {text.count(len(far) - 1, 'other output')}" if len(far) > 1 else ""
            lines.append(
                f"warning: {worst.name} has little in common with that of the original ({figures}){more}; {ADVICE}"
            )
        return "\n".join(lines)

    def verdict(self, max_error: float | None = None, min_sqnr: float | None = None) -> tuple[int, str]:
        """The exit code, and why it is not 0: 1 when the compressed model fails or nothing was compared, 4
        when a tolerance is missed.
        """
        if self.broken:
            return 1, _brief(f"the compressed model fails: {self.broken}")
        if self.uncompared:
            return 1, f"nothing was compared: {self.uncompared}"
        missed = self.missed(max_error, min_sqnr)
        return (4, f"tolerance missed: {'; '.join(missed)}") if missed else (0, "")

    def missed(self, max_error: float | None, min_sqnr: float | None) -> list[str]:
        """The tolerances that outputs miss, in words; one that could not be measured is missed."""
        if max_error is None and min_sqnr is None:
            return []
        words = [] if self.outputs else ["no output could be compared"]
        for output in self.outputs:
            if not output.comparable:
                words.append(f"{output.name}: {output.note}")
            if max_error is not None and output.max_abs > max_error:
                words.append(f"{output.name}: error {output.max_abs:.3g} is above {max_error:g}")
            if min_sqnr is not None and output.sqnr_db < min_sqnr:
                words.append(f"{output.name}: SQNR {output.sqnr_db:.1f} dB is below {min_sqnr:g} dB")
        return words


def _fails(status: str) -> bool:
    return status.startswith((NOT_LOADED, NOT_RUN))


def _brief(words: str, most: int = BRIEF) -> str:
    return words if len(words) <= most else f"{words[:most].rstrip()}..."
