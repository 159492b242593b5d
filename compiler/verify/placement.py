"""Where ONNX Runtime runs the nodes of a model: on the provider that was asked for, or elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from regc.compiler.feeds.inputs import Feed
from regc.compiler.verify.running import Runner, run

_COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost"})
_KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Elsewhere:
    """What a session runs on another provider than the first that was asked for.

    ``nodes`` are ``name (operator) on provider``; ``copies`` the names of the copies that ONNX Runtime added between
    the memory of the host and of the device.
    """

    provider: str
    nodes: tuple[str, ...]
    copies: tuple[str, ...]


def elsewhere(runner: Runner, path: Path, feed: Feed, library: bool) -> Elsewhere:
    """Run a model once, profiled, and see where its nodes were. Raises whatever ONNX Runtime raises."""
    with TemporaryDirectory() as folder:
        session = runner.open(path, library, profile=Path(folder) / "profile")
        run(session, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return read_profile(events, runner.providers[0])


def read_profile(events: Sequence[dict[str, object]], provider: str) -> Elsewhere:
    """What the events of a profile of ONNX Runtime tell of the nodes that did not run on a provider."""
    nodes: dict[str, None] = {}
    copies: dict[str, None] = {}
    for event in events:
        name, arguments = str(event.get("name", "")), event.get("args")
        if event.get("cat") != "Node" or not name.endswith(_KERNEL) or not isinstance(arguments, dict):
            continue
        name = name.removesuffix(_KERNEL)
        if arguments.get("op_name") in _COPIES:
            copies[name] = None
        elif arguments.get("provider") != provider:
            nodes[f"{name} ({arguments.get('op_name')}) on {arguments.get('provider')}"] = None
    return Elsewhere(provider, tuple(nodes), tuple(copies))
