"""Plots of recorded numbers: a picture is written, and its words say what it shows."""

import pytest

import metarim_lite as ml
from metarim_lite.analysis import Estimate, wilson
from metarim_lite.analysis.plots import curves_in_panels, learning_curves, metric_curves


def test_learning_curves_write_a_picture_and_say_it_in_words(tmp_path):
    from PIL import Image

    runs = {"RIM": [{"frames": 1e5, "success": 0.2}, {"frames": 2e6, "success": 0.95}]}
    words = learning_curves(runs, tmp_path / "c.png", held_out={"RIM": wilson(95, 100), "random": wilson(30, 100)})
    assert "RIM ends at 95% after 2.00 million frames" in words and "random reaches 30%" in words
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size[0] > 600 and len(picture.convert("RGB").getcolors(1 << 20)) > 5


def test_drawing_leaves_no_open_figures(tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    learning_curves({"a": []}, tmp_path / "empty.png")
    assert plt.get_fignums() == before


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self))
    return figures


def points(curve):
    return list(zip(*(x.tolist() for x in curve.get_data()), strict=True))


def test_learning_curves_draw_the_numbers_of_each_run(drawn):
    runs = {
        "RIM": [{"frames": 1e6, "success": 0.2}, {"frames": 15e5}, {"frames": 2e6, "success": 0.9}],
        "LSTM": [{"frames": 3e6, "success": 0.4}],
    }
    held_out = {"RIM": Estimate(0.5, 0.45, 0.7), "random": Estimate(0.3, 0.2, 0.4)}
    words = learning_curves(runs, "c.png", held_out=held_out, title="t")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    assert points(lines["RIM"]) == [(1.0, 0.2), (2.0, 0.9)] and points(lines["LSTM"]) == [(3.0, 0.4)]
    assert lines["RIM"].get_color() != lines["LSTM"].get_color()
    assert lines["RIM"].get_linestyle() != lines["LSTM"].get_linestyle()
    assert list(lines["random"].get_ydata()) == [0.3, 0.3]
    (bar,) = [c for c in axes.containers if c.has_yerr]
    assert points(bar[0]) == [(2.0, 0.5)]
    (segment,) = bar[2][0].get_segments()
    assert segment[:, 1].tolist() == pytest.approx([0.45, 0.7])
    assert axes.get_title() == "t" and axes.get_xlabel() == "frames (millions)"
    assert words.endswith(
        "RIM ends at 90% after 2.00 million frames; LSTM ends at 40% after 3.00 million frames; random reaches 30%."
    )


def test_every_panel_draws_its_own_quantity(drawn):
    runs = {
        "a": [{"frames": 1e6, "success": 0.1, "success/open": 0.2, "success/go to": 0.3, "held_out_success": 0.4},
              {"frames": 2e6, "success": 0.5, "success/open": 0.6, "success/go to": 0.7}],
        "b": [{"frames": 3e6, "success": 0.8, "success/go to": 0.9}],
    }  # fmt: skip
    metric_curves(runs, "c.png")
    panels = {a.get_title(): [points(line) for line in a.get_lines()] for a in drawn[0].axes if a.get_visible()}
    assert panels == {
        "success": [[(1.0, 0.1), (2.0, 0.5)], [(3.0, 0.8)]],
        "success: open": [[(1.0, 0.2), (2.0, 0.6)]],
        "success: go to": [[(1.0, 0.3), (2.0, 0.7)], [(3.0, 0.9)]],
        "held out success": [[(1.0, 0.4)]],
    }
    tasks = {"x": [{"update": u, "loss": 1 / u, "test/60 blanks": 2 / u, "seconds": u} for u in (1, 2)]}
    metric_curves(tasks, "c.png")
    panels = {a.get_title(): [points(line) for line in a.get_lines()] for a in drawn[1].axes if a.get_visible()}
    assert panels == {"loss": [[(1, 1.0), (2, 0.5)]], "test: 60 blanks": [[(1, 2.0), (2, 1.0)]]}


def test_panels_of_curves_show_the_interquartile_mean_at_the_end():
    frames = [0, 1_000_000]
    curves = {"a": [(frames, [0.0, end]) for end in (0.1, 0.5, 0.6, 1.0)], "b": [(frames, [0.2, 0.9])]}
    svg, words = curves_in_panels(curves)
    assert "a ends at 0.55" in words and "b ends at 0.90" in words  # without the best and the worst quarter
    assert svg.startswith("<svg") and svg == curves_in_panels(curves)[0], "the same each time"
    assert "a (4 runs)" in svg and "b (1 runs)" not in svg and "b (1 run)" in svg
    with pytest.raises(ml.UserError, match="no curves to draw"):
        curves_in_panels({"a": []})


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (7, 3)])
def test_under_each_column_of_panels_stand_the_frames(panels, columns):
    curves = {f"setting {i}": [([0, 4_000_000], [0.0, 0.5])] for i in range(panels)}
    svg, _ = curves_in_panels(curves)
    assert svg.count(">4</text>") == columns  # no success is 4
