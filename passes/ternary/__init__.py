"""Ternary weights: {-1, 0, 1} times a scale per tensor, output or group of inputs."""
