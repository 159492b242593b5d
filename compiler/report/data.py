"""A report as plain values for JSON. The keys are kept stable for those who read them by program."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from regc.compiler.report.summary import by_pass, emissions, refused

if TYPE_CHECKING:
    from regc.compiler.records import Recovered, SiteRecord
    from regc.compiler.report import Report
    from regc.compiler.verify import Verification

VERSION = 1
"""Goes up when a key changes its meaning or goes away."""


def report_data(report: Report) -> dict[str, Any]:
    """Everything that a report knows."""
    before, after = report.weights
    return {
        "version": VERSION,
        "model": report.model,
        "output": report.output,
        "passes": report.pipeline,
        "target": report.target,
        "fallback": report.fallback,
        "seconds": round(report.seconds, 3),
        "note": report.note,
        "compressed_before": report.earlier,
        "calibration": report.calibration,
        "recovery": _recovery(report.recovered) if report.recovered else None,
        "file_bytes": {"before": report.nbytes_before, "after": report.nbytes_after},
        "weight_bytes": {"before": before, "after": after},
        "units": [
            {
                "name": record.name,
                "kind": record.kind,
                "pass": record.pass_name,
                "units": record.units,
                "kept": record.kept,
                "bytes_before": record.nbytes_before,
                "bytes_after": record.nbytes_after,
                "output_error": plain(record.output_error),
                "reason": record.reason,
            }
            for record in report.units
        ],
        "gates": [
            {
                "name": gate.name,
                "operator": gate.op,
                "values": gate.values,
                "fixed": gate.fixed,
                "low": plain(gate.low),
                "high": plain(gate.high),
                "variance": plain(gate.variance),
                "nodes_removed": gate.nodes,
                "bytes_removed": gate.nbytes,
                "reason": gate.reason,
            }
            for gate in report.gates
        ],
        "weights_changed": len(report.changed),
        "weights": [_record(record) for record in report.records],
        "refusals": {reason: [record.info.name for record in group] for reason, group in refused(report.records)},
        "by_pass": {
            p.name: {"changed": p.changed, "refused": {reason: list(names) for reason, names in p.refused}}
            for p in by_pass(report.records, report.pipeline)
        },
        "emitted": dict(emissions(report.records)),
        "verification": verification_data(report.verification) if report.verification else None,
    }


def _recovery(recovered: Recovered) -> dict[str, Any]:
    return {
        "loss": {"before": plain(recovered.before), "after": plain(recovered.after)},
        "curve": [plain(loss) for loss in recovered.curve],
        "steps": recovered.steps,
        "seconds": round(recovered.seconds, 3),
        "ended": recovered.ended,
        "taken": recovered.worth,
        "weights": recovered.weights,
        "not_trained": recovered.left,
    }


def _record(record: SiteRecord) -> dict[str, Any]:
    return {
        "name": record.info.name,
        "aliases": list(record.aliases),
        "users": list(record.info.users),
        "op_types": list(record.info.op_types),
        "shape": list(record.info.shape),
        "before": record.before,
        "after": record.after,
        "bytes_before": record.nbytes_before,
        "bytes_after": record.nbytes_after,
        "error": plain(record.error),
        "output_error": plain(record.output_error),
        "emitted": record.emitted or None,
        "reason": record.reason or None,
        "not_calibrated": record.unseen or None,
        "inputs_used": [{"share": a.share, "rows_by_tenths": list(a.histogram)} for a in record.activities],
        "speed": None if record.speed is None else {key: plain(value) for key, value in asdict(record.speed).items()},
        "recovery": record.recovery or None,
        "decisions": [
            {
                "pass": decision.pass_name or None,
                "leaf": decision.leaf,
                "before": decision.before,
                "after": decision.after,
                "reason": decision.reason,
                "error": plain(decision.error),
                "output_error": plain(decision.output_error),
                "allotted": decision.allotted or None,
            }
            for decision in record.decisions
        ],
    }


def verification_data(check: Verification) -> dict[str, Any]:
    """A verification as plain values."""
    outputs = [
        {
            "name": output.name,
            "count": output.count,
            "finite": output.finite,
            "differ": output.differ,
            "max_abs": plain(output.max_abs),
            "mean_abs": plain(output.mean_abs),
            "sqnr_db": plain(output.sqnr_db),
            "cosine": plain(output.cosine),
            "note": output.note or None,
        }
        for output in check.outputs
    ]
    return {
        "inputs": check.inputs,
        "original": check.original,
        "with_library": check.with_library,
        "without_library": check.without_library,
        "library_difference": plain(check.library_difference),
        "problems": list(check.problems),
        "elsewhere": None if check.elsewhere is None else asdict(check.elsewhere),
        "outputs": outputs,
    }


def plain(value: float | None) -> float | str | None:
    """A number that JSON has: infinities become ``"inf"`` and ``"-inf"``, NaN becomes None."""
    if value is None or math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value
