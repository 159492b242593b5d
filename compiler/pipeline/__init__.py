"""The pass manager: the weights of a model, through the passes, into the model again."""

from regc.compiler.pipeline.manager import PassManager, Recovering

__all__ = ["PassManager", "Recovering"]
