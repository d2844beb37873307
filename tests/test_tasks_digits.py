"""Sequential digits against scikit-learn's own arrays."""

import sys

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.models import RIM, ControllerState
from metarim_lite.tasks import Digits
from metarim_lite.tasks.digits import HELD_OUT, digit_images, read_pixels

datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(images, labels):
    """Images and labels as a sorted list, whatever order they came in."""
    return sorted((*image.flatten().tolist(), label) for image, label in zip(images, labels, strict=True))


def test_images_and_labels_are_scikit_learns():
    ours, labels = digit_images()
    theirs = datasets.load_digits()
    assert ours.min() == 0 and ours.max() == 1
    assert rows((ours * 16).int().numpy(), labels.numpy()) == rows(theirs.images.astype(int), theirs.target)


def test_training_and_test_images_are_disjoint_and_together_all():
    task = Digits()
    train, test = task.sample(5_000, dice(), "train"), task.sample(5_000, dice(), "8x8")
    assert train.inputs.shape == (64, 1797 - HELD_OUT, 1) and test.inputs.shape == (64, HELD_OUT, 1)
    images = torch.cat((train.inputs, test.inputs), 1).squeeze(-1).t().numpy()
    labels = torch.cat((train.targets, test.targets)).numpy()
    theirs = datasets.load_digits()
    assert rows((images * 16).astype(int), labels) == rows(theirs.data.astype(int), theirs.target)


def test_the_images_for_testing_are_the_last_in_scikit_learns_order_where_other_writers_stand():
    theirs = datasets.load_digits()
    test = Digits().sample(HELD_OUT, dice(), "8x8")
    images, last = (test.inputs.squeeze(-1).t() * 16).int().numpy(), theirs.data[-HELD_OUT:].astype(int)
    assert rows(images, test.targets.numpy()) == rows(last, theirs.target[-HELD_OUT:])


def test_who_wins_at_a_black_pixel_depends_on_the_state():
    """It would not if the pixel looked like null: all scores would be 0, and the first modules win every time."""
    torch.manual_seed(0)
    encoder, rim = Digits().encoder(40), RIM(40, 8, 6, 4)
    state = ControllerState(torch.randn(100, 6, 8, generator=dice()), torch.zeros(100, 6, 8))
    active = rim(encoder(torch.zeros(1, 100, 1)), state, record=True)[2].active[0]
    assert (active.sum(-1) == 4).all() and active.float().mean(0).max() < 0.95


def test_pixels_come_row_by_row():
    image = torch.arange(12.0).view(1, 3, 4)
    assert read_pixels(image[:, :, :3], 3).flatten().tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_scaling_is_bilinear_between_pixel_centres():
    image = torch.rand(6, 6)
    scaled = read_pixels(image.unsqueeze(0), 9).view(9, 9).numpy()

    def along(n, m):
        """Interpolation from n to m samples as a matrix, by numpy's own linear interpolation of unit vectors."""
        at = (np.arange(m) + 0.5) * n / m - 0.5
        return np.stack([np.interp(at, np.arange(n), unit) for unit in np.eye(n)], 1)

    expected = along(6, 9) @ image.numpy() @ along(6, 9).T
    assert np.allclose(scaled, expected, atol=1e-6)


def test_resolutions_show_the_same_images_in_more_steps():
    task = Digits()
    for split, size in [("8x8", 8), ("9x9", 9), ("11x11", 11), ("14x14", 14)]:
        batch = task.sample(50, dice(), split)
        assert batch.inputs.shape == (size**2, 50, 1) and batch.given == size**2
        assert torch.equal(batch.targets, task.sample(50, dice(), "8x8").targets)
        assert torch.allclose(batch.inputs.mean(0), task.sample(50, dice(), "8x8").inputs.mean(0), atol=0.08)


def test_the_metric_is_accuracy_at_the_last_step():
    task = Digits()
    batch = task.sample(40, dice(), "8x8")
    answers = torch.randn(64, 40, 10)
    answers[-1] = torch.nn.functional.one_hot((batch.targets + (torch.arange(40) < 10)) % 10, 10).float()
    assert task.metric(answers, batch).item() == pytest.approx(0.75)
    assert task.loss(torch.zeros(64, 40, 10), batch).item() == pytest.approx(2.302585)


def test_without_scikit_learn_a_sentence_says_what_to_install(monkeypatch):
    digit_images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ml.UserError, match="pip install scikit-learn"):
        Digits().sample(2, dice())


def test_impossible_settings_are_refused():
    with pytest.raises(ml.UserError, match="Digits.test_sizes"):
        Digits(test_sizes=(9, 1))
    with pytest.raises(ml.UserError, match="did you mean '14x14'"):
        Digits().sample(2, dice(), "14x4")
