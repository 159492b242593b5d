"""Low rank: a weight as the product of two thin factors. Its term is :class:`regc.compiler.terms.Product`."""
