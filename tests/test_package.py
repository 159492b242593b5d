"""The package as it is installed."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def test_a_clone_beside_the_caller_does_not_hide_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "regc" / "runtime_ops").mkdir(parents=True)
    code = "import regc; from regc.runtime_ops import library_path; print(library_path(), regc.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library, told = done.stdout.split()
    assert Path(library).is_file() and told == version("regc")
