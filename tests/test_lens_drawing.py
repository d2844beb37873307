"""The drawing of a step says what the trace says, in words and shapes, not in colours alone."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from lens_traces import bright_in_the_dark, make_trace
from PIL import Image

from metarim_lite.errors import UserError
from metarim_lite.lens import ModulesFrozen, ModulesOff, SwapMission, describe, field_drawing, frame_png, step_svg, use
from metarim_lite.lens import svg as palette
from metarim_lite.lens.controls import alarm
from metarim_lite.lens.page import DARK, STYLE
from metarim_lite.lens.still import _font as letters
from metarim_lite.lens.still import path_points, svg_png

SVG = "{http://www.w3.org/2000/svg}"
ODD_TRACES = {
    "one step": dict(T=1),
    "long": dict(T=300),
    "two modules": dict(N=2, k=1),
    "sixteen modules": dict(N=16, k=7, T=64),
    "lstm": dict(controller="lstm"),
    "no state": dict(controller="UniformAgent"),
    "failed": dict(success=False, truncated=False),
    "out of time": dict(success=False),
    "nobody active": dict(active=np.zeros((24, 6), bool), communication=np.zeros((24, 2, 6, 6), np.float32)),
    "long mission": dict(mission="put the red ball next to a grey key " * 4),
    "markup in the mission": dict(mission='go to <the> "red" & ball'),
    "changed": dict(interventions=(ModulesOff((1, 2)), ModulesFrozen((0,), start=3), SwapMission("go to a box"))),
}


def parse(trace, t):
    return ET.fromstring(step_svg(trace, t))


def words(root):
    return [e.text for e in root.iter(SVG + "text")]


def boxes(parent, x=0.0, y=0.0, scale=1.0):
    """(element, left, top, right, bottom) of all rectangles and words as they are seen, whatever group they are in.
    Letters are DejaVu's: most others are narrower."""
    for e in parent:
        if e.tag == SVG + "g":
            dx, dy, *larger = map(float, re.findall(r"-?[\d.]+", e.get("transform")))
            yield from boxes(e, x + scale * dx, y + scale * dy, scale * (larger[0] if larger else 1))
        elif e.tag in (SVG + "rect", SVG + "text"):
            left, top = x + scale * float(e.get("x")), y + scale * float(e.get("y"))
            if e.tag == SVG + "rect":
                yield e, left, top, left + scale * float(e.get("width")), top + scale * float(e.get("height"))
            else:
                size, bold = scale * float(e.get("font-size")), "font-weight" in e.attrib
                wide = size * letters(100, bold).getlength(e.text) / 100
                left -= wide * {"start": 0, "middle": 0.5, "end": 1}[e.get("text-anchor", "start")]
                yield e, left, top - 0.8 * size, left + wide, top


