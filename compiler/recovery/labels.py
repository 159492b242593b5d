"""Labels beside the teacher: the classes of the calibration inputs, and how much they should count.

With weight a on the labels, what a student predicts is affine in a where the student is a kernel machine ("Even your
Teacher Needs Guidance"), ``f_a = a f_1 + (1 - a) f_0``, so that the best weight has a closed form:
``a = <y - f_0, f_1 - f_0> / |f_1 - f_0|^2``, cut to 0..1. As proposed there for deep networks, two short trainings, one
on labels alone and one on the teacher alone, give f_1 and f_0, here on samples that neither was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from regc.compiler.errors import UsageError
from regc.compiler.feeds.inputs import Feed

NAME = "regc.labels"
"""Under which labels go along with the inputs of their samples."""
PILOT = 0.125
"""Share of the budget that each of the two short trainings gets."""


def labelled(feeds: Sequence[Feed], path: Path) -> list[Feed]:
    """Feeds with their labels: integers ``[samples]`` of a ``.npy`` file, in the order of the feeds.

    Raises:
        UsageError: the file is something else, or is not one label for each sample.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: labels are a .npy file of integers, and this cannot be read as one") from error
    sizes = [len(next(iter(feed.values()))) for feed in feeds]
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != (sum(sizes),):
        told = f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, np.ndarray) else "several arrays"
        raise UsageError(f"{path}: labels are integers [{sum(sizes)}], one for each calibration sample, not {told}")
    parts = np.split(labels.astype(np.int64), np.cumsum(sizes)[:-1])
    return [{**feed, NAME: part} for feed, part in zip(feeds, parts, strict=True)]


def scores_at(targets: Sequence[Tensor], outputs: int, labels: Tensor) -> int:
    """Which of the teacher's tensors has the scores of all classes, of the last ``outputs`` ones.

    Raises:
        UsageError: none has a score for each class that there is.
    """
    for index in range(len(targets) - outputs, len(targets)):
        if targets[index].dim() == 2 and targets[index].shape[1] > int(labels.max()) and int(labels.min()) >= 0:
            return index
    raise UsageError("labels need an output of the model with scores [samples, classes]; leave them out")


def weight_of(labels: Tensor, by_labels: Tensor, by_teacher: Tensor) -> float:
    """The weight of labels ``[n]`` for which predictions between two, float32 ``[n, classes]``, are nearest to them."""
    moved = by_labels - by_teacher
    wanted = functional.one_hot(labels, by_teacher.shape[1]).to(moved.dtype) - by_teacher
    length = float(moved.square().sum())
    return min(1.0, max(0.0, float((wanted * moved).sum()) / length)) if length > 0 else 0.0


def with_labels(loss: Tensor, scores: Tensor, labels: Tensor, weight: float) -> Tensor:
    """The loss by the teacher and by the labels; a weight of 1 leaves the teacher out."""
    if weight == 0:
        return loss
    hard = functional.cross_entropy(scores, labels)
    return hard if weight == 1 else torch.lerp(loss, hard, weight)
