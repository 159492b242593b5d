"""Passes as a third party would write them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from regc.compiler import (
    Dense,
    Need,
    Pass,
    Preview,
    Product,
    Refusal,
    SiteInfo,
    Statistics,
    Term,
    option,
)


@dataclass(frozen=True, kw_only=True)
class KeepHalf(Pass):
    """A pass as a third party would write it: W = W * I cut to the first inputs."""

    name: ClassVar[str] = "keep-half"
    summary: ClassVar[str] = "keeps the first inputs"
    structural: ClassVar[bool] = True
    share: float = option(0.25, "share of the inputs that is kept", "0..1")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:
        return Preview("cut", None) if site.splittable else Refusal("cannot be split")

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:
        kept = int(weight.shape[1] * self.share)
        eye = np.eye(kept, weight.shape[1], dtype=np.float32)
        return Product(Dense(np.ascontiguousarray(weight.values[:, :kept])), Dense(eye))


@dataclass(frozen=True, kw_only=True)
class Recorder(KeepHalf):
    """Keeps what flows into the leaves that it sees."""

    name: ClassVar[str] = "recorder"
    seen: ClassVar[list[Statistics | None]] = []

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:
        return frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term:
        self.seen.append(inputs)
        return super().fit(weight, site, inputs)


@dataclass(frozen=True, kw_only=True)
class Blind(Recorder):
    """The same, for weights that cannot be split."""

    name: ClassVar[str] = "blind"

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:
        return Preview("cut", None)
