"""Values and a greedy policy laid over the cells of a grid, as a picture and as text."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fathom.envs.grid.board import ARROWS, Board, Index
from fathom.envs.render import LEVELS
from fathom.envs.scene import Circle, Line, Polygon, Scene, Text, Tiles

Piece = tuple[str, str]  # a stretch of a line of text, and its colour's role or ""

_HEADINGS = {
    arrow: np.array([("right" in name) - ("left" in name), ("up" in name) - ("down" in name)], np.float32)
    for name, arrow in ARROWS.items()
}
_STAY = ARROWS["stay"]
_ASCII = {"↑": "^", "→": ">", "↓": "v", "←": "<", "↗": "ne", "↘": "se", "↙": "sw", "↖": "nw", "·": "o"}
_PLACES = (
    (100.0, 0),
    (10.0, 1),
    (0.1, 2),
    (0.01, 3),
)  # digits after the point, by the size from which they do
_SMALLEST_DRAWN = 44  # pixels of a cell's side up from which numbers and arrows can be told


class CellValues(NamedTuple):
    """What a learner knows of each cell, all else being as in some state."""

    value: Float[np.ndarray, "row col"]  # max_a Q(s, a) over legal actions, or V(s); NaN where nobody acts
    best: Bool[np.ndarray, "row col action"]  # all actions of that value; none where states are valued


def cell_states(board: Board, state: Index) -> Int[np.ndarray, " cell"]:
    """The states with the agent in each cell, row by row, and all else as in `state`."""
    rows, cols = np.indices(board.shape)
    states = [board.state_at(int(r), int(c), int(state)) for r, c in zip(rows.flat, cols.flat, strict=True)]
    return np.asarray(states, np.int32)


def cell_values(
    board: Board,
    state: Index,
    values: Float[np.ndarray, "cell action"] | Float[np.ndarray, " cell"],
    mask: Bool[np.ndarray, "cell action"] | None = None,
) -> CellValues:
    """From Q(s, a) or V(s) of the states `cell_states(board, state)`, and which actions are legal in them."""
    acts = board.plan(state).acts.reshape(-1)
    if values.ndim == 1:
        value, best = values, np.zeros((len(values), board.num_actions), bool)
    else:
        legal = np.ones_like(values, bool) if mask is None else mask
        acts = acts & legal.any(axis=-1)
        value = np.where(legal, values, -np.inf).max(axis=-1)
        best = legal & (values == value[:, None])
    value, best = np.where(acts, value, np.nan), best & acts[:, None]
    return CellValues(value.reshape(board.shape), best.reshape(*board.shape, -1))


def levels(value: Float[np.ndarray, "row col"]) -> Int[np.ndarray, "row col"]:
    """Each value's shade, 0 for the least shown to `LEVELS` − 1 for the greatest; −1 for NaN."""
    known = np.isfinite(value)
    if not known.any():
        return np.full(value.shape, -1)
    least, spread = value[known].min(), np.ptp(value[known])
    part = np.where(known, value - least, 0.0) / (spread if spread > 0 else 1.0)
    return np.where(known, np.rint(part * (LEVELS - 1)), -1).astype(int)


def numerals(value: Float[np.ndarray, "row col"]) -> list[list[str]]:
    """The values as text, all with as many digits after the point; "" for NaN."""
    largest = np.nanmax(np.abs(value), initial=0.0)
    places = next((p for size, p in _PLACES if largest >= size), 2 if largest == 0 else None)
    form = "{:.0e}" if places is None else f"{{:.{places}f}}"
    texts = [["" if np.isnan(v) else form.format(v) for v in row] for row in value]
    # Rounding leaves a sign on a nothing.
    return [[t.lstrip("-") if t and float(t) == 0 else t for t in row] for row in texts]


def value_scene(board: Board, state: Any, cells: CellValues, pixels: float = 120.0) -> Scene:
    """The environment's view with each cell's value as a shade and a number, and arrows, under the agent.

    `pixels` is the side of a cell in the picture: in small ones only shades are drawn.
    """
    shades = levels(cells.value) + 1
    tints = [Tiles(shades, ("", *(f"value{level}" for level in range(LEVELS))))]
    if pixels < _SMALLEST_DRAWN:
        return board.view(state, tints)
    arrows: list[Any] = []
    numbers: list[Any] = []
    texts = numerals(cells.value)
    for row, col in np.ndindex(*board.shape):
        middle = np.asarray(board.center(row, col))
        arrows += _arrows(board, middle + _by(0, 0.1), cells.best[row, col])
        if texts[row][col]:
            numbers.append(Text(middle - _by(0, 0.36), texts[row][col], color="body", size=0.2))
    scene = board.view(state, tints, arrows)
    # Above the agent: the number of its own cell is the one that is looked for.
    return Scene((*scene.shapes, *numbers), scene.extent)


