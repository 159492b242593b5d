"""Group sparsity: weights of which only some blocks are kept."""
