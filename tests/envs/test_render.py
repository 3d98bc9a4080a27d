import os
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fathom.core.errors import FathomError, UnknownName
from fathom.envs.render import LEVELS, PALETTES, draw, write_gif, write_mp4, write_png
from fathom.envs.scene import Circle, Line, Polygon, Scene, Text

SQUARE = np.array([[-1, -1], [0, -1], [0, 0], [-1, 0]], np.float32)  # the lower left quarter


def scene(*shapes, extent=(-1.0, 1.0, -1.0, 1.0)):
    return Scene(shapes, extent)


def rgb(role, theme="light"):
    return tuple(bytes.fromhex(PALETTES[theme][role][1:]))


def film(n=12, size=(20, 31)):
    frames = np.full((n, *size, 3), 240, np.uint8)
    for t, frame in enumerate(frames):
        frame[5:15, t : t + 8] = (200, 60, 40)
    return list(frames)


def test_both_themes_colour_the_same_roles():
    assert PALETTES["light"].keys() == PALETTES["dark"].keys()
    shades = {f"value{level}" for level in range(LEVELS)}
    named = {"ground", "body", "accent", "goal", "danger", "muted", "background"}
    assert named | shades == PALETTES["light"].keys()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_letters_can_be_read_on_every_shade(theme):
    def luminance(role):
        part = np.array(rgb(role, theme)) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for level in range(LEVELS):
        dark, light = sorted((luminance("body"), luminance(f"value{level}")))
        assert (light + 0.05) / (dark + 0.05) >= 4  # WCAG's contrast, of 1 to 21


def test_text_is_as_high_as_it_says():
    def rows(size):
        picture = draw(scene(Text(np.zeros(2, np.float32), "0", color="body", size=size)), width=200)
        return (picture != rgb("background")).any(-1).any(-1).sum()

    assert rows(0.4) == pytest.approx(2 * rows(0.2), abs=2)
    assert 0.5 * 40 < rows(0.4) < 40


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("role", ["ground", "body", "accent", "goal", "danger", "muted"])
def test_polygon_fills_its_place_in_its_colour(theme, role):
    picture = draw(scene(Polygon(SQUARE, role)), width=40, theme=theme)
    assert picture.shape == (40, 40, 3)
    assert picture.dtype == np.uint8
    assert tuple(picture[30, 10]) == rgb(role, theme)  # y points up in the scene, down in the picture
    for row, column in ((10, 10), (10, 30), (30, 30)):
        assert tuple(picture[row, column]) == rgb("background", theme)


def test_circle_and_line_have_their_sizes():
    def covered(shape):
        picture = draw(scene(shape), width=100).astype(float)
        paper, ink = np.array(rgb("background")), np.array(rgb(shape.color))
        return 4 * ((picture - paper) / (ink - paper)).mean()

    assert covered(Circle(jnp.zeros(2), 0.5)) == pytest.approx(np.pi * 0.25, rel=0.03)
    assert covered(Circle(jnp.zeros(2), jnp.float32(0.25))) == pytest.approx(np.pi / 16, rel=0.03)
    straight = Line(np.array([[-0.5, 0], [0.5, 0]], np.float32), 0.2)
    assert covered(straight) == pytest.approx(0.2 + np.pi * 0.01, rel=0.03)
    bent = Line(np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]], np.float32), 0.2)
    assert covered(bent) == pytest.approx(0.38 + np.pi * 0.0175, rel=0.03)


def test_lines_thinner_than_a_pixel_still_show():
    picture = draw(scene(Line(np.array([[-1, 0.02], [1, 0.02]], np.float32), 1e-5, "danger")), width=50)
    assert (picture != rgb("background")).any()


def test_edges_are_smooth():
    picture = draw(scene(Circle(np.zeros(2, np.float32), 0.7, "body")), width=60)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_later_shapes_cover_earlier_ones():
    picture = draw(scene(Polygon(SQUARE, "body"), Polygon(SQUARE, "goal")), width=20)
    assert tuple(picture[15, 5]) == rgb("goal")


