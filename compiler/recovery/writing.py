"""On-policy distillation: the student goes on with texts by itself, and the teacher says what it would have predicted.

A student that only reads texts of others never meets its own mistakes, which are what it reads when it writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regc.compiler.errors import UsageError
from regc.compiler.recovery.network import Network

WRITTEN = 8
"""Tokens that a student writes in a text; for each it reads all before."""
_REMEDY = "leave on_policy out"


@dataclass
class Writing:
    """Texts ``ids``, by the name of their input, of tokens 0 to ``tokens - 1``, in a ``share`` of which ``student``
    writes some tokens from anywhere on; what follows them stays. Without a student all stay as they are.
    """

    ids: str
    tokens: int
    share: float
    student: Network | None = None

    @classmethod
    def of(cls, rows: Mapping[str, int], share: float) -> Writing:
        """For a model that looks up ``rows`` tokens by the inputs of these names.

        Raises:
            UsageError: there is not just one such input.
        """
        if len(rows) != 1:
            raise UsageError(f"on_policy is for language models, which look up tokens by one input; {_REMEDY}")
        ((ids, tokens),) = rows.items()
        return cls(ids, tokens, share)

    def mixed(self, inputs: Mapping[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
        """The inputs with what the student wrote.

        Raises:
            UsageError: the model gives no logits for each token.
        """
        texts = inputs[self.ids]
        length = texts.shape[1]
        hit = torch.from_numpy(rng.random(len(texts)) < self.share)
        if self.student is None or length < 2 or not hit.any():
            return dict(inputs)
        begin = int(rng.integers(1, length))
        written = {name: values[hit].clone() for name, values in inputs.items()}
        for place in range(begin, min(begin + WRITTEN, length)):
            logits = self._logits(self.student, written)[:, place - 1]
            chance = torch.from_numpy(rng.gumbel(size=tuple(logits.shape))).to(logits.dtype)
            written[self.ids][:, place] = (logits + chance).argmax(-1).to(texts.dtype)
        changed = texts.clone()
        changed[hit] = written[self.ids]
        return {**inputs, self.ids: changed}

    def _logits(self, student: Network, inputs: Mapping[str, Tensor]) -> Tensor:
        shape = (*inputs[self.ids].shape, self.tokens)
        with torch.no_grad():
            found = logits_of(student.run(inputs), shape)
        if found is None:
            raise UsageError(f"on_policy needs logits {list(shape)}, which no output of the model has; {_REMEDY}")
        return found


def logits_of(tensors: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor | None:
    """The last of some tensors that has this shape."""
    return next((tensor for tensor in reversed(tensors) if tuple(tensor.shape) == shape), None)
