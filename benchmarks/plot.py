"""Speeds over float32 as bars, a panel for each number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from benchmarks.summary import Speed

OURS, STOCK, INK = "#0f766e", "#b8bec7", "#1f2933"


def draw(speeds: Sequence[Speed], path: Path, subtitle: str) -> None:
    """Write the picture: bars are geometric means over the shapes, lines go from the least to the most of them."""
    mpl.rcParams |= {"svg.hashsalt": "regc", "font.size": 9, "text.color": INK, "axes.labelcolor": INK}
    rows = sorted({speed.rows for speed in speeds})
    names = list(dict.fromkeys(speed.contender for speed in speeds if speed.contender != "float32"))
    figure, panels = plt.subplots(1, len(rows), sharey=True, figsize=(2.6 * len(rows) + 1.4, 0.24 * len(names) + 1.3))
    for panel, count in zip([panels] if len(rows) == 1 else panels, rows, strict=True):
        _panel(panel, [s for s in speeds if s.rows == count and s.contender in names], names)
        panel.set_title(f"{count} row{'s' * (count > 1)}", fontsize=10, loc="left")
    figure.suptitle(f"Speed over ONNX Runtime's float32 MatMul ({subtitle})", x=0.01, ha="left", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _panel(panel: Any, speeds: Sequence[Speed], names: Sequence[str]) -> None:
    for speed in speeds:
        y = names.index(speed.contender)
        panel.barh(y, speed.mean, height=0.72, color=OURS if speed.ours else STOCK)
        panel.plot([speed.least, speed.most], [y, y], color=INK, linewidth=0.8)
        panel.text(speed.most, y, f" {speed.mean:.1f}", va="center", fontsize=8)
    panel.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xlim(0, max((speed.most for speed in speeds), default=1) * 1.18)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="y", length=0)