def _by(x: float, y: float) -> np.ndarray:
    return np.array([x, y], np.float32)


def _arrows(board: Board, middle: np.ndarray, best: Bool[np.ndarray, " action"]) -> list[Any]:
    shapes: list[Any] = []
    chosen = [board.arrows[action] for action in np.nonzero(best)[0]]
    letters = "".join(arrow for arrow in chosen if arrow not in _HEADINGS)
    if letters:
        shapes.append(Text(middle + _by(0.3, 0.22), letters, color="body", size=0.24))
    for arrow in chosen:
        if arrow == _STAY:
            shapes.append(Circle(middle, 0.06, "body"))
        elif arrow in _HEADINGS:
            along = _HEADINGS[arrow] / np.linalg.norm(_HEADINGS[arrow])
            across = np.array([-along[1], along[0]])
            # One arrow lies across the middle, several lead away from it.
            tail, tip = (middle - 0.2 * along, 0.24) if len(chosen) == 1 else (middle, 0.3)
            # Of many, each head is smaller, lest they grow into one.
            length, half = (0.16, 0.1) if len(chosen) <= 2 else (0.12, 0.07)
            head = middle + (tip - length) * along
            corners = np.stack([middle + tip * along, head + half * across, head - half * across])
            shapes += [Line(np.stack([tail, head]), 0.045, "body"), Polygon(corners, "body")]
    return shapes


def value_text(
    board: Board, state: Index, cells: CellValues, *, framed: bool = True, unicode: bool = True
) -> list[list[Piece]]:
    """The same as lines of text in pieces: two lines for each row of cells, arrows above, numbers below.

    The agent is `@`, cells without a choice show their letter, and "any" stands where more than two actions
    are all as good. `framed` sets rows apart and draws a frame, for text without colours; without `unicode`
    arrows are letters of ASCII. Last comes what the plan tells.
    """
    plan, texts, shade = board.plan(state), numerals(cells.value), levels(cells.value)
    (rows, cols), (at_row, at_col) = board.shape, (int(x) for x in board.cell_of(int(state)))
    signs = [[_signs(board, cells.best[row, col], unicode) for col in range(cols)] for row in range(rows)]
    width = max(
        *(len(text) for row in texts for text in row), *(len(sign) + 2 for row in signs for sign in row), 3
    )
    edge = [("+" + "-" * (cols * (width + 1) + 1) + "+", "")] if framed else []
    lines = [edge] if framed else []
    for row in range(rows):
        pair: tuple[list[Piece], list[Piece]] = ([], [])
        for col in range(cols):
            here = (row, col) == (at_row, at_col)
            above, below = _cell(plan.letters[row][col], signs[row][col], texts[row][col], width, here)
            known = f"value{shade[row, col]}" if shade[row, col] >= 0 else "ground"
            role = "accent" if here else plan.roles[row][col] or known
            wall = "|" if plan.walls[row, col] else " "
            for line, text in zip(pair, (above, below), strict=True):
                line += [(text, role), (wall, "")]
        if framed:
            gap = [(" " * width + ("|" if wall else " "), "") for wall in plan.walls[row]]
            between = [gap] if row + 1 < rows else []
            lines += [[("| ", ""), *line, ("|", "")] for line in (*pair, *between)]
        else:
            lines += pair
    lines += [edge] if framed else []
    return [*lines, [(plan.told, "")]] if plan.told else lines


def _cell(letter: str, sign: str, number: str, width: int, here: bool) -> Piece:
    """The two lines of a cell."""
    if not sign and not number:
        if letter == "#":
            return "#" * width, "#" * width
        return ("@" if here else letter).center(width), (letter if here else "").center(width)
    mark, room = "@" if here else letter or " ", width - 1
    # `str.center` leans to the left or to the right by the width.
    return mark + sign.rjust((room + len(sign) + 1) // 2).ljust(room), number.rjust(width)


def _signs(board: Board, best: Bool[np.ndarray, " action"], unicode: bool) -> str:
    if len(best) > 2 and best.all():
        return "any"
    chosen = [board.arrows[action] for action in np.nonzero(best)[0]]
    return "".join(arrow if unicode else _ASCII.get(arrow, arrow) for arrow in chosen)
