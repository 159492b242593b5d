"""Units that can be taken out of a graph, such as neurons, filters and heads, and everything that touches them."""

from regc.compiler.structure.find import find_groups
from regc.compiler.structure.group import Group, Place
from regc.compiler.structure.remove import Left, add_to_bias, put, remove

__all__ = ["Group", "Left", "Place", "add_to_bias", "find_groups", "put", "remove"]
