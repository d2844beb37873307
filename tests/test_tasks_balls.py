"""Bouncing balls: the laws of physics, frames against a loop over pixels, roll-outs."""

import math

import pytest
import torch

import metarim_lite as ml
from metarim_lite.tasks import BouncingBalls
from metarim_lite.tasks.bouncing_balls import draw_balls, draw_curtains, frame_errors
from metarim_lite.tasks.physics import Balls, move, place_balls

SMALL = BouncingBalls(size=16, frames=12, given=5)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def energy(balls):
    return (balls.radius**2 * balls.velocity.square().sum(-1)).sum(-1) / 2  # [B]


def smallest_gap(balls):
    i, j = torch.triu_indices(*[balls.radius.shape[1]] * 2, offset=1)
    distance = (balls.position[:, i] - balls.position[:, j]).norm(dim=-1)
    return (distance - balls.radius[:, i] - balls.radius[:, j]).min().item()


def boxed(position, velocity, radius):
    return Balls(*(torch.tensor([x], dtype=torch.float64) for x in (position, velocity, radius)))


@pytest.mark.parametrize("M", [1, 4, 8])
def test_energy_is_conserved_and_nothing_overlaps_or_leaves_the_box(M):
    balls = place_balls(12, M, (0.08, 0.12), (0.02, 0.1), dice())
    before = energy(balls)
    for _ in range(40):
        balls = move(balls)
        assert (energy(balls) / before - 1).abs().max() < 1e-12
        assert M == 1 or smallest_gap(balls) > -1e-12
        room = balls.radius.unsqueeze(-1)
        assert (balls.position - room).min() > -1e-12 and (1 - room - balls.position).min() > -1e-12


def test_speeds_radii_and_directions_are_uniform():
    balls = place_balls(2_000, 2, (0.08, 0.12), (0.02, 0.1), dice())
    turned = torch.atan2(balls.velocity[..., 1], balls.velocity[..., 0])
    for values, low, high in (
        (balls.velocity.norm(dim=-1), 0.02, 0.1), (balls.radius, 0.08, 0.12), (turned, -math.pi, math.pi)
    ):  # fmt: skip
        shares = torch.histc((values - low) / (high - low), 10, 0, 1) / values.numel()
        assert shares.sum() == pytest.approx(1) and (shares - 0.1).abs().max() < 0.024  # five standard deviations


def test_balls_do_meet_in_these_tests():
    """Without it the test above could pass with balls that fly through each other."""
    balls = place_balls(12, 8, (0.08, 0.12), (0.02, 0.1), dice())
    speeds = balls.velocity.norm(dim=-1)  # walls keep a ball's speed, other balls do not
    for _ in range(10):
        balls = move(balls)
    assert ((balls.velocity.norm(dim=-1) - speeds).abs() > 1e-6).float().mean() > 0.5


def test_a_meeting_keeps_momentum_and_energy():
    """Two unequal balls in the middle of the box, thrown at each other off centre, far from any wall."""
    for seed in range(20):
        angle, r1, r2, aside = torch.rand(4, generator=dice(seed), dtype=torch.float64).tolist()
        u = torch.tensor([math.cos(6.28 * angle), math.sin(6.28 * angle)], dtype=torch.float64)
        across = torch.stack((-u[1], u[0])) * 0.05 * (aside - 0.5)
        radius = torch.tensor([[0.05 + 0.05 * r1, 0.05 + 0.05 * r2]], dtype=torch.float64)
        gap = 0.24 - radius.sum()
        position = torch.stack((0.5 - 0.12 * u, 0.5 + 0.12 * u)).unsqueeze(0)
        balls = Balls(position, torch.stack((u * gap + across, -u * gap * 0.5)).unsqueeze(0), radius)
        after = move(balls)
        mass = (radius**2).unsqueeze(-1)
        assert torch.allclose((mass * after.velocity).sum(1), (mass * balls.velocity).sum(1), rtol=0, atol=1e-15)
        assert torch.allclose(energy(after), energy(balls), rtol=1e-12)
        assert (after.velocity - balls.velocity).norm(dim=-1).min() > 1e-3, "they did not meet"


def test_equal_balls_that_meet_head_on_swap_velocities():
    balls = boxed([[0.3, 0.5], [0.6, 0.5]], [[0.1, 0.0], [-0.05, 0.0]], [0.1, 0.1])
    after = move(balls)  # the gap of 0.1 closes at 0.15 a frame: they meet at 2/3
    assert after.velocity.flatten().tolist() == pytest.approx([-0.05, 0.0, 0.1, 0.0])
    met = [0.3 + 0.1 * 2 / 3, 0.6 - 0.05 * 2 / 3]
    assert after.position[0, :, 0].tolist() == pytest.approx([met[0] - 0.05 / 3, met[1] + 0.1 / 3])


def test_a_lone_ball_follows_the_folded_straight_line():
    """Between parallel walls the place is a triangle wave of time: a closed form for any number of bounces."""
    balls = place_balls(50, 1, (0.05, 0.2), (0.1, 2.7), dice())
    frames = 7
    moved = balls
    for _ in range(frames):
        moved = move(moved)
    r = balls.radius.unsqueeze(-1)
    width = 1 - 2 * r
    unfolded = (balls.position - r + frames * balls.velocity) % (2 * width)
    assert torch.allclose(moved.position, r + torch.minimum(unfolded, 2 * width - unfolded), atol=1e-9)


def test_time_runs_backwards():
    balls = place_balls(8, 4, (0.08, 0.12), (0.02, 0.1), dice())
    there = balls
    for _ in range(10):
        there = move(there)
    back = there._replace(velocity=-there.velocity)
    for _ in range(10):
        back = move(back)
    assert torch.allclose(back.position, balls.position, atol=1e-6)
    assert torch.allclose(-back.velocity, balls.velocity, atol=1e-6)


