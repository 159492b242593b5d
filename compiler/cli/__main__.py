"""``python -m regc.compiler.cli``, the same as ``regc``."""

from regc.compiler.cli import main

main()
