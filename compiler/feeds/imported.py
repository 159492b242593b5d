"""Objects named as ``package.module:name``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regc.compiler.errors import UsageError


def imported(text: str) -> Callable[..., Any]:
    """The callable that ``package.module:name`` names; modules in the working folder are found too.

    Raises:
        UsageError: it cannot be imported, or is no callable.
    """
    module, _, name = text.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{text}: cannot be imported ({error}); write package.module:callable, or the path of a file that exists"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise UsageError(f"{text}: is a {type(found).__name__}; name a callable that yields feeds")
    return found  # type: ignore[no-any-return]
