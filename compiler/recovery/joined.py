"""Several nodes as one function of PyTorch, where nothing else reads what is between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from torch import Tensor


@dataclass(frozen=True)
class Joined:
    """What several nodes compute: ``compute(*sources)``, in the place of ``last``, without the ``others``."""

    sources: tuple[gs.Tensor, ...]
    compute: Callable[..., Tensor]
    last: gs.Node
    others: tuple[gs.Node, ...]
