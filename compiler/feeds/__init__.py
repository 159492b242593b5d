"""Inputs to run models on, whatever they come in: what a model takes, and samples from files, folders and Python."""
