"""The drawing of the 7×7 view, compared with the objects minigrid put there."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from metarim_lite.envs import make_minigrid
from metarim_lite.lens import describe_view, view_svg

SVG = "{http://www.w3.org/2000/svg}"


def an_empty_view():
    view = np.zeros((7, 7, 3), np.uint8)
    view[..., 0] = 1
    return view


def test_objects_are_listed_nearest_first_with_their_place():
    view = an_empty_view()
    view[3, 1] = (6, 0, 0)
    view[1, 5] = (7, 3, 0)
    view[5, 6] = (5, 4, 0)
    view[3, 3] = (4, 2, 2)
    assert describe_view(view) == (
        "In view: yellow key 2 to the right; locked blue door 3 ahead; purple box 1 ahead and 2 to the left; "
        "red ball 5 ahead."
    )


def test_an_empty_view_and_full_hands_are_said():
    view = an_empty_view()
    assert describe_view(view) == "In view: no objects."
    view[3, 6] = (5, 4, 0)
    assert describe_view(view) == "In view: no objects; carried: yellow key."
    assert "carries" in view_svg(view) and ">yellow<" in view_svg(view)


@pytest.mark.parametrize("seed", range(5))
def test_the_drawing_names_the_colour_of_every_object_minigrid_shows(seed):
    env = make_minigrid("BabyAI-GoToLocal-v0")
    seen, _ = env.reset(seed=seed)
    cells = seen["image"].reshape(-1, 3)
    colours = ("red", "green", "blue", "purple", "yellow", "grey")
    expected = sorted(colours[c] for kind, c, _ in cells if kind in (4, 5, 6, 7))
    words = [e.text for e in ET.fromstring(view_svg(seen["image"])).iter(SVG + "text")]
    assert sorted(w for w in words if w in colours) == expected
    assert words.count("?") == int((cells[:, 0] == 0).sum())


def test_open_closed_and_locked_doors_are_drawn_differently_without_colours():
    shapes = set()
    for state in range(3):
        view = an_empty_view()
        view[2, 2] = (4, 1, state)
        shapes.add(re.sub(r'(fill|stroke)="[^"]*"|aria-label="[^"]*"|<desc>.*?</desc>', "", view_svg(view)))
    assert len(shapes) == 3
