"""Neuron masking: neurons that do not matter, for good or for one row of activations."""
