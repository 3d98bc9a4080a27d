"""Pictures and films from scenes, drawn with Pillow alone: no display, no window system."""

import contextlib
import itertools
import math
import os
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from fathom.core.errors import FathomError, UnknownName
from fathom.envs.scene import Circle, Line, Polygon, Scene, Text, Tiles

Frame = UInt8[np.ndarray, "height width 3"]

LEVELS = 9  # shades of a quantity: the roles value0, …, value8


def _shades(low: str, high: str) -> dict[str, str]:
    """Colours from one to another, evenly."""
    ends = np.array([list(bytes.fromhex(color[1:])) for color in (low, high)])
    mixed = np.linspace(ends[0], ends[1], LEVELS).round().astype(int)
    return {f"value{level}": "#{:02X}{:02X}{:02X}".format(*rgb) for level, rgb in enumerate(mixed)}


# Role -> colour. The page paints the same roles with the same colours.
PALETTES: dict[str, dict[str, str]] = {
    "light": {
        "background": "#FBFAF7",
        "ground": "#E3E4E1",
        "body": "#2E3B4E",
        "accent": "#E2703A",
        "goal": "#2F9E6E",
        "danger": "#CF4A4A",
        "muted": "#9AA3AE",
        **_shades("#EAF1F8", "#79B0E3"),  # the body's colour can be read on all of them
    },
    "dark": {
        "background": "#12161D",
        "ground": "#262E3A",
        "body": "#D7DEE8",
        "accent": "#F0894F",
        "goal": "#46C08A",
        "danger": "#EF6B6B",
        "muted": "#66717F",
        **_shades("#1C2733", "#2A64A0"),
    },
}

_OVERSAMPLING = 4


def draw(
    scene: Scene | None,
    width: int = 480,
    height: int | None = None,
    theme: Literal["light", "dark"] = "light",
) -> Frame:
    """A picture [height, width, 3] of an unbatched scene, edges smoothed.

    Without `height` it follows from the scene's proportions; with one, the scene is fitted in and centred.
    Raises FathomError for a size, theme, colour or coordinate that cannot be drawn.
    """
    from PIL import Image, ImageDraw

    if scene is None:
        raise FathomError("this environment has no picture: its `view` returns None. Give it one to draw it.")
    if theme not in PALETTES:
        raise UnknownName("theme", theme, PALETTES)
    left, right, bottom, top = scene.extent
    if height is None:
        height = max(1, round(width * (top - bottom) / (right - left)))
    if width < 1 or height < 1:
        raise FathomError(
            f"a picture of {width} by {height} pixels cannot be drawn; give sizes of at least 1."
        )

    fine = (width * _OVERSAMPLING, height * _OVERSAMPLING)
    scale = min(fine[0] / (right - left), fine[1] / (top - bottom))
    middle = np.array([(left + right) / 2, (bottom + top) / 2])

    def to_pixels(points: Any) -> list[tuple[float, float]]:
        points = (np.asarray(points, np.float64) - middle) * [scale, -scale] + np.array(fine) / 2
        return [(float(x), float(y)) for x, y in points.reshape(-1, 2)]

    palette = PALETTES[theme]
    image = Image.new("RGB", fine, palette["background"])
    pen = ImageDraw.Draw(image)
    for index, shape in enumerate(scene.shapes):
        if not isinstance(shape, Polygon | Circle | Line | Text | Tiles):
            raise FathomError(
                f"shape {index} of the scene is a {type(shape).__name__}; use those of fathom.envs.scene."
            )
        _require_finite(index, shape)
        for role in shape.roles if isinstance(shape, Tiles) else (shape.color,):
            if role not in palette and (role or not isinstance(shape, Tiles)):
                raise UnknownName("colour role", role, palette)
        if isinstance(shape, Tiles):
            _tile(pen, shape, palette, to_pixels, scale)
        else:
            _paint(pen, shape, palette[shape.color], to_pixels, scale, fine[0])
    return np.asarray(image.resize((width, height), Image.Resampling.BOX)).copy()


def write_png(path: str | os.PathLike[str], frame: Frame) -> None:
    """Write one picture; the file appears whole or not at all."""
    from PIL import Image

    (frame,) = _checked([frame])
    with _whole(path) as part:
        Image.fromarray(frame).save(part, format="PNG", optimize=True)


