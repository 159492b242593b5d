"""The command line: ``regc compile``, ``calibrate``, ``inspect``, ``passes``, ``verify`` and ``doctor``.

What they do is elsewhere.

Nothing slow is imported until a command runs, so that ``regc --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from regc.compiler.cli.calibrating import calibrate_command
from regc.compiler.cli.compiling import compile_command
from regc.compiler.cli.looking import doctor_command, inspect_command, passes_command, verify_command
from regc.compiler.cli.terminal import open_streams, silence, unprintable
from regc.compiler.errors import RegcError
from regc.runtime_ops import OperatorLibraryError

__all__ = ["main"]

INTERRUPTED = 130
"""What shells give for a command that Ctrl-C ended."""


class _Commands(click.Group):
    """A group that tells the errors of regc in one line; anything else is a bug and shows its traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        open_streams()
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.filename is not None:  # not of a stream: a bug
                raise
            silence()
            click.echo(f"error: {unprintable(error)}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RegcError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OperatorLibraryError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt as interrupt:
            click.echo(f"\ninterrupted{f', {interrupt}' if str(interrupt) else ''}", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="regc", message="regc %(version)s")
def main() -> None:
    """Compress ONNX models: sparse, low-rank, ternary, RF8 and integer weights, for any ONNX Runtime.

    \b
      regc inspect model.onnx
      regc compile model.onnx -o small.onnx --passes "low-rank{ratio=2},ternary{group=64},rf8"
      regc verify model.onnx small.onnx
    """


for _command in (
    compile_command,
    calibrate_command,
    inspect_command,
    verify_command,
    passes_command,
    doctor_command,
):
    main.add_command(_command)
