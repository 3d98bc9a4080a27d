"""What a user would type to do the same as on the page."""

import shlex
from typing import Any

from fathom.hub.messages import Code
from fathom.hub.recipe import Recipe
from fathom.hub.settings import ENV, spread


def opened(recipe: Recipe) -> Code:
    """Beginning a run."""
    parts = [repr(recipe.algo), repr(recipe.env)] if recipe.map is None else [repr(recipe.algo)]
    if recipe.map is not None:
        parts.append(f"map={recipe.map!r}")
    if recipe.config:
        parts.append(f"config={recipe.config!r}")
    parts.append(f"seeds={recipe.seeds}")
    if recipe.seed:
        parts.append(f"seed={recipe.seed}")
    if recipe.horizon is not None:
        parts.append(f"horizon={recipe.horizon}")
    python = f"lab = Lab(Recipe({', '.join(parts)}))"
    if recipe.map is not None or any(name.startswith(ENV) for name in recipe.config):
        from fathom.hub.recipe import to_link

        return Code(shared(to_link(recipe, [], 0)), python)
    words = ["fathom", "train", recipe.algo, recipe.env, "--seeds", str(recipe.seeds)]
    words += ["--seed", str(recipe.seed)] if recipe.seed else []
    for name, value in spread(recipe.config).items():
        words += _flag(name, value)
    return Code(shlex.join([*words, "--watch"]), python)


def taken_up(path: str) -> Code:
    """Going on with the run of a folder."""
    return Code(shlex.join(["fathom", "hub", path]), f"lab = Lab.of_run({path!r})")


def shared(link: str) -> str:
    """The command that opens a share link."""
    return shlex.join(["fathom", "hub", "--share", link])


def changed(patch: dict[str, float], link: str, branch: int) -> Code:
    """Changing settings."""
    return Code(shared(link), f"lab.set({patch!r}{_branch(branch)})")


def operated(op: str, args: dict[str, Any], link: str, branch: int) -> Code:
    """Changing the state by hand."""
    given = "".join(f", {name}={value!r}" for name, value in args.items())
    return Code(shared(link), f"lab.surgery({op!r}{given}{_branch(branch)})")


def forked(at: int, patch: dict[str, float], link: str, branch: int) -> Code:
    """Beginning a branch."""
    more = f", patch={patch!r}" if patch else ""
    return Code(shared(link), f"lab.fork(at={at}{more}{_branch(branch)})")


def sought(u: int, link: str, branch: int) -> Code:
    """Going to another update."""
    return Code(shared(link), f"lab.seek({u}{_branch(branch)})")


def stepped(n: int, unit: str, link: str, branch: int) -> Code:
    """Going on for so long."""
    call = f"lab.episode({_branch(branch).lstrip(', ')})" if unit == "episode" else (
        f"lab.advance({n}{_branch(branch)})"
    )  # fmt: skip
    if unit == "episode" and n > 1:
        call = f"for _ in range({n}): {call}"
    return Code(shared(link), call)


def inspected(state: int, action: int, seed: int, u: int, link: str, branch: int) -> Code:
    """Looking at a value's backups."""
    call = f"lab.inspect(state={state}, action={action}, seed={seed}, u={u}{_branch(branch)})"
    return Code(shared(link), call)


def probed(what: str, seed: int, link: str, branch: int) -> Code:
    """Looking into a learner, by `ratios` or `returns`."""
    return Code(shared(link), f"lab.{what}(seed={seed}{_branch(branch)})")


def _branch(branch: int) -> str:
    return f", branch={branch}" if branch else ""


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    return [flag, str(value)]