@pytest.mark.parametrize("form", ["wide", "narrow", "half", "brief"])
@pytest.mark.parametrize("name", ODD_TRACES)
def test_every_step_of_every_kind_of_trace_is_one_wellformed_picture(name, form):
    trace = make_trace(**ODD_TRACES[name])
    for t in {0, 1, trace.num_steps // 2, trace.num_steps}:
        root = ET.fromstring(step_svg(trace, t, form=form))
        _, _, width, height = map(float, root.get("viewBox").split())
        for e, left, top, right, bottom in boxes(root):
            assert left >= 0 and top >= 0 and right <= width + 0.2 and bottom <= height, ET.tostring(e)
        assert not re.search(r"\bnan\b|\binf\b", step_svg(trace, t).split("</desc>")[1])


@pytest.mark.parametrize(("form", "shown"), [("narrow", 316), ("half", 340), ("brief", 316), ("wide", 774)])
def test_words_are_large_enough_to_read_where_the_form_is_shown(form, shown):
    """At the width (in pixels) that a phone or a laptop gives it."""
    for t in (0, 24):
        root = ET.fromstring(step_svg(make_trace(), t, form=form))
        smallest = min(float(e.get("font-size")) for e in root.iter(SVG + "text"))
        assert smallest * shown / float(root.get("viewBox").split()[2]) >= (10 if form == "wide" else 8.2)


def test_an_unknown_form_is_refused():
    with pytest.raises(UserError, match="'narrow'"):
        step_svg(make_trace(), 0, form="narow")


def test_the_still_is_the_drawing_with_its_world_its_cards_and_its_curves():
    """Colours at places where the drawing has them, found in its elements; nothing is left out but smoothing."""
    trace, scale = make_trace(), 2
    svg = step_svg(trace, 5)
    picture = np.asarray(Image.open(io.BytesIO(svg_png(svg, scale))).convert("RGB")).astype(int)
    assert picture.shape == (600 * scale, 960 * scale, 3)

    def near(x, y, colour):
        expected = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        row, column = (max(int(v * scale), 2) for v in (y, x))
        patch = picture[row - 2 : row + 3, column - 2 : column + 3]
        return np.abs(patch - expected).sum(-1).min() < 60

    found = 0
    for e, left, top, right, bottom in boxes(ET.fromstring(svg)):
        if e.tag == SVG + "rect" and e.get("stroke", "none") != "none" and right - left > 8:
            assert near((left + right) / 2, top, e.get("stroke")) or near(left, (top + bottom) / 2, e.get("stroke"))
            found += 1
    assert found > 20
    red = (np.abs(picture - [255, 0, 0]).sum(-1) < 40).sum()
    assert red == pytest.approx((256 / 8 * scale) ** 2, rel=0.1)  # the red square of the world, one cell
    curve = next(e.get("d") for e in ET.fromstring(svg).iter(SVG + "path") if e.get("stroke") == palette.ORANGE)
    for x, y in path_points(curve)[0][0][3:-3]:
        assert near(x, y, palette.ORANGE)


def test_the_points_of_a_path_are_those_of_its_letters():
    assert path_points("M1 2h3v4z") == [([(1, 2), (4, 2), (4, 6)], True)]
    assert path_points("M0 0L2 1M5 5l1 -1-2 3") == [([(0, 0), (2, 1)], False), ([(5, 5), (6, 4), (4, 7)], False)]
    points, closed = path_points("M0 0C0 3 3 3 3 0")[0]
    assert not closed and points[-1] == (3, 0) and points[12] == pytest.approx((1.5, 2.25))


def test_the_number_of_active_cards_is_the_number_of_active_modules():
    trace = make_trace(k=3)
    for t in range(trace.num_steps):
        shown = words(parse(trace, t))
        assert shown.count("active") == trace.active[t].sum() == 3
        assert shown.count("inactive") == 3


def test_an_active_card_differs_from_an_inactive_one_without_its_colours():
    trace = make_trace(T=1, N=2, k=1, input_attention=np.full((1, 2), 0.5, np.float32))
    cards = {}
    for e in parse(trace, 0).iter(SVG + "rect"):
        if e.get("height") == "92":
            cards[e.get("x")] = float(e.get("stroke-width"))
    left, right = (cards[x] for x in sorted(cards, key=float))
    thick, thin = (left, right) if trace.active[0, 0] else (right, left)
    assert thick >= 2 * thin


def test_the_bar_in_a_card_is_as_long_as_the_attention_on_the_input():
    trace = make_trace()
    bars = [float(e.get("width")) for e in parse(trace, 4).iter(SVG + "rect") if e.get("height") == "10"]
    whole, filled = np.array(bars[0::2]), np.array(bars[1::2])
    np.testing.assert_allclose(filled / whole, trace.input_attention[4], atol=0.01)
    assert [w for w in words(parse(trace, 4)) if w.startswith("input 0") or w.startswith("input 1")] == [
        f"input {a:.2f}" for a in trace.input_attention[4]
    ]


def test_an_active_module_names_the_module_it_reads_most():
    communication = np.zeros((1, 2, 3, 3), np.float32)
    communication[0, :, 0] = [[0.1, 0.1, 0.8], [0.2, 0.0, 0.8]]  # heads agree on module 2
    communication[0, :, 1] = [[0.3, 0.4, 0.3], [0.4, 0.3, 0.3]]  # close to even
    trace = make_trace(T=1, N=3, k=2, communication=communication, active=np.array([[True, True, False]]))
    shown = words(parse(trace, 0))
    assert [w for w in shown if w.startswith(("reads", "keeps"))] == ["reads 2: 0.80", "reads all", "keeps state"]
    assert "the strongest reading is module 0 from module 2 (0.80)" in describe(trace, 0)


def test_a_frozen_winner_is_shown_as_active_and_frozen_but_reads_nothing():
    silent, winner = np.zeros((1, 1, 2, 2), np.float32), np.array([[True, False]])
    frozen = (ModulesFrozen((0,)),)
    trace = make_trace(T=1, N=2, k=1, active=winner, communication=silent, interventions=frozen)
    shown = words(parse(trace, 0))
    assert "frozen" in shown and shown.count("keeps state") == 2


def test_an_intervention_is_announced_and_marked_from_its_start_on():
    trace = make_trace(interventions=(ModulesOff((2,), start=5),))
    assert "changed: module 2 off from step 5" in words(parse(trace, 0))
    assert "off" not in words(parse(trace, 4)) and "off" in words(parse(trace, 5))


def test_a_swapped_mission_is_the_one_in_the_headline():
    trace = make_trace(interventions=(SwapMission("go to a box", start=2),))
    assert "“go to the red ball”" in words(parse(trace, 1))
    assert "“go to a box”" in words(parse(trace, 2))


def test_the_chosen_action_is_bold_and_all_probabilities_are_printed():
    trace = make_trace()
    names = ["turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done"]
    for t in range(trace.num_steps):
        texts = list(parse(trace, t).iter(SVG + "text"))
        bold = [e.text for e in texts if e.text in names and e.get("font-weight")]
        assert bold == [names[trace.actions[t]]]
        start = [e.text for e in texts].index("turn left")
        assert [e.text for e in texts[start + 1 : start + 14 : 2]] == [f"{p:.2f}" for p in trace.probabilities[t]]


def test_each_row_of_the_raster_has_one_block_for_each_step_its_module_was_active():
    trace = make_trace(T=20, N=4, k=2)
    rows = [e.get("d") for e in parse(trace, 0).iter(SVG + "path") if e.get("fill") == palette.BLUE]
    assert [row.count("z") for row in rows] == list(trace.active.sum(axis=0))


def test_the_cursor_moves_one_cell_a_step():
    trace = make_trace(T=10)
    at = [
        next(float(e.get("x")) for e in parse(trace, t).iter(SVG + "rect") if e.get("stroke-width") == "2.5")
        for t in range(10)
    ]
    np.testing.assert_allclose(np.diff(at), np.diff(at)[0], atol=0.11)
    assert np.diff(at)[0] > 5


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (dict(success=True), "After 24 steps the episode is over: mission accomplished, reward 0.75."),
        (dict(success=False), "After 24 steps the episode is over: out of time, mission not accomplished."),
        (dict(success=False, truncated=False), "After 24 steps the episode is over: mission failed."),
    ],
)
def test_the_last_picture_says_how_the_episode_ended(fields, sentence):
    assert describe(make_trace(**fields), 24) == sentence


