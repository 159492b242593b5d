"""A small classifier of real handwritten digits, trained here in NumPy within seconds, as an ONNX model.

The data are the 1,797 images of 8x8 pixels that scikit-learn ships (Alpaydin and Kaynak, UCI repository, 1998).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Float32 = npt.NDArray[np.float32]
Layers = list[tuple[Float32, Float32]]
TRAINED_ON = 1200


@dataclass(frozen=True)
class Digits:
    """Images float32 ``[n, 64]`` in 0..1 and labels int64 ``[n]``, one part to train on and one to score on."""

    train_x: Float32
    train_y: npt.NDArray[np.int64]
    test_x: Float32
    test_y: npt.NDArray[np.int64]


def load_digits() -> Digits:
    """The images in an order that is always the same."""
    from sklearn import datasets  # noqa: PLC0415 - a development dependency

    bunch = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.data))
    x, y = (bunch.data[order] / 16).astype(np.float32), bunch.target[order].astype(np.int64)
    return Digits(x[:TRAINED_ON], y[:TRAINED_ON], x[TRAINED_ON:], y[TRAINED_ON:])


def train(digits: Digits, hidden: int, epochs: int, seed: int = 0) -> Layers:
    """Weights ``[inputs, outputs]`` and biases of a 64-hidden-hidden-10 ReLU network, by Adam with weight decay."""
    rng = np.random.default_rng(seed)
    sizes = [64, hidden, hidden, 10]
    shapes = list(itertools.pairwise(sizes))
    layers = [(rng.normal(0, (2 / n) ** 0.5, (n, m)).astype(np.float32), np.zeros(m, np.float32)) for n, m in shapes]
    optimizer = _Adam([p for layer in layers for p in layer])
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(digits.train_x)), len(digits.train_x) // 60):
            noisy = digits.train_x[rows] + rng.normal(0, 0.1, (len(rows), 64)).astype(np.float32)
            optimizer.step(_gradients(layers, noisy, digits.train_y[rows]))
    return layers


def to_onnx(layers: Layers) -> onnx.ModelProto:
    """The network as Gemm and Relu nodes, from ``image`` float32 ``[batch, 64]`` to ``logits`` ``[batch, 10]``."""
    nodes, initializers, name = [], [], "image"
    for index, (weight, bias) in enumerate(layers):
        initializers += [
            numpy_helper.from_array(weight, f"fc{index}.weight"),
            numpy_helper.from_array(bias, f"fc{index}.bias"),
        ]
        last = index == len(layers) - 1
        output = "logits" if last else f"fc{index}"
        nodes.append(
            helper.make_node("Gemm", [name, f"fc{index}.weight", f"fc{index}.bias"], [output], name=f"fc{index}")
        )
        if not last:
            nodes.append(helper.make_node("Relu", [output], [f"{output}.relu"], name=f"relu{index}"))
        name = f"{output}.relu"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [logits], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_model(path: Path, hidden: int = 2048, epochs: int = 6) -> Path:
    """Train a network and write it."""
    onnx.save(to_onnx(train(load_digits(), hidden, epochs)), path)
    return path


def accuracy(logits: Float32, labels: npt.NDArray[np.int64]) -> float:
    """Share of images whose largest logit is the label's, in percent."""
    return 100 * float((logits.argmax(1) == labels).mean())


def _gradients(layers: Layers, x: Float32, labels: npt.NDArray[np.int64]) -> list[Float32]:
    """Gradients of the mean cross entropy for all weights and biases, in order."""
    inputs = [x]
    for weight, bias in layers[:-1]:
        inputs.append(np.maximum(inputs[-1] @ weight + bias, 0))
    logits = inputs[-1] @ layers[-1][0] + layers[-1][1]
    delta = np.exp(logits - logits.max(1, keepdims=True))
    delta /= delta.sum(1, keepdims=True)
    delta[np.arange(len(x)), labels] -= 1
    delta /= len(x)
    gradients: list[Float32] = []
    for (weight, _), entered in zip(reversed(layers), reversed(inputs), strict=True):
        gradients[:0] = [entered.T @ delta, delta.sum(0)]
        delta = (delta @ weight.T) * (entered > 0)
    return gradients


class _Adam:
    def __init__(self, parameters: list[Float32], rate: float = 1e-3, decay: float = 1e-2) -> None:
        self.parameters, self.rate, self.decay, self.count = parameters, rate, decay, 0
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]

    def step(self, gradients: list[Float32]) -> None:
        self.count += 1
        for parameter, gradient, (mean, square) in zip(self.parameters, gradients, self.moments, strict=True):
            np.add(mean, 0.1 * (gradient - mean), out=mean)
            np.add(square, 0.001 * (gradient * gradient - square), out=square)
            size = np.sqrt(square / (1 - 0.999**self.count)) + 1e-8
            step = mean / (1 - 0.9**self.count) / size + self.decay * parameter
            np.subtract(parameter, self.rate * step, out=parameter)
