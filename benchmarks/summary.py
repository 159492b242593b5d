"""What `python -m benchmarks.kernels --json` found, as the table and the picture of the README.

python -m benchmarks.summary results.json [--threads 1] [--over "int8 dynamic"] [--plot kernels.svg]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.plot import draw
from benchmarks.speeds import Speed, summarize


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--threads", default=1, show_default=True)
@click.option("--over", default="float32", show_default=True, help="The contender that others are compared with.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw a picture, as SVG.")
def main(results: Path, threads: int, over: str, plot: Path | None) -> None:
    """Print the speed over float32, or over another contender, as a Markdown table."""
    found = [r for r in json.loads(results.read_text()) if r["threads"] == threads]
    if not found:
        raise click.UsageError(f"{results} has no result with {threads} threads")
    if over not in {r["contender"] for r in found}:
        raise click.UsageError(f"{results} has no result of {over}, only of {sorted({r['contender'] for r in found})}")
    speeds = summarize(found, over)
    print(markdown(speeds))
    if plot is not None:
        shapes = dict.fromkeys(r["shape"] for r in found)
        draw(speeds, plot, f"{', '.join(shapes)}; {threads} thread{'s' * (threads > 1)}")


def markdown(speeds: Sequence[Speed]) -> str:
    """A row a contender, a column for each number of rows; ours in bold."""
    rows = sorted({speed.rows for speed in speeds})
    names = dict.fromkeys(speed.contender for speed in speeds)
    cells = {(speed.contender, speed.rows): speed for speed in speeds}
    lines = ["| | " + " | ".join(f"{n} row{'s' * (n > 1)}" for n in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for name in names:
        found = [cells.get((name, n)) for n in rows]
        mark = "**" if any(speed and speed.ours for speed in found) else ""
        texts = [f"{mark}{speed.mean:.1f}{mark}" if speed else "" for speed in found]
        lines.append(f"| {mark}{name}{mark} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
