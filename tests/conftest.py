"""One thread for each worker: matrices of tests are so small that more of them only wait for each other.

Training in `test_recovery.py` takes 10 s of processor time so, and 40 s with two threads.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
