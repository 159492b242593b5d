"""Models in ONNX Runtime: sessions with our operator library or without, quiet on stderr, with errors as one
line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regc.compiler.errors import UsageError
from regc.compiler.feeds.inputs import Feed

OK = "ok"
NOT_CHECKED = "not checked"
NOT_LOADED = "cannot be loaded"
NOT_RUN = "cannot be run"
CPU = ("CPUExecutionProvider",)
NO_WEIGHTS: Mapping[str, Any] = MappingProxyType({})
FATAL = 4
"""ONNX Runtime's log level at which it leaves it to exceptions to tell what is wrong."""


@dataclass
class Run:
    """One way of running a model: ``ok`` or what went wrong, the names of its outputs, and their values for
    each feed.
    """

    status: str
    names: list[str] = field(default_factory=list)
    outputs: list[list[Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Runner:
    """How sessions are made. ``callback`` hears of each model that is run: its number of ``steps`` and its
    name. ``optimized`` graphs may have taken values of weights from the file, whatever is given in their place:
    ONNX Runtime lays filters of convolutions out anew, and folds constants.
    """

    providers: Sequence[str] = CPU
    threads: int | None = None
    callback: Callable[[int, int, str], None] | None = None
    steps: int = 3
    optimized: bool = True

    def open(
        self, path: Path, library: bool, weights: Mapping[str, Any] = NO_WEIGHTS, profile: Path | None = None
    ) -> Any:
        """An ``onnxruntime.InferenceSession``. Raises whatever ONNX Runtime raises.

        ``weights`` has an ``OrtValue`` for each initializer that is to have another value than in the file, where
        nothing is ``optimized``. They must live as long as the session. Its profile is written to files whose names
        start with ``profile``.
        """
        import onnxruntime  # noqa: PLC0415 - slow to import

        onnxruntime.set_seed(0)  # for operators that draw random numbers: two models must draw the same
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        if self.threads:
            options.intra_op_num_threads = self.threads
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        if not self.optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        for name, value in weights.items():
            options.add_initializer(name, value)
        if library:
            from regc import runtime_ops  # noqa: PLC0415

            runtime_ops.register(options, self.providers)
        return onnxruntime.InferenceSession(str(path), options, providers=list(self.providers))

    def run(self, path: Path, feeds: Iterable[Feed], library: bool, step: int) -> Run:
        """Load a model and run it on all feeds."""
        self.tell(step, path.name)
        try:
            session = self.open(path, library)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            return Run(f"{NOT_LOADED}: {first_line(error)}")
        names = [node.name for node in session.get_outputs()]
        outputs: list[list[Any]] = []
        for feed in feeds:
            try:
                outputs.append(run(session, feed))
            except Exception as error:
                return Run(f"{NOT_RUN}: {first_line(error)}", names)
        return Run(OK, names, outputs)

    def tell(self, step: int, item: str) -> None:
        """Report progress."""
        if self.callback is not None:
            self.callback(step, self.steps, item)


def run(session: Any, feed: Feed) -> list[Any]:
    """All outputs of a session for one feed, quietly. Raises whatever ONNX Runtime raises."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    options = onnxruntime.RunOptions()
    options.log_severity_level = FATAL
    outputs: list[Any] = session.run(None, feed, options)
    return outputs


def library_status(providers: Sequence[str] = CPU) -> str:
    """``ok`` when ONNX Runtime can load the operator library of the providers, else ``not checked: why``."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    from regc import runtime_ops  # noqa: PLC0415

    try:
        runtime_ops.register(onnxruntime.SessionOptions(), providers)
    except Exception as error:  # a library that does not load is ONNX Runtime's error, a missing one ours
        return f"{NOT_CHECKED}: the operator library cannot be used ({first_line(error)}); see: regc doctor"
    return OK


def check_providers(providers: Sequence[str]) -> None:
    """Require that ONNX Runtime has all of these execution providers.

    Raises:
        UsageError: it lacks one.
    """
    import onnxruntime  # noqa: PLC0415 - slow to import

    from regc import runtime_ops  # noqa: PLC0415

    known = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in known:
            remedy = "; install onnxruntime-gpu in its place" if provider == runtime_ops.CUDA_PROVIDER else ""
            raise UsageError(
                f"ONNX Runtime {onnxruntime.__version__} has no {provider} here; it has {', '.join(known)}{remedy}"
            )


def first_line(error: BaseException) -> str:
    """The first line of an error of ONNX Runtime, without its codes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?)?", "", lines[0])[:400]


def unknown_operator(status: str) -> str:
    """The ``domain:operator`` of another vendor that ONNX Runtime says it lacks; empty for all other errors."""
    found = re.search(r"([\w.]+):(\w+)\(-?\d+\) is not a registered function/op", status)
    return "" if found is None or found[1].startswith("ai.onnx") else f"{found[1]}:{found[2]}"