def test_height_follows_the_extent_and_a_given_one_centres_the_scene():
    wide = scene(
        Polygon(np.array([[-2, -1], [2, -1], [2, 1], [-2, 1]], np.float32)), extent=(-2.0, 2.0, -1.0, 1.0)
    )
    assert draw(wide, width=80).shape == (40, 80, 3)
    tall = draw(wide, width=80, height=80)
    assert tall.shape == (80, 80, 3)
    filled = (tall == rgb("body")).all(-1)
    assert filled[22:58].all()
    assert not filled[:18].any()
    assert not filled[62:].any()


def test_text_shows_its_words_and_its_number():
    blank = draw(scene(), width=200)
    word = draw(scene(Text(np.zeros(2, np.float32), "goal")), width=200)
    one = draw(scene(Text(np.zeros(2, np.float32), "goal", jnp.int32(1))), width=200)
    two = draw(scene(Text(np.zeros(2, np.float32), "goal", jnp.float32(2.5))), width=200)
    pictures = [blank, word, one, two]
    assert all(np.any(a != b) for i, a in enumerate(pictures) for b in pictures[:i])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: draw(None), FathomError, "no picture"),
        (lambda: draw(scene(), theme="dusk"), UnknownName, "theme 'dusk'"),
        (lambda: draw(scene(Polygon(SQUARE, "bodie"))), UnknownName, "Did you mean body"),
        (lambda: draw(scene(), width=0), FathomError, "0 by 1"),
        (
            lambda: draw(scene(Circle(np.array([0, np.nan]), 0.1))),
            FathomError,
            "shape 0 .*center.*not finite",
        ),
        (lambda: draw(scene("circle")), FathomError, "shape 0 of the scene is a str"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_png_holds_the_picture(tmp_path):
    frame = draw(scene(Circle(np.zeros(2, np.float32), 0.7)), width=33)
    path = tmp_path / "new" / "a.png"
    write_png(path, frame)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), frame)
    assert os.listdir(path.parent) == ["a.png"]


@pytest.mark.parametrize("fps", [12, 30, 50])
def test_gif_holds_the_frames_and_keeps_time(tmp_path, fps):
    frames = film(15)
    path = tmp_path / "a.gif"
    write_gif(path, iter(frames), fps)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (15, 0)
        total = 0
        for t, frame in enumerate(frames):
            gif.seek(t)
            total += gif.info["duration"]
            np.testing.assert_allclose(np.asarray(gif.convert("RGB"), int), frame.astype(int), atol=6)
    assert total == pytest.approx(1000 * 15 / fps, abs=5)
    assert os.listdir(tmp_path) == ["a.gif"]


@pytest.mark.parametrize("write", [write_gif, write_mp4])
@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "no frames"),
        ([np.zeros((4, 4, 3))], r"frame 0 is float64\[4, 4, 3\]"),
        ([np.zeros((4, 4), np.uint8)], r"frame 0 is uint8\[4, 4\]"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "frame 1 is 5 by 4"),
    ],
)
def test_frames_that_are_none_are_refused(tmp_path, write, frames, says):
    if write is write_mp4:
        pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(FathomError, match=says):
        write(tmp_path / "a", frames)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fps", [0, -1, 51])
def test_gif_refuses_speeds_that_players_do_not_have(tmp_path, fps):
    with pytest.raises(FathomError, match=f"fps is {fps}"):
        write_gif(tmp_path / "a.gif", film(), fps)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(self, part, **options):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(path, film()[0])
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.png"]


def test_mp4_without_its_extra_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FathomError, match=re.escape("pip install 'fathom-rl[video]'")):
        write_mp4(tmp_path / "a.mp4", film())


def test_mp4_holds_the_frames(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = film(12, size=(33, 47))
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, fps=24)
    command = [ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(command, capture_output=True, check=True)
    assert re.search(rb"h264.*yuv420p.*48x34.*24 fps", decoded.stderr)
    shown = np.frombuffer(decoded.stdout, np.uint8).reshape(12, 34, 48, 3)
    for got, frame in zip(shown[:, :33, :47], frames, strict=True):
        assert np.abs(got.astype(int) - frame).mean() < 8
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_mp4_tells_what_ffmpeg_said(tmp_path, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    refuses = tmp_path / "ffmpeg"
    refuses.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "get_ffmpeg_exe", lambda: str(refuses))
    with pytest.raises(FathomError, match=r"a\.mp4: no room"):
        write_mp4(tmp_path / "a.mp4", film())
    assert os.listdir(tmp_path) == ["ffmpeg"]
