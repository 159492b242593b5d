"""One budget shared out over many weights, before any of them is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.inflows import Original
from regc.compiler.passes import Pass, Refusal, SiteInfo, Surveyed, options_of
from regc.compiler.records import Progress
from regc.compiler.select import Selection
from regc.compiler.sites import Site
from regc.compiler.spec import format_value

NOT_FINITE = "holds NaN or infinite values"
LEFT_OUT = "an earlier pass may take it, so it has no share of the budget"


@dataclass(frozen=True)
class Plans:
    """What each pass is for each weight. ``shares`` has the answers of :meth:`Pass.plan` by position of the pass."""

    shares: Mapping[int, Mapping[str, Pass | Refusal]] = field(default_factory=dict)

    def of(self, position: int, pass_: Pass, site: SiteInfo) -> Pass | Refusal:
        """The pass as it is for this weight, or why it does not take it."""
        reason = Selection(pass_.include, pass_.exclude).refuses(site)
        if reason is not None:
            return Refusal(reason)
        if not pass_.shares:
            return pass_
        preview = pass_.preview(site.shape, site)
        unshared = preview if isinstance(preview, Refusal) else Refusal(LEFT_OUT)
        return self.shares.get(position, {}).get(site.name, unshared)


NO_PLANS = Plans()


def check_order(passes: Sequence[Pass]) -> None:
    """Refuse passes that cannot follow those before them.

    Raises:
        UsageError: a pass that needs float weights, or weights as they came, after one that may leave others.
    """
    for position, later in enumerate(passes):
        for earlier in passes[:position]:
            if later.removes and not earlier.removes:
                raise UsageError(
                    f"{later.name} cannot follow {earlier.name}: it removes units from the graph, and {earlier.name} "
                    f"rewrites the weights that compute them; put {later.name} first"
                )
            if not earlier.rewrites or earlier.include or earlier.exclude:
                continue
            remedy = f"put {later.name} first, or give {earlier.name} an include or exclude"
            if later.structural and not earlier.structural:
                raise UsageError(
                    f"{later.name} cannot follow {earlier.name}: it needs float weights and {earlier.name} leaves "
                    f"codes; {remedy}"
                )
            if later.shares and later.rewrites:
                raise UsageError(
                    f"{later.name} cannot follow {earlier.name}: it shares one budget out over the weights as they "
                    f"came, and {earlier.name} changes them; {remedy}"
                )


def share_out(
    passes: Sequence[Pass],
    selection: Selection,
    sites: Sequence[Site],
    original: Original,
    callback: Callable[[Progress], None],
) -> Plans:
    """Let every pass with one budget share it out over the weights that it may take and no earlier pass does."""
    shares: dict[int, Mapping[str, Pass | Refusal]] = {}
    for position, pass_ in enumerate(passes):
        if pass_.shares:
            before = [Selection(earlier.include, earlier.exclude) for earlier in passes[:position]]
            free = [site for site in sites if not (site.refusal or selection.refuses(site.info))]
            mine = [site for site in free if _takes(pass_, site.info) and all(s.refuses(site.info) for s in before)]
            refused: dict[str, Pass | Refusal] = {}
            shares[position] = {**pass_.plan(_survey(mine, original, callback, refused)), **refused}
    return Plans(shares)


def allotted(pass_: Pass, share: Pass) -> str:
    """The options by which a share differs from the pass that gave it, such as ``rank=48``."""
    options = {f.name: getattr(share, f.name) for f in options_of(share)}
    given = {
        name: value for name, value in options.items() if value is not None and value != getattr(pass_, name, None)
    }
    return ", ".join(f"{name}={format_value(value)}" for name, value in given.items())


def _takes(pass_: Pass, site: SiteInfo) -> bool:
    selected = Selection(pass_.include, pass_.exclude).refuses(site) is None
    return selected and not isinstance(pass_.preview(site.shape, site), Refusal)


def _survey(
    sites: Sequence[Site],
    original: Original,
    callback: Callable[[Progress], None],
    refused: dict[str, Pass | Refusal],
) -> Iterator[Surveyed]:
    """The weights one after the other; those with values that are not finite are ``refused`` instead."""
    total, done = sum(site.nbytes for site in sites), 0
    for site in sites:
        callback(Progress("plan", done, total, site.info.name))
        weight = site.load()
        if np.isfinite(weight.values).all():
            found = original.of(site)
            effect = partial(original.effect, site)
            yield Surveyed(site.info, weight, None if isinstance(found, str) else found, effect, site.load)
        else:
            refused[site.info.name] = Refusal(NOT_FINITE)
        done += site.nbytes
