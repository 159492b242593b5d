"""Recovery: the compressed weights are trained with the original model as teacher, in PyTorch.

Only :mod:`regc.compiler.recovery.options` may be imported where PyTorch may be missing.
"""
