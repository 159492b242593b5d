"""The laws that the weights of a model follow, for ``regc inspect --stats``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from regc.compiler.distribution import Distribution, describe
from regc.compiler.report import text
from regc.compiler.report.data import plain
from regc.compiler.report.layout import columns, hanging
from regc.compiler.sites import Site

LEGEND = (
    "nu and alpha: shape and scale of the generalized Gaussian with the same moments; nu is 2 for a Gaussian, 1 for a "
    "Laplace law",
    "bits: what an ideal entropy coder takes for a value of this law in int8",
    "skewness and kurtosis: 0 and 1.8 for a uniform law, which loses least at few levels of equal distance (EQ-Net), 0 "
    "and 3 for a Gaussian; far above 3, a few outliers set the range and most levels stay unused",
)


def laws_of(sites: Sequence[Site]) -> tuple[Distribution | None, ...]:
    """The distribution of each weight, one in memory at a time; None when it is empty or has NaN or infinity."""
    return tuple(map(_law_of, sites))


def _law_of(site: Site) -> Distribution | None:
    if not all(site.info.shape):
        return None
    values = site.load().values
    return describe(values) if np.isfinite(values).all() else None


def law_data(law: Distribution | None) -> dict[str, Any] | None:
    """A distribution as plain values for JSON."""
    if law is None:
        return None
    values = {"nu": law.shape, "alpha": law.scale, "int8_bits": law.bits, "mean": law.mean, "deviation": law.deviation}
    values |= {"peak": law.peak, "skewness": law.skewness, "kurtosis": law.kurtosis}
    return {key: plain(value) for key, value in values.items()}


def show_laws(sites: Sequence[Site], laws: Sequence[Distribution | None], console: Console, full: bool) -> None:
    """Print a row for each weight, and what the columns mean."""
    numbers = ("nu", "alpha", "bits", "skewness", "kurtosis")
    table = columns("weight", *numbers, right=numbers)
    for site, law in zip(sites, laws, strict=True):
        name = site.info.name if full else text.known_as(site.info.name, site.info.users)
        table.add_row(Text(name), *map(Text, _cells(law)))
    console.print(table)
    for words in LEGEND:
        console.print(hanging(words))
    console.print()


def _cells(law: Distribution | None) -> list[str]:
    if law is None:
        return ["-"] * 5
    fixed = [f"{value:.2f}" if np.isfinite(value) else "-" for value in (law.shape, law.bits)]
    return [fixed[0], text.number(law.scale), fixed[1], text.number(law.skewness), text.number(law.kurtosis)]
