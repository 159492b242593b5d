"""The table of operators: products, decoders of whole matrices, and lookups of rows."""

from regc.runtime_ops.operators.decoders import DECODERS
from regc.runtime_ops.operators.lookups import LOOKUPS
from regc.runtime_ops.operators.products import PRODUCTS

__all__ = ["DECODERS", "LOOKUPS", "PRODUCTS"]
