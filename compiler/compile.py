"""From a model to a compressed one."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from regc.compiler.errors import UsageError
from regc.compiler.inflows import Calibrate
from regc.compiler.model import Model, from_proto, load, save
from regc.compiler.passes import Pass
from regc.compiler.pipeline import PassManager, Recovering
from regc.compiler.records import GateRecord, Progress, Recovered, SiteRecord, UnitsRecord
from regc.compiler.recovery.options import Recover, require_torch
from regc.compiler.sites import Site
from regc.compiler.spec import format_passes, parse_passes
from regc.compiler.target import CPU, FALLBACKS, target_of
from regc.compiler.terms import Float32, Term

if TYPE_CHECKING:
    import onnx

    from regc.compiler.calibration import Calibration
    from regc.compiler.feeds.sources import Given
    from regc.compiler.gates import Watch
    from regc.compiler.model import SavedFiles
    from regc.compiler.report import Report


@dataclass
class CompileResult:
    """What :func:`compile_model` gives back: the rewritten model and the records of every weight, of units that could
    be removed and of gates that could be settled.

    ``calibration`` tells with what inputs, and what they took; None without any.
    """

    model: Model
    records: list[SiteRecord]
    pipeline: str
    seconds: float
    calibration: str | None = None
    target: str = CPU.name
    fallback: str = FALLBACKS[0]
    recovered: Recovered | None = None
    units: list[UnitsRecord] = field(default_factory=list)
    gates: list[GateRecord] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether any weight was changed, any unit removed or any gate settled."""
        records: tuple[SiteRecord | UnitsRecord | GateRecord, ...] = (*self.records, *self.units, *self.gates)
        return any(record.changed for record in records)

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
    fallback: str = FALLBACKS[0],
    recover: Recover | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> CompileResult:
    """Compress the weights of a model. A file or a proto is never changed; an opened :class:`Model` is.

    ``passes`` are pass objects or their text, ``include`` and ``exclude`` selectors for all of them. ``calibration`` is
    inputs to see what flows into the weights, in any form that :class:`regc.compiler.calibration.Calibration` takes, or
    one of these, with options. ``target`` is ``cpu`` for our operators, ``cuda`` for those of them that run on a
    GPU or ``stock`` for what ONNX Runtime has already; see :mod:`regc.compiler.target`. ``fallback`` is what stands in
    for our operators where our library is not loaded: ``standard`` operators, or for ternary products ``matmulnbits``,
    which ONNX Runtime has since 1.24. ``recover`` trains what the passes left, on the calibration inputs; it needs
    PyTorch.

    Raises:
        ModelError: the model cannot be read.
        RegcError: recovery is asked for and PyTorch is missing, or nothing can be trained.
        UsageError: a pass text, an option, a target or a selector is wrong, or calibration inputs do not fit the model.
    """
    start = time.perf_counter()
    pipeline = parse_passes(passes) if isinstance(passes, str) else _list(passes)
    chosen = {"include": _selectors(include), "exclude": _selectors(exclude)}
    chosen_inputs = _calibration(calibration)
    manager = PassManager(
        pipeline,
        include=chosen["include"],
        exclude=chosen["exclude"],
        target=target_of(target, fallback),
        callback=callback,
    )
    original = _as_it_came(model, manager)
    if recover is not None:
        require_torch()
    opened = _open(model)
    if recover is not None and not opened.opaque:
        chosen_inputs, manager.recover = _recovering(recover, opened, chosen_inputs, callback, original)
    manager.watch = _watching(chosen_inputs, callback)
    # Beside the passes: of 176 MB it takes 0.13 s, as long as reading them.
    with ThreadPoolExecutor(1, "regc-digest") as beside:
        digest = beside.submit(opened.digest)
        records = manager.run(opened, _gathering(chosen_inputs, opened, manager.callback))
    words = chosen_inputs.words if chosen_inputs is not None else None
    seconds = time.perf_counter() - start
    result = CompileResult(opened, records, format_passes(pipeline), seconds, words, target, fallback)
    result.recovered = manager.recovered
    result.units, result.gates = manager.units, manager.gates
    if result.changed:
        opened.metadata |= _metadata(opened, result, chosen, digest.result())
    return result


