"""Units that can be taken out of a graph, such as neurons, filters and heads, and everything that touches them."""

from regc.compiler.structure.find import find_groups
from regc.compiler.structure.group import Group, Place
from regc.compiler.structure.remove import add_to_bias, remove

__all__ = ["Group", "Place", "add_to_bias", "find_groups", "remove"]
