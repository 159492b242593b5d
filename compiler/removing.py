"""Passes that remove units from the graph, before others take its weights one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from regc.compiler.inflows import Calibrate, Inflows, Known, Nothing, Original, Wanted
from regc.compiler.lower.shapes import dimensions, fold_shapes
from regc.compiler.model import Model
from regc.compiler.passes import Consumer, Kept, Pass, Refusal, Units
from regc.compiler.records import Progress, UnitsRecord
from regc.compiler.select import Selection
from regc.compiler.sites import Scopes, Site, find_sites
from regc.compiler.statistics import Statistics
from regc.compiler.structure import Group, Left, Place, add_to_bias, find_groups, put, remove
from regc.compiler.structure.branches import settle_branches
from regc.compiler.structure.certain import factors, pads
from regc.compiler.structure.cuts import fold_bounds
from regc.compiler.structure.group import Array
from regc.compiler.structure.joined import fold_joined
from regc.compiler.structure.matrices import as_read, matrix_of, own_columns, whole_matrix
from regc.compiler.structure.windows import KIND as POSITIONS
from regc.compiler.terms import Dense, Float32

Inputs = Mapping[str, Statistics] | Calibrate | None
_NOT_FINITE = "a weight that they are in holds NaN or infinite values"


def run_removal(
    model: Model, pass_: Pass, selection: Selection, inputs: Inputs, callback: Callable[[Progress], None]
) -> list[UnitsRecord]:
    """Let a pass remove units from a model, in place. All are chosen before the first is cut out.

    Raises:
        UsageError: a selector that matches no weight.
    """
    settle_branches(model)
    fold_joined(model)
    fold_bounds(model, dimensions(model))
    fold_shapes(model)
    sites = find_sites(model, Scopes(model.graph))
    own = Selection(pass_.include, pass_.exclude)
    for chosen in (selection, own):
        chosen.check([site.info for site in sites])
    at = {(id(reader.node), reader.role.index): site for site in sites for reader in site.readers}
    groups = find_groups(model, windows=_windows(pass_))
    for group in groups:
        group.refusal = group.refusal or pass_.leaves(group.kind) or _unselected(group, at, (selection, own))
    free = [group for group in groups if group.refusal is None]
    read = {id(_site(place, at)) for group in free for place in group.consumers}
    inflows = _inflows(model, [(site, pass_.unit_needs) for site in sites if id(site) in read], inputs)
    shares = _apportioned(free, pass_, at, inflows, callback) if pass_.shares else {}
    answers: list[tuple[Group, Kept | Refusal, float | None]] = []
    for index, group in enumerate(groups):
        callback(Progress("remove", index, len(groups), group.name))
        answer, error = _answer(group, shares.get(group.name, pass_), at, inflows)
        answers.append((group, answer, error))
        if not isinstance(answer, Refusal) and not any(offset is not None for offset in answer.offsets):
            _tell(group, answer, at, inflows)
    return _removed(model, answers, pass_)


def _windows(pass_: Pass) -> bool:
    """Whether positions of kernels are to be found, too."""
    return pass_.windows and pass_.leaves(POSITIONS) is None


def _inflows(model: Model, wanted: Wanted, inputs: Inputs) -> Inflows:
    if inputs is None:
        return Nothing()
    if isinstance(inputs, Mapping):
        return Known(inputs)
    return inputs(model, wanted)


def _tell(group: Group, kept: Kept, at: Mapping[tuple[int, int], Site], inflows: Inflows) -> None:
    """Let the layers behind see what those before them give now."""
    for place, weight in zip(group.consumers, kept.weights, strict=True):
        site = _site(place, at)
        whole = whole_matrix(place, weight, group.units)
        if site is not None and site.info.shape == whole.shape:
            inflows.put(site, Dense(whole, site.info.dtype))


def _site(place: Place, at: Mapping[tuple[int, int], Site]) -> Site | None:
    return at.get((id(place.node), place.index))


def _unselected(group: Group, at: Mapping[tuple[int, int], Site], selections: Sequence[Selection]) -> str | None:
    """Why units are left alone: a weight that computes them is not selected."""
    for place in group.producers or group.consumers:
        site = _site(place, at)
        for selection in selections if site is not None else ():
            if site is not None and (reason := selection.refuses(site.info)) is not None:
                return reason
    return None


def _apportioned(
    groups: Sequence[Group],
    pass_: Pass,
    at: Mapping[tuple[int, int], Site],
    inflows: Inflows,
    callback: Callable[[Progress], None],
) -> Mapping[str, Pass | Refusal]:
    """What the pass is for each set of units, when one budget is for all."""
    with inflows.original() as original:

        def surveyed() -> Iterator[Units]:
            for index, group in enumerate(groups):
                callback(Progress("plan", index, len(groups), group.name))
                if _finite(group):
                    effect = partial(_effect, group, at, original)
                    yield _units(group, at, original)._replace(effect=effect)

        return pass_.apportion(surveyed())


def _effect(
    group: Group, at: Mapping[tuple[int, int], Site], original: Original, weights: Sequence[Float32]
) -> float | None:
    """What new weights of the consumers change: as if the changes of each were orthogonal."""
    sites = [_site(place, at) for place in group.consumers]
    wholes = [whole_matrix(*each, group.units) for each in zip(group.consumers, weights, strict=True)]
    pairs = zip(sites, wholes, strict=True)
    found = [original.effect(site, weight) if site is not None else None for site, weight in pairs]
    known = [effect for effect in found if effect is not None]
    return float(np.linalg.norm(known)) if len(known) == len(found) else None


def _finite(group: Group) -> bool:
    return all(np.isfinite(place.values().astype(np.float32)).all() for place in group.places)


def _answer(
    group: Group, share: Pass | Refusal, at: Mapping[tuple[int, int], Site], inflows: Inflows
) -> tuple[Kept | Refusal, float | None]:
    if group.refusal is not None:
        return Refusal(group.refusal), None
    if isinstance(share, Refusal):
        return share, None
    if not _finite(group):
        return Refusal(_NOT_FINITE), None
    units = _units(group, at, inflows)
    kept = share.choose(units)
    return kept, None if isinstance(kept, Refusal) else _error(kept, units.consumers)


def _units(group: Group, at: Mapping[tuple[int, int], Site], inflows: Inflows | Original) -> Units:
    consumers = []
    for place in group.consumers:
        site, weight = _site(place, at), matrix_of(place)
        found = inflows.of(site) if site is not None else ""
        fits = not isinstance(found, str) and len(found.mean) == weight.shape[1]
        columns = own_columns(place, group.units)
        inputs = found.of_inputs(columns) if fits and not isinstance(found, str) else None
        weight = weight[:, columns]
        consumers.append(Consumer(weight, inputs, group.certain(place), pads(place.node)))
    computing = [place.by_unit(group.units) for place in group.producers]
    squares = [np.square(rows, dtype=np.float64).sum(1) for rows in computing]
    sizes = [place.values() for place in group.places]
    return Units(
        name=group.name,
        kind=group.kind,
        units=group.units,
        scales=np.sqrt(np.sum(squares, 0)) if squares else np.ones(group.units),
        alike=_alike([*computing, *(place.by_unit(group.units) for place in group.followers)], group.units),
        consumers=tuple(consumers),
        factors=factors(group),
        rows=tuple(rows.astype(np.float32) for rows in computing),
        nbytes=sum(array.nbytes for array in sizes),
        kernel=group.kernel,
        work=sum(array.size * place.uses for array, place in zip(sizes, group.places, strict=True)),
    )


def _alike(rows: Sequence[Array], units: int) -> npt.NDArray[np.intp]:
    """For each unit the first that all constants treat in exactly the same way."""
    first: dict[bytes, int] = {}
    if not rows:
        return np.arange(units)
    keys = [b"".join(part[unit].tobytes() for part in rows) for unit in range(units)]
    return np.array([first.setdefault(key, unit) for unit, key in enumerate(keys)], np.intp)


def _error(kept: Kept, consumers: Sequence[Consumer]) -> float | None:
    """``||y' - y|| / ||y||``, the largest of all consumers; None where the inputs of one are not known."""
    worst = 0.0
    for (weight, inputs, *_), new, offset in zip(consumers, kept.weights, kept.offsets, strict=True):
        if inputs is None or inputs.gram is None:
            return None
        lost = (new - weight).astype(np.float64)
        added = np.zeros(len(lost)) if offset is None else offset.astype(np.float64)
        gram = inputs.gram.astype(np.float64)
        energy = np.einsum("nk,nk->", lost @ gram, lost) + 2 * added @ (lost @ inputs.mean) + added @ added
        whole = np.einsum("nk,nk->", weight @ gram, weight, dtype=np.float64)
        worst = max(worst, float(np.sqrt(max(energy, 0) / whole)) if whole > 0 else 0.0)
    return worst


