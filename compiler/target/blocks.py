"""Where ONNX Runtime's own MatMulNBits is fast."""

FAST_BLOCKS = {2: (128, 64, 32), 4: (256, 128, 64, 32, 16), 8: (256, 128, 64, 32, 16)}
"""Block sizes for which MatMulNBits does not fall back to decoding all weights at every call, the fastest first.

Measured on ONNX Runtime 1.32 (one thread, AVX-512 VNNI, 768x3072, one row): 2 bits in blocks of 128 take 42 us, of 64
57 us, of 32 122 us, but of 16 6200 us and of 256 5500 us. Any N and K will do. ONNX Runtime loads 2 bits since 1.24 and
is fast since 1.28 (blocks of 128: 1300 us in 1.27, 62 in 1.28, at 512x1024 and 8 rows); 8 bits since 1.22; 4 bits since
1.17.
"""

CUDA_BLOCKS = {bits: blocks for bits, blocks in FAST_BLOCKS.items() if bits != 2}
"""Of the CUDA provider: no released ONNX Runtime has a kernel for 2 bits there."""
