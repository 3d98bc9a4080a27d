"""`fathom check`."""

from collections.abc import Sequence

from fathom.cli import parsing
from fathom.cli.options import CheckOptions


def run_check(arguments: Sequence[str]) -> int:
    """Test an environment; exit code 2 where something is to be mended."""
    options = parsing.parse(
        CheckOptions,
        arguments,
        "fathom check",
        "Test an environment, ours or Gymnasium's, and say what to mend.",
    )
    from fathom.envs.checker import check

    report = check(options.target)
    print(report.text())
    return 0 if report.ok else 2
