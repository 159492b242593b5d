"""What of a model can be run, and what the original has to teach about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from regc.compiler.model import Model
from regc.compiler.recovery.features import Features, find_features
from regc.compiler.recovery.network import UNCHANGED, Changes, Network, NodeError
from regc.compiler.sites import Site


def network_of(model: Model, changes: Changes, features: Features) -> Network:
    """The model as a function that gives the features, with changes in place of some of its weights."""
    return Network(model.graph, model.opset, features.all, changes)


def teaching(
    original: Model, model: Model, used: Sequence[Site], inputs: Mapping[str, Tensor]
) -> tuple[Features, Network]:
    """Features of the model that the original has, too, and the original as a function that gives them.

    Some tensors may have lost units. ``used`` are the weights that are to train; ``inputs`` is what it is tried with.
    """
    features = _runnable(model, used, inputs)
    if original is model:
        return features, network_of(model, UNCHANGED, features)
    named = original.graph.tensors()
    features = features.some(lambda tensor: tensor.name in named)
    theirs = features.by_name(named)
    with torch.no_grad():
        found = network_of(model, UNCHANGED, features).run(inputs)
        taught = network_of(original, UNCHANGED, theirs).run(inputs)
    alike = {tensor.name for tensor, s, t in zip(features.all, found, taught, strict=True) if s.shape == t.shape}
    features = features.some(lambda tensor: tensor.name in alike)
    return features, network_of(original, UNCHANGED, features.by_name(named))


def _runnable(model: Model, used: Sequence[Site], inputs: Mapping[str, Tensor]) -> Features:
    """What can be run of the model: nodes are left out until the rest runs."""
    broken: dict[int, str] = {}
    while True:
        features = find_features(model.graph, used, broken)
        try:
            with torch.no_grad():
                network_of(model, UNCHANGED, features).run(inputs)
        except NodeError as error:
            broken[error.node] = str(error)
        else:
            return features
