"""The weights of a model: where they are, who reads them, who shares them, and how each lies as a matrix ``[N, K]``."""

from regc.compiler.sites.find import Holder, Reader, Scopes, Site, find_sites, gatherable, readers_of, replaceable

__all__ = ["Holder", "Reader", "Scopes", "Site", "find_sites", "gatherable", "readers_of", "replaceable"]