def test_a_box_does_not_notice_the_other_boxes():
    balls = place_balls(6, 5, (0.08, 0.12), (0.05, 0.1), dice())
    together = move(balls, 9.0)
    alone = [move(Balls(*(x[b : b + 1] for x in balls)), 9.0) for b in range(6)]
    assert torch.allclose(together.position, torch.cat([a.position for a in alone]), atol=1e-12)


def test_frames_agree_with_a_loop_over_pixels():
    balls = place_balls(3, 4, (0.08, 0.12), (0.02, 0.05), dice())
    frames = draw_balls(balls, 16)
    for b in range(3):
        for row in range(16):
            for column in range(16):
                centre = ((column + 0.5) / 16, (row + 0.5) / 16)
                lit = any(
                    math.dist(centre, place) < r
                    for place, r in zip(balls.position[b].tolist(), balls.radius[b].tolist(), strict=True)
                )
                assert frames[b, row, column] == lit


def test_each_split_shows_the_number_of_balls_in_its_name():
    """By area: balls do not overlap, so the lit share of a frame is the number of balls times πr²."""
    task = BouncingBalls(size=64, frames=3, given=1, radii=(0.1, 0.1))
    for split in task.tests[:-1]:
        lit = task.sample(16, dice(), split).inputs.mean().item()
        assert lit / (math.pi * 0.01) == pytest.approx(int(split.split()[0]), abs=0.03)


def test_the_curtain_is_a_dark_square_that_stays_where_it_is():
    curtains = draw_curtains(5_000, 20, 0.4, dice())
    assert ((curtains == 0).sum((1, 2)) == 64).all()
    assert (curtains.mean(0) < 1).all() and len({tuple(c.flatten().tolist()) for c in curtains}) > 100
    batch = SMALL.sample(64, dice(), "4 balls and a curtain")
    clear = SMALL.sample(64, dice(), "4 balls")
    hidden = (clear.inputs - batch.inputs).amax(0)  # [B, size²]: pixels that were ever darkened
    assert hidden.min() == 0 and hidden.sum() > 0
    assert ((batch.inputs * hidden) == 0).all() and ((batch.targets[:-1] * hidden) == 0).all()


def test_targets_are_the_frames_that_follow():
    for split in ("train", *SMALL.tests):
        batch = SMALL.sample(3, dice(), split)
        assert batch.inputs.shape == batch.targets.shape == (11, 3, 256)
        assert torch.equal(batch.inputs[1:], batch.targets[:-1])
        assert split == "train" or batch.given == 5


def test_in_training_any_number_of_frames_from_given_to_all_is_given():
    drawn = dice()
    assert {SMALL.sample(1, drawn).given for _ in range(80)} == set(range(5, 12))


def test_the_metric_counts_the_frames_that_were_not_given():
    """With 5 frames given, the answer at step 4 is the first about a frame that the model has not seen."""
    batch = SMALL.sample(3, dice(), "4 balls")
    right = (batch.targets * 2 - 1) * 1e4
    assert SMALL.metric(right, batch) == 0 == SMALL.loss(right, batch)
    for t, counts in [(3, False), (4, True), (10, True)]:
        wrong = right.clone()
        wrong[t] = -right[t]
        assert (SMALL.metric(wrong, batch) > 1) == counts
        assert frame_errors(wrong, batch).nonzero().flatten().tolist() == [t]


def test_a_model_that_knows_nothing_scores_ln_2():
    batch = SMALL.sample(3, dice(), "8 balls")
    assert SMALL.metric(torch.zeros_like(batch.targets), batch).item() == pytest.approx(math.log(2))


def test_encoder_and_decoder_treat_each_frame_by_itself():
    encoder, decoder = SMALL.encoder(24), SMALL.decoder(24)
    frames = SMALL.sample(3, dice()).inputs
    encoded = encoder(frames)
    assert encoded.shape == (11, 3, 24) and decoder(encoded).shape == frames.shape
    assert torch.allclose(encoder(frames[4:5, 1:2])[0, 0], encoded[4, 1], atol=1e-5)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: BouncingBalls(size=30), "multiple of 4"),
        (lambda: BouncingBalls(given=50), "leave nothing to roll out"),
        (lambda: BouncingBalls(radii=(0.3, 0.2)), "BouncingBalls.radii"),
        (lambda: BouncingBalls(radii=(0.1,)), "BouncingBalls.radii"),
        (lambda: BouncingBalls(radii=0.1), "BouncingBalls.radii is 0.1"),
        (lambda: BouncingBalls(speeds=(math.nan, 0.1)), "BouncingBalls.speeds"),
        (lambda: BouncingBalls(size=(32, 64)), "BouncingBalls.size is .32, 64."),
        (lambda: BouncingBalls(curtain=math.nan), "BouncingBalls.curtain is nan"),
        (lambda: BouncingBalls(curtain=math.inf), "BouncingBalls.curtain is inf"),
        (lambda: BouncingBalls(speeds=("a", "b")), "BouncingBalls.speeds"),
        (lambda: BouncingBalls(curtain=1.5), "BouncingBalls.curtain"),
        (lambda: BouncingBalls(curtain=0.01), "BouncingBalls.curtain"),
        (lambda: BouncingBalls(curtain=0.99), "BouncingBalls.curtain"),
        (lambda: BouncingBalls(balls=20).sample(4, dice()), "do not fit"),
        (lambda: BouncingBalls().sample(4, dice(), "curtain"), "unknown split"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(make, words):
    with pytest.raises(ml.UserError, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)