def _open(model: str | Path | onnx.ModelProto | Model) -> Model:
    if isinstance(model, Model):
        return model
    return load(model) if isinstance(model, str | Path) else from_proto(model)


def _as_it_came(model: str | Path | onnx.ModelProto | Model, manager: PassManager) -> Callable[[], Model | None]:
    """What opens the model anew where passes remove units from it, which recovery has to make up for."""
    if not manager.removing:
        return lambda: None
    if not isinstance(model, Model):
        return lambda: _open(model)
    proto = model.to_proto()
    return lambda: from_proto(proto)


def _calibration(given: Calibration | Given | None) -> Calibration | None:
    if given is None:
        return None
    from regc.compiler.calibration import Calibration  # noqa: PLC0415 - brings the verification along

    return given if isinstance(given, Calibration) else Calibration(given)


def _recovering(
    options: Recover,
    opened: Model,
    given: Calibration | None,
    callback: Callable[[Progress], None] | None,
    original: Callable[[], Model | None],
) -> tuple[Calibration, Recovering]:
    """Calibration by samples that recovery does not judge by, and what trains the terms.

    What fits a sample wins on it: judged by those that passes have seen, no training would be worth it.
    """
    if given is None:
        raise UsageError("recovery needs calibration inputs; give some by --calibration")
    rest, feeds, apart = given.apart(opened, options.held_out, options.seed)

    def run(
        model: Model,
        terms: Mapping[str, Term],
        sites: Mapping[str, Site],
        starts: Mapping[Term, Float32],
        dense: Sequence[str],
    ) -> tuple[dict[str, Term], Recovered]:
        from regc.compiler.recovery.recovery import recover  # noqa: PLC0415 - PyTorch

        told = callback or (lambda progress: None)
        return recover(
            model,
            terms,
            sites,
            starts=starts,
            original=original(),
            dense=dense,
            feeds=feeds,
            apart=apart,
            options=options,
            mask=given.mask,
            threads=given.threads,
            callback=told,
        )

    return rest, run


def _gathering(given: Calibration | None, model: Model, callback: Callable[[Progress], None]) -> Calibrate | None:
    if given is None or model.opaque:
        return None
    given.check(model)
    return lambda model, wanted: given.inflows(model, wanted, callback)


def _watching(given: Calibration | None, callback: Callable[[Progress], None] | None) -> Watch | None:
    """What sees how gates vary, with calibration inputs."""
    if given is None or given.feeds is None:
        return None
    from regc.compiler.calibration.spread import spreads  # noqa: PLC0415 - brings the verification along

    told = callback or (lambda progress: None)
    return partial(spreads, feeds=given.feeds, mask=given.mask, threads=given.threads, callback=told)


def _list(passes: Sequence[Pass] | Pass) -> list[Pass]:
    return [passes] if isinstance(passes, Pass) else list(passes)


def _selectors(given: Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _metadata(model: Model, result: CompileResult, chosen: Mapping[str, Sequence[str]], digest: str) -> dict[str, str]:
    """How the model was made, for its metadata; what an earlier run of ours left there stays in front."""
    values = {"version": importlib.metadata.version("regc"), "passes": result.pipeline, "source_sha256": digest}
    values["target"] = result.target
    values["fallback"] = result.fallback if result.fallback != FALLBACKS[0] else ""
    values |= {key: "|".join(selectors) for key, selectors in chosen.items()}
    named = {f"regc.{key}": value for key, value in values.items() if value}
    return {key: " ; ".join(filter(None, (model.metadata.get(key), value))) for key, value in named.items()}