def write_gif(path: str | os.PathLike[str], frames: Iterable[Frame], fps: float = 30.0) -> None:
    """Write a film that repeats for ever; the file appears whole or not at all.

    GIF counts time in hundredths of a second: frames differ by one so that the film keeps its length. Raises
    FathomError above 50 frames a second, which players slow down to 10.
    """
    from PIL import Image

    if not 0 < fps <= 50:
        raise FathomError(f"fps is {fps}; a GIF plays above 0 and up to 50. Drop frames, or write an MP4.")
    pictures = [Image.fromarray(frame) for frame in _checked(frames)]
    # One palette for the whole film: palettes of single frames flicker.
    tiles = pictures[:: max(1, len(pictures) // 8)]
    sheet = Image.new("RGB", (tiles[0].width, tiles[0].height * len(tiles)))
    for row, tile in enumerate(tiles):
        sheet.paste(tile, (0, row * tile.height))
    palette = sheet.quantize(255, method=Image.Quantize.MEDIANCUT)
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    ends = [round(100 * i / fps) for i in range(len(pictures) + 1)]
    durations = [10 * (end - start) for start, end in itertools.pairwise(ends)]
    with _whole(path) as part:
        pictures[0].save(
            part, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0
        )


def write_mp4(path: str | os.PathLike[str], frames: Iterable[Frame], fps: float = 30.0) -> None:
    """Write an H.264 film; the file appears whole or not at all.

    H.264 needs even sides: an odd one gets its last row or column twice. Raises FathomError without the
    `video` extra.
    """
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise FathomError(
            "writing an MP4 needs imageio-ffmpeg, which is not installed: run "
            "`pip install 'fathom-rl[video]'`, or write a GIF."
        ) from error
    if not 0 < fps < math.inf:
        raise FathomError(f"fps is {fps}; it must be above 0 and finite.")
    film = _checked(frames)
    height, width = film[0].shape[:2]
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    with _whole(path) as part:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo"]
        command += ["-pix_fmt", "rgb24", "-s", f"{width + width % 2}x{height + height % 2}", "-r", str(fps)]
        command += ["-i", "-", "-an", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", "-f", "mp4", str(part)]
        # Not imageio_ffmpeg's own writer: it forks, which is unsafe beside JAX's threads.
        ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert ffmpeg.stdin is not None
        # A broken pipe means that ffmpeg has given up: what it says is the better error.
        with contextlib.suppress(BrokenPipeError):
            for frame in film:
                ffmpeg.stdin.write(np.pad(frame, odd, mode="edge").tobytes())
        _, said = ffmpeg.communicate()
        if ffmpeg.returncode != 0:
            raise FathomError(f"ffmpeg could not write {path}: {said.decode(errors='replace').strip()}")


def _paint(
    pen: Any, shape: Any, color: str, to_pixels: Callable[[Any], Sequence[Any]], scale: float, width: int
) -> None:
    match shape:
        case Polygon():
            pen.polygon(to_pixels(shape.points), fill=color)
        case Circle():
            _disc(pen, to_pixels(shape.center)[0], float(shape.radius) * scale, color)
        case Line():
            _stroke(pen, to_pixels(shape.points), max(shape.width * scale, 1.0 * _OVERSAMPLING) / 2, color)
        case Text():
            from PIL import ImageFont

            size = max(width / 30, 9 * _OVERSAMPLING) if shape.size is None else shape.size * scale
            font = ImageFont.load_default(max(size, 1.0))
            pen.text(to_pixels(shape.at)[0], _wording(shape), fill=color, font=font, anchor="mm")


def _tile(
    pen: Any, tiles: Tiles, palette: dict[str, str], to_pixels: Callable[[Any], Sequence[Any]], scale: float
) -> None:
    kinds = np.asarray(tiles.kinds)
    if kinds.size and not 0 <= kinds.min() <= kinds.max() < len(tiles.roles):
        raise FathomError(
            f"tiles are of the kinds {kinds.min()} … {kinds.max()} and there are {len(tiles.roles)} roles; "
            "give a role for each kind."
        )
    rows, cols = np.indices(kinds.shape)
    centers = to_pixels(np.stack([cols + 0.5, kinds.shape[0] - rows - 0.5], axis=-1))
    half = tiles.size * scale / 2
    for (x, y), kind in zip(centers, kinds.reshape(-1), strict=True):
        if tiles.roles[kind]:
            (pen.ellipse if tiles.round else pen.rectangle)(
                (x - half, y - half, x + half, y + half), fill=palette[tiles.roles[kind]]
            )


def _disc(pen: Any, center: tuple[float, float], radius: float, color: str) -> None:
    x, y = center
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _stroke(pen: Any, points: Sequence[tuple[float, float]], radius: float, color: str) -> None:
    # Pillow's own thick lines are a pixel off their caps for even widths.
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 0:
            dx, dy = radius * (y1 - y0) / length, radius * (x0 - x1) / length
            pen.polygon(
                [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], color
            )
    for point in points:
        _disc(pen, point, radius, color)


def _wording(shape: Text) -> str:
    if shape.value is None:
        return shape.text
    value = np.asarray(shape.value)
    number = f"{value:.2f}" if np.issubdtype(value.dtype, np.floating) else str(value)
    return f"{shape.text} {number}".strip()


def _require_finite(index: int, shape: Any) -> None:
    for name in ("points", "center", "radius", "at"):
        value = getattr(shape, name, None)
        if value is not None and not np.all(np.isfinite(value)):
            raise FathomError(
                f"shape {index} of the scene ({type(shape).__name__}, {shape.color}) has a {name} "
                f"that is not finite: {np.asarray(value).tolist()}. Look for NaN in the environment's state."
            )


def _checked(frames: Iterable[Frame]) -> list[Frame]:
    frames = [np.asarray(frame) for frame in frames]
    if not frames:
        raise FathomError("there are no frames to write; give at least one picture.")
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise FathomError(
                f"frame {index} is {frame.dtype}{list(frame.shape)}; a frame is uint8[height, width, 3]."
            )
        if frame.shape != frames[0].shape:
            raise FathomError(
                f"frame {index} is {frame.shape[1]} by {frame.shape[0]} pixels, the first one "
                f"{frames[0].shape[1]} by {frames[0].shape[0]}; draw all of a film at one size."
            )
    return frames


@contextlib.contextmanager
def _whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place beside `path` to write to, moved there once all is written and removed if that fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
