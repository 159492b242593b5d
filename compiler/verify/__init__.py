"""The original against the compressed model in ONNX Runtime, on the same inputs, with and without our operators."""

from regc.compiler.feeds.inputs import load_feeds
from regc.compiler.verify.difference import OutputError
from regc.compiler.verify.guess import random_feeds
from regc.compiler.verify.outcome import Verification
from regc.compiler.verify.verification import RANDOM_FEEDS, compare, verify_compiled

__all__ = [
    "RANDOM_FEEDS",
    "OutputError",
    "Verification",
    "compare",
    "load_feeds",
    "random_feeds",
    "verify_compiled",
]