def test_the_picture_carries_its_description_for_those_who_cannot_see_it():
    trace = make_trace()
    root = parse(trace, 7)
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.find(SVG + "desc").text == describe(trace, 7)
    assert root.find(SVG + "title").text == "Step 7 of 24"
    chosen = trace.probabilities[7, trace.actions[7]]
    assert f"(probability {chosen:.2f})" in describe(trace, 7)


@pytest.mark.parametrize("t", [-1, 25])
def test_a_step_outside_the_episode_is_refused_with_a_sentence(t):
    for draw in (step_svg, frame_png, describe):
        with pytest.raises(UserError, match=f"step {t} is not in this episode; choose 0 to 24"):
            draw(make_trace(), t)


def test_the_png_holds_exactly_the_pixels_of_the_frame():
    trace = make_trace()
    for t in (0, 24):
        picture = np.asarray(Image.open(io.BytesIO(frame_png(trace, t, tile_size=9))).convert("RGB"))
        np.testing.assert_array_equal(picture, trace.frame(t, 9))


def test_drawing_twice_gives_the_same_string():
    assert step_svg(make_trace(), 5) == step_svg(make_trace(), 5)


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [("INK", "PAPER"), ("QUIET", "PAPER"), ("INK", "BLUE_TINT"), ("BLUE", "BLUE_TINT"), ("INK", "GREEN_TINT")],
)
def test_text_stands_out_from_its_ground_by_the_wcag_ratio(ink, paper, theme):
    colours = (getattr(palette, name) for name in (ink, paper))
    dark, light = sorted(luminance(DARK[c] if theme == "dark" else c) for c in colours)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_colour_of_a_drawing_but_the_bright_ones_has_its_counterpart_in_the_dark():
    for trace in (make_trace(), make_trace(controller="lstm"), make_trace(success=False)):
        for t in (0, trace.num_steps):
            assert not bright_in_the_dark(step_svg(trace, t))


