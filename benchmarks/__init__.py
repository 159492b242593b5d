"""Measurements: whole models, single operators, and the demonstration. Nothing here is a test."""
