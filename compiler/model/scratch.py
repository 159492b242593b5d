"""A place on disk for the weights that passes make, until they are saved."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from regc.compiler.errors import RegcError
from regc.compiler.model.storage import Array, ArrayValues, FileValues, Region, StoredValues

SMALL = 64 << 10
"""Arrays below this many bytes are not worth a place in the temporary file."""
ALIGNMENT = 64


class Store:
    """Parks arrays in one anonymous temporary file, which vanishes with the last of them.

    The file lies in ``folder``. Without one, in the folder that TMPDIR names, else in /var/tmp, because /tmp
    is memory on many machines.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or scratch_folder()
        self._file: IO[bytes] | None = None

    def spill(self, array: Array) -> StoredValues:
        """Values that stand for the array; small ones stay in memory as a copy.

        Raises RegcError when there is no room.
        """
        array = np.asarray(array)
        if array.nbytes < SMALL or array.dtype.kind == "O":
            copy = array.copy()
            copy.flags.writeable = False
            return ArrayValues(copy)
        values = ArrayValues(array)
        try:
            return FileValues(values.header, self._append(values))
        except OSError as error:
            raise RegcError(
                f"{self._folder}: no room to park {array.nbytes} bytes ({error.strerror}); set TMPDIR to a "
                "folder with room"
            ) from error

    def _append(self, values: StoredValues) -> Region:
        self._file = self._file or tempfile.TemporaryFile(  # noqa: SIM115  open for as long as anybody reads it
            dir=self._folder, buffering=0
        )
        offset = self._file.seek(0, os.SEEK_END)
        offset = self._file.seek(offset + -offset % ALIGNMENT)
        for chunk in values.chunks():
            self._file.write(chunk)
        return Region(self._file, offset, values.nbytes)


def scratch_folder() -> Path:
    """Where temporary files go: TMPDIR if it is set, else /var/tmp, for /tmp is memory on many machines."""
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    roomy = Path("/var/tmp")
    return roomy if not named and os.access(roomy, os.W_OK) else Path(tempfile.gettempdir())