@pytest.mark.parametrize(("full", "least"), [(use.FULL, 4.5), (field_drawing.FULL, 3)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_and_arrows_stand_out_from_the_deepest_shade_they_lie_on(full, least, theme):
    """WCAG: 4.5 for words, 3 for what is drawn."""
    ink, paper, blue = (DARK[c] if theme == "dark" else c for c in (palette.INK, palette.PAPER, palette.BLUE))
    ends = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (paper, blue)])
    ground = "#" + "".join(f"{round(v):02X}" for v in (1 - full) * ends[0] + full * ends[1])
    dark, light = sorted(map(luminance, (ink, ground)))
    assert (light + 0.05) / (dark + 0.05) >= least


def test_a_problem_reads_in_the_light_and_in_the_dark():
    assert 'class="metarim-problem"' in alarm("there is no step 99")
    light, dark = re.findall(r"\.metarim-problem\{color:(#\w+)", STYLE)
    assert 1.05 / (luminance(light) + 0.05) >= 4.5
    assert (luminance(dark) + 0.05) / (luminance("#222222") + 0.05) >= 4.5


def test_a_shade_is_mixed_with_the_paper_in_a_still():
    drawn = palette.document(30, 30, [palette.rect(5, 5, 20, 20, fill="#000000", shade=0.25)], "", "")
    pixels = np.asarray(Image.open(io.BytesIO(svg_png(drawn))).convert("RGB")).astype(int)
    np.testing.assert_allclose(pixels[22, 22], 0.75 * 255, atol=4)


def test_the_words_beside_each_other_do_not_run_into_each_other():
    """Words in one line of the action table end before the bar begins, at a generous 0.62 em a letter."""
    texts = [e for e in parse(make_trace(), 0).iter(SVG + "text") if e.text in ("go forward", "turn right")]
    bars = [float(e.get("x")) for e in parse(make_trace(), 0).iter(SVG + "rect") if e.get("height") == "15"]
    for e in texts:
        assert float(e.get("x")) + 0.62 * float(e.get("font-size")) * len(e.text) < min(bars)


def test_a_curve_runs_from_the_module_read_down_to_its_reader_and_is_as_wide_as_the_weight():
    weights = np.array([[0.1, 0.2, 0.7], [0.0, 0.0, 0.0], [0.05, 0.85, 0.1]], np.float32)  # module 1 is inactive
    active = np.array([[True, False, True]])
    root = parse(make_trace(T=1, N=3, k=2, active=active, communication=weights[None, None]), 0)
    discs = {float(e.get("cx")) for e in root.iter(SVG + "circle") if float(e.get("cy")) > 300}
    module_at = {x: n for n, x in enumerate(sorted(discs))}
    drawn = {}
    for e in root.iter(SVG + "path"):
        if "C" in e.get("d"):
            numbers = [float(v) for v in re.findall(r"[\d.]+", e.get("d"))]
            assert numbers[1] < numbers[-1]
            drawn[module_at[numbers[-2]], module_at[numbers[0]]] = float(e.get("stroke-width"))
    assert set(drawn) == {(n, m) for n in (0, 2) for m in range(3)}
    for n in (0, 2):
        order = sorted(range(3), key=lambda m: weights[n, m])
        assert drawn[n, order[0]] < drawn[n, order[1]] < drawn[n, order[2]]
