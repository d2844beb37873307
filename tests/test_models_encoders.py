"""What the encoder must tell apart, what it must not mix, and what it refuses."""

import pytest
import torch

from metarim_lite import UserError
from metarim_lite.models.encoders import Encoder


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(channels=4, mission_size=8, output_size=16)


def observed(T=3, B=4, L=6):
    """Random views, directions and missions of 4 words and padding."""
    image = torch.stack([torch.randint(n, (T, B, 7, 7), generator=dice(n)) for n in (11, 6, 3)], -1).to(torch.uint8)
    mission = torch.randint(1, 34, (T, B, L), generator=dice(1))
    mission[..., 4:] = 0
    return image, torch.randint(4, (T, B), generator=dice(2)), mission


def test_view_direction_and_every_word_in_its_place_count(encoder):
    image, direction, mission = observed()
    before = encoder(image, direction, mission)
    for channel, codes in enumerate((11, 6, 3)):
        other = image.clone()
        other[..., 2, 5, channel] = (other[..., 2, 5, channel] + 1) % codes
        assert (encoder(other, direction, mission) != before).any(-1).all()
    assert (encoder(image, (direction + 1) % 4, mission) != before).any(-1).all()
    swapped = mission.clone()
    swapped[..., 0], swapped[..., 1] = 3, 4
    turned = swapped.clone()
    turned[..., 0], turned[..., 1] = 4, 3
    assert (encoder(image, direction, swapped) != encoder(image, direction, turned)).any(-1).all()


def test_padding_does_not_count(encoder):
    image, direction, mission = observed()
    longer = torch.nn.functional.pad(mission, (0, 20))
    torch.testing.assert_close(encoder(image, direction, longer), encoder(image, direction, mission[..., :4]))


def test_steps_and_worlds_do_not_mix(encoder):
    image, direction, mission = observed()
    together = encoder(image, direction, mission)
    for t in range(3):
        for b in range(4):
            torch.testing.assert_close(together[t, b], encoder(image[t, b], direction[t, b], mission[t, b]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda i, d, m: (i[:1, :1], d, m), r"image has shape \[1, 1, 7, 7, 3\]; expected \[3, 4, 7, 7, 3\]"),
        (lambda i, d, m: (i.transpose(0, 1), d, m), "image has shape"),
        (lambda i, d, m: (i.movedim(-1, -3), d, m), "image has shape"),
        (lambda i, d, m: (i, d, m[:1, :1]), r"mission has shape \[1, 1, 6\]; expected \[3, 4, 'L'\]"),
        (lambda i, d, m: (i, d, torch.ones(3, 4, 80).long()), "at most 72 words"),
        (lambda i, d, m: (i[:0], d[:0], m[:0]), "at least one world"),
        (lambda i, d, m: (i / 255, d, m), "image is torch.float32; it holds codes"),
        (lambda i, d, m: (i, d, m.double()), "mission is torch.float64"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(encoder, change, sentence):
    with pytest.raises(UserError, match=sentence):
        encoder(*change(*observed()))


def test_the_vector_is_what_the_equations_give(encoder):
    """x = relu(W_view relu(shift + (1 + scale) · cell) + W_mission m + compass), m = Σ bag[place, word], in loops."""
    image, direction, mission = observed(T=1, B=3)
    with torch.no_grad():
        found = encoder(image, direction, mission)
        table, bag = encoder.cells.weight.view(11, 6, 3, 4), encoder.mission.bag.weight.view(72, 34, 8)
        for b in range(3):
            told = torch.zeros(8)
            for place, word in enumerate(mission[0, b].tolist()):
                told = told + (bag[place, word] if word else 0)
            modulation = encoder.film.weight @ told + encoder.film.bias
            scale, shift = modulation[:4], modulation[4:]
            cells = []
            for i in range(7):
                for j in range(7):
                    kind, colour, state = image[0, b, i, j].tolist()
                    cells.append((shift + (1 + scale) * table[kind, colour, state]).clamp(min=0))
            x = encoder.view_out.weight @ torch.cat(cells) + encoder.view_out.bias
            x = x + encoder.mission_out.weight @ told + encoder.compass_out.weight[direction[0, b]]
            torch.testing.assert_close(found[0, b], x.clamp(min=0), rtol=1e-4, atol=1e-5)


def test_tables_start_at_their_documented_scales():
    torch.manual_seed(0)
    encoder = Encoder(channels=16, mission_size=32, output_size=512)
    assert encoder.cells.weight.shape == (11 * 6 * 3, 16)
    for weight, scale in (
        (encoder.cells.weight, 1),
        (encoder.mission.bag.weight, 0.3),
        (encoder.compass_out.weight, 0.1),
    ):
        assert weight.std().item() == pytest.approx(scale, rel=0.05)
