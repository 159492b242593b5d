"""Speeds over float32 as bars, a panel for each number of rows: an SVG that is legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.speeds import Speed

LINE, TOP, NAMES, BAR = 20, 70, 130, 13
"""Pixels: height of a contender's line, space above the lines, width of the names, height of a bar."""
PANELS, PANEL = 570, 230
"""Pixels: least width of all panels together, and of one."""
STYLE = """
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f2933 }
.title { font-weight: 600 } .ours { fill: #0f766e } .stock { fill: #b8bec7 } .range { stroke: #1f2933 }
.one { stroke: #1f2933; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) {
text { fill: #dfe5ec } .ours { fill: #2dd4bf } .stock { fill: #5b6672 } .range, .one { stroke: #dfe5ec }
}"""


def draw(speeds: Sequence[Speed], path: Path, subtitle: str) -> None:
    """Write the picture: bars are geometric means over the shapes, lines go from the least to the most of them."""
    rows = sorted({speed.rows for speed in speeds})
    names = list(dict.fromkeys(speed.contender for speed in speeds if speed.contender != "float32"))
    each = max(PANELS // len(rows), PANEL)
    width, height = NAMES + each * len(rows), TOP + LINE * len(names) + 8
    parts = [_text(0, 14, "Speed over ONNX Runtime's float32 MatMul", ' class="title"'), _text(0, 32, subtitle)]
    parts += [_text(NAMES - 8, _line(i), name, ' text-anchor="end"') for i, name in enumerate(names)]
    for i, count in enumerate(rows):
        panel = [speed for speed in speeds if speed.rows == count and speed.contender in names]
        parts.append(f'<g transform="translate({NAMES + each * i})">{_panel(panel, names, each)}</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    path.write_text("\n".join([f"{head}<style>{STYLE}</style>", *parts, "</svg>\n"]))


def _line(index: int) -> float:
    """The base line of a contender's text."""
    return TOP + LINE * index + 12


def _panel(speeds: Sequence[Speed], names: Sequence[str], width: int) -> str:
    count = speeds[0].rows
    scale = (width - 50) / max(speed.most for speed in speeds)
    parts = [_text(0, TOP - 12, f"{count} row" + "s" * (count > 1), ' class="title"')]
    for speed in speeds:
        y = _line(names.index(speed.contender)) - 11
        middle, kind = y + BAR / 2, "ours" if speed.ours else "stock"
        parts.append(f'<rect class="{kind}" y="{y:g}" width="{speed.mean * scale:.1f}" height="{BAR}"/>')
        parts.append(_stroke("range", speed.least * scale, middle, speed.most * scale, middle))
        parts.append(_text(speed.most * scale + 5, y + 11, f"{speed.mean:.1f}"))
    return "".join([*parts, _stroke("one", scale, TOP - 4, scale, TOP + LINE * len(names))])


def _stroke(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:g}" x2="{to_x:.1f}" y2="{to_y:g}"/>'


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:g}"{attributes}>{escape(words)}</text>'
