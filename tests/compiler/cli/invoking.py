"""The commands, run in this process."""

from pathlib import Path

from click.testing import CliRunner, Result

from regc.compiler.cli import main


def regc(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": "100"})


def compiled(path: Path, *arguments: object) -> Result:
    return regc("compile", path, "-o", path.parent / "out.onnx", *arguments)


def one_line_error(outcome: Result, code: int) -> str:
    lines = outcome.stderr.strip().splitlines()
    assert outcome.exit_code == code, outcome.output
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]
