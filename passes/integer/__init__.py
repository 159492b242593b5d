"""Plain integers of 4 or 8 bits with a scale for each block of inputs, as ONNX Runtime multiplies by them itself."""
