"""Which weights: globs on names, operator types and sizes. A selector that matches nothing is an error."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from regc.compiler.errors import UsageError
from regc.compiler.passes import SiteInfo
from regc.compiler.suggest import nearest

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SUFFIX = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_SIZE = re.compile(r"(>=|<=|>|<)(\d+(?:\.\d+)?)([kmg]?)", re.IGNORECASE)


@dataclass(frozen=True)
class Selector:
    """One selector: a glob on weight and node names, ``op:TYPE`` or ``size:>=1M`` (elements)."""

    text: str

    def matches(self, site: SiteInfo) -> bool:
        """Whether it selects the site.

        Raises:
            UsageError: a ``size:`` that is not a comparison with a number.
        """
        if self.text.startswith("op:"):
            return self.text[3:] in site.op_types
        if self.text.startswith("size:"):
            compare, bound = self._size()
            return compare(site.shape[0] * site.shape[1], bound)
        return any(fnmatch.fnmatchcase(name, self.text) for name in (site.name, *site.users))

    def _size(self) -> tuple[Callable[[int, int], bool], int]:
        found = _SIZE.fullmatch(self.text[5:])
        if found is None:
            raise UsageError(f'selector "{self.text}": write size:>=1M, size:<4096 or the like (elements; k, M, G)')
        compare, number, suffix = found.groups()
        return _COMPARE[compare], int(float(number) * _SUFFIX[suffix.lower()])


@dataclass(frozen=True)
class Selection:
    """Sites that match one of ``include`` (all when empty) and none of ``exclude``."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def refuses(self, site: SiteInfo) -> str | None:
        """None when the site is selected, else why not."""
        for text in self.exclude:
            if Selector(text).matches(site):
                return f'excluded by "{text}"'
        if self.include and not any(Selector(text).matches(site) for text in self.include):
            return "not selected by " + ", ".join(f'"{text}"' for text in self.include)
        return None

    def check(self, sites: Iterable[SiteInfo]) -> None:
        """Require that every selector matches a site.

        Raises:
            UsageError: one that matches none, with the nearest names.
        """
        known = list(sites)
        for text in (*self.include, *self.exclude):
            if not any(Selector(text).matches(site) for site in known):
                raise UsageError(f'selector "{text}" matches no weight{_suggest(text, known)}; see: regc inspect')


def _suggest(text: str, sites: Sequence[SiteInfo]) -> str:
    if text.startswith("op:"):
        # Compared without the prefix, by which every name would be half alike.
        known = sorted({op for site in sites for op in site.op_types})
        hint = nearest(text.removeprefix("op:"), known).replace('"', '"op:', 1)
        return hint or f"; those of this model are {', '.join(f'op:{op}' for op in known) or 'none'}"
    return nearest(text.strip("*"), [name for site in sites for name in (site.name, *site.users)])
