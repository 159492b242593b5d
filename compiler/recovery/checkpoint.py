"""The state of a training in one ``.npz`` file, replaced as a whole."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regc.compiler.errors import RegcError, UsageError

State = dict[str, Tensor]


def write(path: Path, state: Mapping[str, Tensor], numbers: Mapping[str, float | str]) -> None:
    """Write tensors and numbers; a file that was there before is as it was until the new one is whole.

    Raises:
        RegcError: the file cannot be written.
    """
    arrays: dict[str, Any] = {f"tensor.{key}": value.detach().numpy() for key, value in state.items()}
    arrays |= {f"number.{key}": np.array(value) for key, value in numbers.items()}
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            np.savez(file, **arrays)
        draft.replace(path)
    except OSError as error:
        raise RegcError(f"{path}: the checkpoint cannot be written ({error.strerror}); give another place") from error


def read(path: Path) -> tuple[State, dict[str, Any]] | None:
    """What :func:`write` wrote; None when there is no such file.

    Raises:
        UsageError: the file is something else.
    """
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            arrays = {key: np.array(file[key]) for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is no checkpoint of a recovery; remove it, or give another place") from error
    state = {key[7:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("tensor.")}
    return state, {key[7:]: value.item() for key, value in arrays.items() if key.startswith("number.")}
