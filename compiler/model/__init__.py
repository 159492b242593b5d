"""Open and save ONNX models without ever holding all of their weights in memory.

>>> model = load("model.onnx")
>>> for tensor in model.graph.tensors().values():
...     ...                         # a gs.Constant; load_values(tensor) reads it and keeps nothing
>>> save(model, "smaller.onnx")
"""

from regc.compiler.model.files import sha256
from regc.compiler.model.model import Model, from_proto, load
from regc.compiler.model.saving import SavedFiles, save
from regc.compiler.model.storage import load_values

__all__ = ["Model", "SavedFiles", "from_proto", "load", "load_values", "save", "sha256"]
