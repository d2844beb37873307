"""Plots of recorded numbers: a picture is written, and its words say what it shows."""

from metarim_lite.analysis import wilson
from metarim_lite.analysis.plots import learning_curves


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
