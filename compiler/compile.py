"""From a model to a compressed one."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regc.compiler.inflows import Calibrate
from regc.compiler.model import Model, from_proto, load, save
from regc.compiler.passes import Pass
from regc.compiler.pipeline import PassManager
from regc.compiler.records import Progress, SiteRecord
from regc.compiler.spec import format_passes, parse_passes
from regc.compiler.target import CPU, target_of

if TYPE_CHECKING:
    import onnx

    from regc.compiler.calibration import Calibration
    from regc.compiler.feeds.sources import Given
    from regc.compiler.model import SavedFiles
    from regc.compiler.report import Report


@dataclass
class CompileResult:
    """What :func:`compile_model` gives back: the rewritten model and the record of every weight.

    ``calibration`` tells with what inputs, and what they took; None without any.
    """

    model: Model
    records: list[SiteRecord]
    pipeline: str
    seconds: float
    calibration: str | None = None
    target: str = CPU.name

    @property
    def changed(self) -> bool:
        """Whether any weight was changed."""
        return any(record.changed for record in self.records)

    @property
    def report(self) -> Report:
        """The records as a report; ``str()`` of it is the table."""
        from regc.compiler.report import Report  # noqa: PLC0415 - the report needs rich, compiling does not

        return Report.of(self)

    def save(self, path: str | Path, *, external_data: bool | None = None) -> SavedFiles:
        """Write the model; see :func:`regc.compiler.model.save`."""
        return save(self.model, path, external_data=external_data)


def compile_model(
    model: str | Path | onnx.ModelProto | Model,
    passes: Sequence[Pass] | str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    calibration: Calibration | Given | None = None,
    target: str = CPU.name,
    callback: Callable[[Progress], None] | None = None,
) -> CompileResult:
    """Compress the weights of a model. A file or a proto is never changed; an opened :class:`Model` is.

    ``passes`` are pass objects or their text, ``include`` and ``exclude`` selectors for all of them. ``calibration`` is
    inputs to see what flows into the weights, in any form that :class:`regc.compiler.calibration.Calibration` takes, or
    one of these, with options. ``target`` is ``cpu`` for our operators, ``cuda`` for those of them that run on a
    GPU or ``stock`` for what ONNX Runtime has already; see :mod:`regc.compiler.target`.

    Raises:
        ModelError: the model cannot be read.
        UsageError: a pass text, an option, a target or a selector is wrong, or calibration inputs do not fit the model.
    """
    start = time.perf_counter()
    pipeline = parse_passes(passes) if isinstance(passes, str) else _list(passes)
    chosen = {"include": _selectors(include), "exclude": _selectors(exclude)}
    manager = PassManager(pipeline, **chosen, target=target_of(target), callback=callback)
    opened = _open(model)
    chosen_inputs = _calibration(calibration)
    records = manager.run(opened, _gathering(chosen_inputs, opened, manager.callback))
    words = chosen_inputs.words if chosen_inputs is not None else None
    result = CompileResult(opened, records, format_passes(pipeline), time.perf_counter() - start, words, target)
    if result.changed:
        opened.metadata |= _metadata(opened, result, chosen)
    return result


def _open(model: str | Path | onnx.ModelProto | Model) -> Model:
    if isinstance(model, Model):
        return model
    return load(model) if isinstance(model, str | Path) else from_proto(model)


def _calibration(given: Calibration | Given | None) -> Calibration | None:
    if given is None:
        return None
    from regc.compiler.calibration import Calibration  # noqa: PLC0415 - brings the verification along

    return given if isinstance(given, Calibration) else Calibration(given)


def _gathering(given: Calibration | None, model: Model, callback: Callable[[Progress], None]) -> Calibrate | None:
    if given is None or model.opaque:
        return None
    given.check(model)
    return lambda model, wanted: given.inflows(model, wanted, callback)


def _list(passes: Sequence[Pass] | Pass) -> list[Pass]:
    return [passes] if isinstance(passes, Pass) else list(passes)


def _selectors(given: Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _metadata(model: Model, result: CompileResult, chosen: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """How the model was made, for its metadata; what an earlier run of ours left there stays in front."""
    values = {"version": importlib.metadata.version("regc"), "passes": result.pipeline, "source_sha256": model.digest()}
    values["target"] = result.target
    values |= {key: "|".join(selectors) for key, selectors in chosen.items()}
    named = {f"regc.{key}": value for key, value in values.items() if value}
    return {key: " ; ".join(filter(None, (model.metadata.get(key), value))) for key, value in named.items()}
