"""The errors that regc shows to its users: one line that names the file, the node and the remedy."""

from __future__ import annotations

from typing import ClassVar


class RegcError(Exception):
    """Something failed. The message is one line: file, node, remedy."""

    exit_code: ClassVar[int] = 1
    """What the command line exits with."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ModelError(RegcError):
    """The input model is broken, or is something that regc cannot read."""


class MissingError(ModelError):
    """There is no model at a path: a wrong path is a wrong use, as with any other file."""

    exit_code: ClassVar[int] = 2


class UsageError(RegcError):
    """An option, a pass text, a selector or a path that cannot be meant."""

    exit_code: ClassVar[int] = 2
