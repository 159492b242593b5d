"""RF8, 8-bit residual floating point: a power of two plus or minus at most one smaller power of two."""
