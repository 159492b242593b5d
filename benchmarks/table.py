"""One table of one model: scores, file size and latency of the original, of what was made of it, and of dynamic int8.

    python -m benchmarks.table RESULT.json MODEL --int8 FILE [--file "PASSES=FILE"]... [--score MODULE:CALLABLE]
        [--sizes batch=1,seq=32]... [--threads 1]

The files are compiled before, by ``regc compile``. What a model is good for only its user knows: the callable of
``--score`` takes the path of a model and returns named numbers. Scoring and timing may be two calls, for the second of
which the machine should be idle: what RESULT.json knows of a file that is still the same is kept. The table is written
beside it as Markdown.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np

from benchmarks.models import INT8, Contender, dynamic_int8, measure, random_feed
from regc.compiler import cpu
from regc.compiler.feeds.imported import imported

ORIGINAL = "float32"


@dataclass
class Row:
    """Of one file: its bytes and hash, its scores, and the median seconds of a call by sizes of the inputs."""

    name: str
    bytes: int
    sha256: str
    scores: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@click.command()
@click.argument("result", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--int8", required=True, type=click.Path(dir_okay=False, path_type=Path), help="made if it is not there")
@click.option("--file", "files", multiple=True, help="PASSES=FILE: a compiled file, and what made it")
@click.option("--score", help="MODULE:CALLABLE, from the path of a model to named numbers")
@click.option("--sizes", multiple=True, help="of named dimensions; each is timed")
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=15, show_default=True)
def main(
    *,
    result: Path,
    model: Path,
    int8: Path,
    files: Sequence[str],
    score: str | None,
    sizes: Sequence[str],
    threads: int,
    rounds: int,
) -> None:
    """Score or time files, and write what is known of them as JSON and as a Markdown table."""
    contenders = list(_contenders(model, int8, files))
    known = json.loads(result.read_text("utf-8")) if result.exists() else {}
    rows = [_row(contender, known.get("rows", ())) for contender in contenders]
    commands: dict[str, str] = dict(known.get("commands", {}))
    if score is not None:
        scored = imported(score)
        found = {path: scored(path) for path in dict.fromkeys(contender.path for contender in contenders)}
        for row, contender in zip(rows, contenders, strict=True):
            row.scores = {key: float(number) for key, number in found[contender.path].items()}
        commands["scores"] = _command()
    if sizes:
        for row in rows:
            row.seconds = {}
        for text in sizes:
            timings = measure(contenders, text, random_feed(model, text), threads, rounds)
            for row, latency in zip(rows, timings, strict=True):
                row.seconds[text] = latency.timing.median
        commands["latency"] = _command()
    _write(result, model.name, threads if sizes else known.get("threads", threads), commands, rows)


def _write(result: Path, model: str, threads: int, commands: Mapping[str, str], rows: Sequence[Row]) -> None:
    about = {"model": model, "threads": threads, "machine": _machine(), "commands": commands}
    text = json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1)
    result.write_text(f"{text}\n", encoding="utf-8")
    table, where = markdown(rows), f"Latency with {threads} thread{'s' * (threads > 1)}. {_machine()}."
    parts = [f"# {model}", table, where, *(f"{key}: `{command}`" for key, command in commands.items())]
    result.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    click.echo(table)


def markdown(rows: Sequence[Row]) -> str:
    """The table: milliseconds and how many times as fast as the first row, for each of the sizes."""
    scores = dict.fromkeys(key for row in rows for key in row.scores)
    sizes = dict.fromkeys(size for row in rows for size in row.seconds)
    heads = ["passes", "file MB", *scores, *(f"{size}: ms, speed" for size in sizes)]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        line = [f"`{row.name}`", f"{row.bytes / 1e6:.2f}"]
        line += [f"{row.scores[key]:.4g}" if key in row.scores else "" for key in scores]
        line += [_speed(row, rows[0], size) for size in sizes]
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _speed(row: Row, first: Row, size: str) -> str:
    if size not in row.seconds or size not in first.seconds:
        return ""
    return f"{row.seconds[size] * 1e3:.2f}, {first.seconds[size] / row.seconds[size]:.2f}x"


def _contenders(model: Path, int8: Path, files: Sequence[str]) -> Iterator[Contender]:
    yield Contender(ORIGINAL, model)
    for text in files:
        name, _, path = text.rpartition("=")
        if not name or not Path(path).is_file():
            raise click.UsageError(f"--file takes PASSES=FILE, got {text}: there is no file {path}")
        yield Contender(name, Path(path))
    made = int8 if int8.exists() else dynamic_int8(model, int8)
    yield Contender(INT8, made)
    yield Contender(f"{INT8}, no SkipLayerNorm", made, ("SkipLayerNormFusion",))  # see benchmarks.models


def _row(contender: Contender, known: Sequence[Mapping[str, object]]) -> Row:
    """What is known of a file with these bytes; of external data the size counts."""
    digest = hashlib.sha256(contender.path.read_bytes()).hexdigest()
    row = Row(contender.name, contender.nbytes, digest)
    for entry in known:
        if (entry["name"], entry["sha256"], entry["bytes"]) == (row.name, digest, row.bytes):
            return Row(**entry)  # type: ignore[arg-type] - as asdict wrote it
    return row


def _machine() -> str:
    """The CPU and the versions that numbers depend on."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, ONNX Runtime {version('onnxruntime')}"
    return f"{cpu.name()}, {versions}"


def _command() -> str:
    """This command, without the folders of its files."""
    return shlex.join(["python", "-m", "benchmarks.table", *(re.sub(r"[^=\s]*/", "", part) for part in sys.argv[1:])])


if __name__ == "__main__":
    main()
