"""Text that a language model writes itself, as calibration inputs, so that no data is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.feeds.inputs import Feed, Input, inputs_of
from regc.compiler.feeds.source import Source

if TYPE_CHECKING:
    from regc.compiler.model import Model

Ids = npt.NDArray[np.int64]
TEXTS = 128
LENGTH = 128
"""Tokens of a text."""
TOGETHER = 8
"""Texts in a feed."""
_FATAL = 4
"""ONNX Runtime's log level at which it leaves it to exceptions to tell what is wrong."""
_NAME = re.compile(r"generated(?::(\d+))?")
_REMEDY = "give calibration inputs by a file or package.module:callable"


def generated(given: object, texts: int | None, seed: int) -> Generated | None:
    """The source that ``generated`` or ``generated:1`` names, whose texts begin with any token or with token 1; None
    for anything else.
    """
    found = _NAME.fullmatch(str(given)) if isinstance(given, str | Path) else None
    if found is None or Path(found[0]).exists():
        return None
    return Generated(texts or TEXTS, int(found[1]) if found[1] else None, seed)


class Generated(Source):
    """Texts drawn token by token from what the model itself predicts, once :meth:`bind` has said which.

    The model takes token ids ``[texts, tokens]`` and gives logits ``[texts, tokens, vocabulary]``. Keys and values of
    earlier tokens may be among its inputs: they are left empty, and each token reads all before it again.
    """

    def __init__(self, texts: int, start: int | None, seed: int) -> None:
        self.size = self.texts = texts
        self.words = f"{texts} texts that the model wrote"
        self.start, self.seed = start, seed
        self._model: str | bytes | None = None
        self._feeds: list[Feed] | None = None

    def bind(self, model: Model) -> None:
        """Let this model write, as it is now."""
        if self._model is None:
            self._model = str(model.path) if model.path is not None else model.to_proto().SerializeToString()

    def count(self, samples: int, inputs: Sequence[Input]) -> int:  # noqa: D102
        return -(-samples // TOGETHER)

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:  # noqa: D102
        if self._feeds is None:
            self._feeds = list(self._written())
        yield from self._feeds

    def _written(self) -> Iterator[Feed]:
        if self._model is None:
            raise UsageError(f"{self.words}: it is not known which; call bind")
        import onnxruntime  # noqa: PLC0415 - slow to import

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        rng = np.random.default_rng(self.seed)
        writer = _Writer.of(onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"]))
        for begun in range(0, self.texts, TOGETHER):
            fixed = writer.ids.shape[0]
            count = fixed if isinstance(fixed, int) else min(TOGETHER, self.texts - begun)
            yield writer.feed(writer.text(count, self.start, rng))


@dataclass(frozen=True)
class _Writer:
    """A session of a language model: its token ids, what else it takes, and where its logits are."""

    session: Any
    ids: Input
    others: tuple[Input, ...]
    logits: str

    @classmethod
    def of(cls, session: Any) -> _Writer:
        inputs = inputs_of(session)
        ids = [i for i in inputs if i.dtype in (np.int32, np.int64) and len(i.shape) == 2 and not _role(i)]
        outputs = [node.name for node in session.get_outputs() if len(node.shape) == 3 and node.type != "tensor(int64)"]
        if len(ids) != 1 or not outputs or isinstance(ids[0].shape[1], int):
            raise UsageError(
                "this is no language model that can write: it needs one input of token ids [texts, tokens] of any "
                f"length, and logits [texts, tokens, vocabulary]; {_REMEDY}"
            )
        return cls(session, ids[0], tuple(i for i in inputs if i is not ids[0]), outputs[0])

    def text(self, count: int, start: int | None, rng: np.random.Generator) -> Ids:
        """Token ids ``[count, LENGTH]``, fewer where the model takes no more."""
        vocabulary = self._next(np.zeros((count, 1), np.int64)).shape[-1]
        if start is not None and start >= vocabulary:
            raise UsageError(f"generated:{start}: the model has tokens 0 to {vocabulary - 1}")
        ids = rng.integers(0, vocabulary, (count, 1)) if start is None else np.full((count, 1), start)
        while ids.shape[1] < LENGTH:
            scores = self._next(ids) + rng.gumbel(size=(count, vocabulary))
            ids = np.concatenate([ids, scores.argmax(-1)[:, None]], axis=1)
        return ids

    def feed(self, ids: Ids) -> Feed:
        """All inputs for some token ids."""
        values = {self.ids.name: ids.astype(self.ids.dtype)}
        return values | {other.name: _filled(other, ids) for other in self.others}

    def _next(self, ids: Ids) -> npt.NDArray[np.float64]:
        """The logits of the token that comes next, ``[texts, vocabulary]``."""
        try:
            found = self.session.run([self.logits], self.feed(ids))[0]
        except Exception as error:
            raise RegcError(
                f"the model cannot write a text of {ids.shape[1] + 1} tokens ({error}); {_REMEDY}"
            ) from error
        return np.asarray(found[:, -1], np.float64)


def _role(other: Input) -> str:
    """What an input is beside the token ids, by its name; empty where that cannot be told."""
    return next((role for role in ("mask", "position", "type", "past", "cache") if role in other.name.lower()), "")


def _filled(other: Input, ids: Ids) -> npt.NDArray[Any]:
    """What an input holds while a text is read from its beginning, with nothing kept from before."""
    role, dtype = _role(other), other.dtype
    if dtype is not None and len(other.shape) == 2 and role in ("mask", "position", "type"):
        rows = {"mask": np.ones_like(ids), "position": np.arange(ids.shape[1]) + np.zeros_like(ids)}
        return rows.get(role, np.zeros_like(ids)).astype(dtype)
    if dtype is not None and role in ("past", "cache") and len(other.shape) != 2:
        sizes = [
            size if isinstance(size, int) else len(ids) if axis == 0 else 0 for axis, size in enumerate(other.shape)
        ]
        return np.zeros(sizes, dtype)
    raise UsageError(f"the model also takes {other}, and it cannot be told what that is in a text; {_REMEDY}")
