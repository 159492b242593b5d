"""Ternary or float32, trained alike: the claim of BitNet b1.58 Reloaded that small vision models lose nothing.

    python -m benchmarks.train_ternary                                # 8x8 digits, which scikit-learn ships
    python -m benchmarks.train_ternary --data mnist.npz --train 1000  # arrays x [n, 28, 28] and y [n], or Keras's

One convolutional network of the same size is trained in float32 and with ternary weights, scaled by their median and by
their mean, from the same start, on the same batches, with the same rates. BitNet also normalizes what flows into linear
layers: ``normalized`` is float32 with that. The ternary ones are exported and compiled with the pass ``ternary``, which
must find every weight as it is, and scored in ONNX Runtime with our operators. What is scored was not trained on, and
nothing was chosen by it: ``--tune`` scores on the last fifth of the images to train on.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import digits
from regc.compiler import compile_model
from regc.passes import Ternary
from regc.passes.ternary.regularizer import anneal, bitnet, fold
from regc.runtime_ops import make_session

Float32 = npt.NDArray[np.float32]
KINDS = ("float32", "normalized", "median", "mean")


@dataclass(frozen=True)
class Images:
    """Images float32 ``[n, 1, height, width]`` in 0..1 and labels int64 ``[n]``."""

    x: Tensor
    y: Tensor

    def part(self, rows: slice) -> Images:
        """Some of them."""
        return Images(self.x[rows], self.y[rows])


def load(path: Path | None, count: int | None) -> tuple[Images, Images]:
    """What is trained on and what is scored: the first ``count`` images, if given, and the others."""
    if path is None:
        found = digits.load_digits()
        x, y = np.concatenate([found.train_x, found.test_x]), np.concatenate([found.train_y, found.test_y])
        whole, count = _images(x.reshape(-1, 8, 8), y), count or digits.TRAINED_ON
    else:
        data = np.load(path)
        if "x_train" in data:
            train, test = _images(data["x_train"] / 255, data["y_train"]), _images(data["x_test"] / 255, data["y_test"])
            return train.part(slice(0, count)), test
        whole, count = _images(data["x"] / 255, data["y"]), count or len(data["x"]) // 2
    return whole.part(slice(0, count)), whole.part(slice(count, None))


def _images(x: npt.NDArray[np.floating], y: npt.NDArray[np.integer]) -> Images:
    return Images(torch.from_numpy(x.astype(np.float32)[:, None]), torch.from_numpy(y.astype(np.int64)))


def network(size: int, width: int) -> nn.Sequential:
    """Two convolutions and two linear layers for images of ``size`` by ``size`` pixels."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (size // 4) ** 2, 8 * width),
        nn.ReLU(),
        nn.Linear(8 * width, 10),
    )


def train(model: nn.Module, images: Images, epochs: int, rate: float, seed: int) -> nn.Module:
    """AdamW with a cosine schedule, on batches of 50, moved by up to a fourteenth of their size either way."""
    random = torch.Generator().manual_seed(seed)
    batches = -(-len(images.y) // 50)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(images.y), generator=random).chunk(batches):
            x = _moved(images.x[rows], random)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), images.y[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _moved(x: Tensor, random: torch.Generator) -> Tensor:
    reach = round(x.shape[-1] / 14)
    down, right = torch.randint(-reach, reach + 1, (2, len(x)), generator=random)
    places = torch.arange(x.shape[-1])
    padded = functional.pad(x, (reach,) * 4)
    rows = (places + reach + down[:, None])[:, None, :, None]
    columns = (places + reach + right[:, None])[:, None, None, :]
    return padded[torch.arange(len(x))[:, None, None, None], 0, rows, columns]


def score(logits: Float32, images: Images) -> float:
    """Percent of images whose largest logit is the label's."""
    return digits.accuracy(logits, images.y.numpy())


def compiled(model: nn.Module, images: Images) -> tuple[float, int]:
    """The score of a ternary network in ONNX Runtime after it was folded, exported and compiled, and its file's bytes.

    Raises:
        RuntimeError: a weight was not found to be ternary.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "model.onnx", Path(folder) / "small.onnx"
        export(fold(copy.deepcopy(model)), images.x[:1], path)
        result = compile_model(path, [Ternary()])
        for record in result.records:
            if record.changed and record.error != 0:
                raise RuntimeError(f"{record.info.name}: {record.after}, error {record.error}")
        result.save(small)
        return score(make_session(small, threads=1).run(None, {"x": images.x.numpy()})[0], images), small.stat().st_size


def export(model: nn.Module, x: Tensor, path: Path) -> None:
    """From ``x`` with any number of images to ``logits``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but the only exporter that needs no other package
        torch.onnx.export(
            model.eval(),
            (x,),
            path,
            dynamo=False,
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes={"x": {0: "n"}},
        )


def main() -> None:
    """Train, compile, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="an .npz file of images; none: the digits of scikit-learn")
    parser.add_argument("--train", type=int, help="how many images are trained on")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--tune", action="store_true", help="score on a part of the images that are trained on")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    known, unseen = load(chosen.data, chosen.train)
    if chosen.tune:
        cut = len(known.y) * 4 // 5
        known, unseen = known.part(slice(0, cut)), known.part(slice(cut, None))
    table = Table(title=f"{len(known.y)} images to train on, {len(unseen.y)} to score, {chosen.seeds} seeds")
    for heading in ("weights", "trained", "compiled", "file"):
        table.add_column(heading)
    for kind in chosen.kinds:
        table.add_row(kind, *_row(kind, known, unseen, chosen))
    Console().print(table)


def _row(kind: str, known: Images, unseen: Images, chosen: argparse.Namespace) -> tuple[str, str, str]:
    trained, scored, size = [], [], 0
    for seed in range(chosen.seeds):
        torch.manual_seed(seed)
        model = network(known.x.shape[-1], chosen.width)
        if kind == "normalized":
            anneal(bitnet(model, activations="float32"), 0)
        elif kind != "float32":
            bitnet(model, measure=kind, activations="operator")  # type: ignore[arg-type]
        train(model, known, chosen.epochs, chosen.rate, seed)
        with torch.no_grad():
            trained.append(score(model(unseen.x).numpy(), unseen))
        if kind in ("float32", "normalized"):
            size = 4 * sum(parameter.numel() for parameter in model.parameters())
        else:
            found, size = compiled(model, unseen)
            scored.append(found)
        shown = f", compiled {scored[-1]:.2f} %" if scored else ""
        print(f"{kind}, seed {seed}: {trained[-1]:.2f} %{shown}", flush=True)
    return _mean(trained), _mean(scored) if scored else "", f"{size / 1000:.0f} kB"


def _mean(scores: list[float]) -> str:
    return f"{np.mean(scores):.2f} % +- {np.std(scores):.2f}"


if __name__ == "__main__":
    main()
