"""`fathom hub`, `fathom play` and `fathom dashboard`."""

import sys
from collections.abc import Sequence

from fathom.cli import parsing
from fathom.cli.options import DashboardOptions, HubOptions, PlayOptions
from fathom.core.errors import FathomError


def run_hub(arguments: Sequence[str]) -> int:
    """Serve the live page."""
    options = parsing.parse(
        HubOptions,
        arguments,
        "fathom hub",
        "Serve the live page on this machine, for you alone, and open it in the browser.",
    )
    from fathom.hub.server import hub, require_packages

    require_packages()
    if options.runs is not None and not options.runs.is_dir():
        raise FathomError(f"there is no folder {options.runs}; give one that holds runs, or none.")
    fragment = ""
    if options.share is not None:
        from fathom.hub.recipe import LINK, from_link, to_link

        # Read here, so that a link that is none is told in the terminal.
        fragment = f"#{LINK}{to_link(*from_link(options.share))}"
    record = None if options.record is None else str(options.record)
    hub(options.runs, options.port, fragment, record, options.browser)
    return 0


def run_play(arguments: Sequence[str]) -> int:
    """Play episodes and write results.json."""
    options = parsing.parse(
        PlayOptions,
        arguments,
        "fathom play",
        "Play short episodes of CartPole, MountainCar and, where Box2D is installed, LunarLander.",
    )
    from fathom.hub.play import play, write_results

    results = play(options.episodes, options.max_steps, options.policy, options.seed)
    for env in results["envs"]:
        print(
            f"{env['env_id']:<18} {env['policy']:<16} mean return {env['avg_return']:8.1f}, "
            f"best {env['best_return']:8.1f}",
            file=sys.stderr,
        )
    write_results(options.out, results)
    print(options.out)
    return 0


def run_dashboard(arguments: Sequence[str]) -> int:
    """Write the comparison as one file."""
    options = parsing.parse(
        DashboardOptions,
        arguments,
        "fathom dashboard",
        "Compare runs and results in one HTML file that opens from disk, without a network.",
    )
    from fathom.hub.dashboard import write_dashboard

    told = write_dashboard(options.paths, options.out)
    for error in told["errors"]:
        print(f"left out {error['path']}: {error['error']}", file=sys.stderr)
    print(options.out)
    return 0
