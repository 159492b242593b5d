"""What flows into the weights of a model: inputs from many kinds of files, run in ONNX Runtime, kept as statistics."""

from regc.compiler.calibration.calibration import Calibration

__all__ = ["Calibration"]
