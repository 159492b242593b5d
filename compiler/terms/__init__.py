"""Weights as terms: a small algebra of matrices, each of which knows what it stands for and what it costs.

A weight has the canonical shape ``[N, K]``: N outputs, K inputs, ``y[..., N] = x[..., K] @ W.T``. Passes map terms to
terms, :mod:`regc.compiler.lower` turns them into nodes. Leaves are :class:`Dense` and the coded terms that passes
bring along; :class:`Product`, :class:`Separable` and :class:`Sum` nest.
"""

from regc.compiler.terms.operated import Coded, NBits, Operated
from regc.compiler.terms.pairs import Product, Separable, Sum
from regc.compiler.terms.term import Dense, Float32, Leaf, Term, relative_error

__all__ = [
    "Coded",
    "Dense",
    "Float32",
    "Leaf",
    "NBits",
    "Operated",
    "Product",
    "Separable",
    "Sum",
    "Term",
    "relative_error",
]
