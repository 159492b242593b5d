"""Small networks trained in PyTorch, and their exports."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

Batch = tuple[Tensor, Tensor]


def problem(inputs: int = 32, classes: int = 8, count: int = 512, seed: int = 0) -> Batch:
    """Rows float32 ``[count, inputs]`` around a centre for each class, and their classes."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, inputs, generator=random)
    labels = torch.randint(classes, (count,), generator=random)
    return centres[labels] + torch.randn(count, inputs, generator=random), labels


def perceptron(inputs: int = 32, hidden: int = 64, classes: int = 8, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


def batches(data: Batch, steps: int, size: int = 64) -> Iterator[Batch]:
    x, y = data
    for step in range(steps):
        rows = (torch.arange(size) + step * size) % len(x)
        yield x[rows], y[rows]


def train(
    model: nn.Module,
    data: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    extra: Callable[[], Tensor] = lambda: torch.zeros(()),
) -> None:
    """Steps on the cross entropy and an extra term."""
    for x, y in data:
        optimizer.zero_grad()
        (functional.cross_entropy(model(x), y) + extra()).backward()
        optimizer.step()


def accuracy(model: nn.Module, data: Batch) -> float:
    with torch.no_grad():
        return float((model(data[0]).argmax(1) == data[1]).float().mean())


def exported(model: nn.Module, x: Tensor) -> onnx.ModelProto:
    """The model from ``x`` to ``y`` with any number of rows, by the exporter that needs no other package."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated; the other one needs onnxscript
        torch.onnx.export(
            model.eval(),
            (x,),
            file,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    proto = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(proto, full_check=True)
    return proto