def _removed(
    model: Model, answers: Sequence[tuple[Group, Kept | Refusal, float | None]], pass_: Pass
) -> list[UnitsRecord]:
    """Carry the answers out: first what makes up for units, then the cuts; they meet in weights between two sets."""
    added = False
    for group, answer, _ in answers:
        if isinstance(answer, Refusal):
            continue
        for place, weight, offset in zip(group.consumers, answer.weights, answer.offsets, strict=True):
            put(model, place, as_read(place, whole_matrix(place, weight, group.units), place.values()))
            if offset is not None:
                add_to_bias(model, place.node, offset)
                added = True
    groups = [group for group, _, _ in answers]
    if added:  # followed anew, for the new biases are to be cut, too
        groups = find_groups(model, windows=_windows(pass_))
    left: Left = {}
    return [
        _cut(model, group, answer, error, (pass_.name, left))
        for group, (_, answer, error) in zip(groups, answers, strict=True)
    ]


def _cut(
    model: Model, group: Group, answer: Kept | Refusal, error: float | None, told: tuple[str, Left]
) -> UnitsRecord:
    """Cut the units that do not stay; ``told`` is the name of the pass, and what is left of axes cut before."""
    (pass_name, left), before = told, _bytes(group)
    record = (group.name, group.kind, pass_name, group.units)
    if isinstance(answer, Refusal):
        return UnitsRecord(*record, group.units, before, before, reason=answer.reason)
    remove(model, group, answer.units, left=left)
    return UnitsRecord(*record, len(answer.units), before, _bytes(group), error)


def _bytes(group: Group) -> int:
    return sum(place.values().nbytes for place in group.places)
