"""Statistics in a file: an ``.npz`` archive with one array for each figure, and a page of JSON that says of what.

NumPy's own format, because everything can read it and regc needs nothing more for it: arrays are found by name and
read one at a time.
"""

from __future__ import annotations

import json
import zipfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.inflows import Inflows, Original, Wanted
from regc.compiler.model import Model
from regc.compiler.model.files import check_destination, commit, staging
from regc.compiler.sites import Site
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Float32, Term

PAGE = "regc.statistics.json"
VERSION = 1
_FIGURES = tuple(field.name for field in fields(Statistics) if field.name not in ("count", "runs"))


def is_statistics(path: Path) -> bool:
    """Whether a file holds statistics, and not inputs."""
    try:
        with zipfile.ZipFile(path) as archive:
            return PAGE in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def save_statistics(path: Path, model: Model, wanted: Wanted, inflows: Inflows) -> dict[str, str]:
    """Write what flows into weights, one after the other; weights that see the same share it in the file.

    The answer has the weights without statistics, and why.

    Raises:
        UsageError: a path that cannot be written to, or that does not end in ``.npz``.
        RegcError: writing failed.
    """
    check_statistics_path(path, model)
    weights: dict[str, dict[str, Any]] = {}
    written: dict[int, tuple[Statistics, int]] = {}
    with staging(path.parent, 0) as stage:
        with zipfile.ZipFile(stage / path.name, "w") as archive:
            for site, _ in wanted:
                found = inflows.of(site)
                if isinstance(found, str):
                    weights[site.info.name] = {"reason": found}
                    continue
                if id(found) not in written:
                    written[id(found)] = (found, len(written))
                    _write(archive, len(written) - 1, found)
                weights[site.info.name] = {"entry": written[id(found)][1], "count": found.count, "runs": found.runs}
            page = {
                "version": VERSION,
                "model": str(model.path or ""),
                "sha256": model.digest(),
                "weights": weights,
            }
            archive.writestr(PAGE, json.dumps(page, indent=1))
        commit([(stage / path.name, path)])
    return {name: entry["reason"] for name, entry in weights.items() if "reason" in entry}


def check_statistics_path(path: Path, model: Model) -> None:
    """Refuse a place for statistics before any work is done. Raises UsageError."""
    if path.suffix != ".npz":
        raise UsageError(f"{path}: statistics are written as .npz; end the name in .npz")
    check_destination(path, model.files)


def _write(archive: zipfile.ZipFile, entry: int, found: Statistics) -> None:
    for name in _FIGURES:
        array = getattr(found, name)
        if array is not None:
            with archive.open(f"{entry}.{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, array, allow_pickle=False)


class Stored:
    """Statistics in a file that :func:`save_statistics` wrote.

    Raises:
        UsageError: it is no such file, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._page = json.loads(archive.read(PAGE))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: holds no statistics ({error}); make it with: regc calibrate") from error
        if self._page.get("version") != VERSION:
            raise UsageError(f"{path}: is of version {self._page.get('version')}, not {VERSION}; make it again")
        self._last: tuple[int, Statistics] | None = None

    def check(self, model: Model) -> None:
        """Raise UsageError when the statistics are of another model."""
        digest = model.digest()
        if digest != self._page["sha256"]:
            raise UsageError(
                f"{self.path}: holds statistics of {self._page['model'] or 'another model'} with SHA-256 "
                f"{self._page['sha256'][:12]}..., and {model.path or 'this model'} has {digest[:12]}...; make them "
                "again with: regc calibrate"
            )

    def of(self, site: Site) -> Statistics | str:
        """The statistics of a weight; those that several weights share are read once, when these are neighbours."""
        entry = self._page["weights"].get(site.info.name)
        if entry is None:
            return f"{self.path} has none"
        if "reason" in entry:
            return str(entry["reason"])
        if self._last is None or self._last[0] != entry["entry"]:
            self._last = entry["entry"], self._read(entry)
        return self._last[1]

    def put(self, site: Site, term: Term, offset: Float32 | None = None) -> None:
        """What is stored was gathered on the original."""

    def original(self) -> AbstractContextManager[Original]:  # noqa: D102
        return nullcontext(self)

    def effect(self, site: Site, matrix: Float32) -> float | None:
        """Not known without inputs to run the model on."""
        return None

    def _read(self, entry: dict[str, Any]) -> Statistics:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = set(archive.namelist())
                arrays: dict[str, Any] = {}
                for name in _FIGURES:
                    member = f"{entry['entry']}.{name}.npy"
                    if member in names:
                        with archive.open(member) as file:
                            arrays[name] = np.asarray(npy.read_array(file, allow_pickle=False))
            return Statistics(count=entry["count"], runs=entry.get("runs"), **arrays)
        except (OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise RegcError(f"{self.path}: cannot be read ({error}); make it again with: regc calibrate") from error
