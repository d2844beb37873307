# %% [markdown] slideshow={"slide_type": "slide"}
# # 05 · Catastrophic forgetting: exercises
#
# For [lesson 05](../notebooks/05_catastrophic_forgetting.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. Nothing here trains an agent; every cell is instant.
#
# Four exercises, about 65 minutes. The letters stand on the [notation card](../notebooks/notation.ipynb).
#
# In a success matrix `R` the rows are stages and the columns are tasks: `R[i, j]` is the success on task j after
# stage i.

# %% slideshow={"slide_type": "skip"}
import numpy as np
import torch

from metarim_lite.course import check, once_written, solved_or_reference
from metarim_lite.experiments.yardsticks import shipped_comparison

# %% tags=["exercise"] metarim={"exercise": "forgetting", "role": "answer"}
def forgetting(success):
    """What is left at the end, and what was lost on the way.

    Args:
        success: numpy [S, S], the success matrix.

    Returns:
        average: a number, the mean success over all tasks in the end.
        forgetting: [S], for each task, from its own stage to the end.
        from_the_best: [S-1], for each task but the last, from its best before the last stage on.
    """
    # SOLUTION-BEGIN
    last = success[-1]
    best = success[:-1].max(axis=0)  # (S-1, S) -> (S,)
    return last.mean(), np.diagonal(success) - last, (best - last)[:-1]
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Three tasks. Task 0 was at its best *after stage 1*, while task 1 was being trained.
#
# | after | task 0 | task 1 | task 2 |
# |---|---|---|---|
# | stage 0 | 0.9 | 0.2 | 0.5 |
# | stage 1 | 1.0 | 0.8 | 0.5 |
# | stage 2 | 0.3 | 0.7 | 0.9 |
#
# So task 0 has lost 0.6 since its own stage, and 0.7 since its best.

# %% metarim={"exercise": "forgetting", "role": "example"}
R = np.array([[0.9, 0.2, 0.5], [1.0, 0.8, 0.5], [0.3, 0.7, 0.9]])

with once_written(forgetting):
    average, lost, from_the_best = forgetting(R)
    print(
        f"average {average:.2f}, forgetting {np.round(lost, 2)}, from the best "
        f"{np.round(from_the_best, 2)}"
    )

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# The three runs of the lesson's table whose LSTM had no help, one line each: what is left, and what was lost.

# %% metarim={"exercise": "forgetting", "role": "next"}
measure = solved_or_reference("forgetting", forgetting)

comparison = shipped_comparison("yardsticks")
for seed, success in zip(comparison.seeds, comparison.matrices["lstm"]["none"], strict=True):
    average, lost, _ = measure(np.array(success))
    print(
        f"seed {seed}: average {average:.2f}, lost of each task",
        " ".join(f"{x:5.2f}" for x in lost),
    )

# %% tags=["exercise"] metarim={"exercise": "transfer", "role": "answer"}
def transfer(success, area, alone):
    """What one task does for another.

    Args:
        success: numpy [S, S], the success matrix.
        area: numpy [S], area under each task's curve during its own stage.
        alone: numpy [S], the same of an agent that learns that task alone, from nothing.

    Returns:
        backward: a number, what later stages did to earlier tasks, on average.
        zero_shot: [S-1], success on each task but the first just before it was trained.
        forward: [S], how much sooner each task was learnt than alone.
    """
    # SOLUTION-BEGIN
    backward = (success[-1] - np.diagonal(success))[:-1].mean()
    zero_shot = np.diagonal(success, offset=1)
    return backward, zero_shot, (area - alone) / (1 - alone)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** The same matrix. Task 1 was learnt later than alone, task 2 sooner: forward transfer has a sign
# for each.

# %% metarim={"exercise": "transfer", "role": "example"}
with once_written(transfer):
    backward, zero_shot, forward = transfer(R, np.array([0.5, 0.4, 0.8]), np.array([0.5, 0.5, 0.6]))
    print(
        f"backward {backward:.2f}, zero-shot {np.round(zero_shot, 2)}, forward "
        f"{np.round(forward, 2)}"
    )

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Does an LSTM learn the later tasks sooner for having learnt the earlier ones? The areas of all runs come with the table.
# Nothing came before task 0, and with the same seed its stage *is* the run alone: exactly 0.

# %% metarim={"exercise": "transfer", "role": "next"}
measure = solved_or_reference("transfer", transfer)

forwards = []
for success, area, alone in zip(
    comparison.matrices["lstm"]["none"], comparison.areas["lstm"]["none"],
    comparison.areas_alone["lstm"], strict=True,
):
    forwards.append(measure(np.array(success), np.array(area), np.array(alone))[2])
for task, name in enumerate(comparison.config.tasks):
    values = np.array(forwards)[:, task]
    print(f"{name:24} forward transfer, seed by seed:", " ".join(f"{v:5.2f}" for v in values))

# %% tags=["exercise"] metarim={"exercise": "ewc_penalty", "role": "answer"}
def ewc_penalty(theta, anchor, gradients, strength):
    """What it costs to move weights that an old task needs.

    Args:
        theta: [P], the weights now.
        anchor: [P], the weights as the old task left them.
        gradients: [M, P], of log π for M samples of the old task.
        strength: λ.

    Returns:
        fisher: [P], the diagonal of the empirical Fisher information.
        penalty: a tensor of one number, differentiable with respect to theta.
    """
    # SOLUTION-BEGIN
    fisher = gradients.square().mean(0)  # (M, P) -> (P,)
    return fisher, strength / 2 * (fisher * (theta - anchor).square()).sum()
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two weights, two samples. The *mean* gradient of the first weight is 0, as where a task is
# learnt, and yet the task depends on it most: F = (9, ½).

# %% metarim={"exercise": "ewc_penalty", "role": "example"}
gradients = torch.tensor([[3.0, 0.0], [-3.0, 1.0]])  # (M=2, P=2)
with once_written(ewc_penalty):
    fisher, penalty = ewc_penalty(torch.tensor([0.1, 1.0]), torch.zeros(2), gradients, strength=2.0)
    print(f"Fisher information {fisher.tolist()}, penalty {penalty:.2f}")

# %% [markdown] tags=["solution-only"]
# **About this solution.** The package's `ElasticWeights` never adds this penalty to a loss. Adam divides every
# gradient by its own size, so a stiff spring would make a weight jump to and fro by the learning rate. Instead each
# of Adam's steps is followed by a pull of the springs that no stiffness makes unstable;
# `metarim_lite/experiments/ewc.py` derives it in four lines. In the package a sample is a span of steps, not one
# step.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# The old task wants both weights at 0 and cares 18 times as much for the first. The new one wants both at 1. How far
# does each weight go, as λ grows?

# %% metarim={"exercise": "ewc_penalty", "role": "next"}
price = solved_or_reference("ewc_penalty", ewc_penalty)

for strength in (0.0, 0.5, 2.0, 20.0):
    theta = torch.zeros(2, requires_grad=True)
    for _ in range(2000):
        new_task = (theta - 1).square().sum() / 2
        (slope,) = torch.autograd.grad(
            new_task + price(theta, torch.zeros(2), gradients, strength)[1], theta
        )
        theta = (theta - 0.01 * slope).detach().requires_grad_()
    first, second = theta.tolist()
    print(f"λ = {strength:4}: the weights go to {first:.2f} and {second:.2f}")

# %% [markdown]
# *The one that the old task does not need is nearly free to go; the other is held. That is all of the idea, and its
# limit, too: where every weight is needed by both, there is no free one to use.*

# %% tags=["exercise"] metarim={"exercise": "rehearse", "role": "answer"}
def rehearse(new, old, share, order_new, order_old):
    """A batch of the usual size in which some rows are of old tasks.

    Args:
        new: [B, D], what the new task has just given.
        old: [M, D], what is kept of old tasks.
        share: of the batch that comes from old tasks, between 0 and 1.
        order_new: [B], the rows of `new` in a random order.
        order_old: [M], the rows of `old` in a random order.

    Returns:
        batch: [B, D], first the new rows, then the old ones.
        counted: how many of them count as new frames.
    """
    # SOLUTION-BEGIN
    r = int(share * len(new))  # rounded down
    kept = len(new) - r
    return torch.cat([new[order_new[:kept]], old[order_old[:r]]]), kept
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Eight new rows, 0 to 7; six old ones, 100 to 105. With a share of 0.3, r = ⌊2.4⌋ = 2.

# %% metarim={"exercise": "rehearse", "role": "example"}
# (B=8, D=1), (M=6, D=1)
new, old = torch.arange(8.0).unsqueeze(1), torch.arange(100.0, 106.0).unsqueeze(1)
with once_written(rehearse):
    batch, counted = rehearse(
        new, old, 0.3, torch.tensor([5, 1, 7, 0, 2, 6, 3, 4]), torch.tensor([4, 0, 5, 2, 1, 3])
    )
    print(batch[:, 0].int().tolist(), "of which", counted, "count")

# %% [markdown] tags=["solution-only"]
# **About this solution.** The yardstick "replay" of `metarim continual` is stricter with itself: it keeps old
# *levels*, plays them anew with the agent as it is, and counts these frames, too. PPO's ratio compares the policy
# with the one that played, so old transitions would be stale; and with equal frames for all, replay is not ahead for
# having seen more.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# A budget of 30 batches of 64. What does each share cost the new task, and how many batches pass before every one of
# 200 kept rows has been seen again?

# %% metarim={"exercise": "rehearse", "role": "next"}
mix = solved_or_reference("rehearse", rehearse)

dice = torch.Generator().manual_seed(0)
new, old = torch.zeros(64, 1), torch.arange(200.0).unsqueeze(1)
for share in (0.1, 0.25, 0.5):
    frames, unseen, batches = 0, set(range(200)), 0
    while unseen:
        shuffled = torch.randperm(64, generator=dice), torch.randperm(200, generator=dice)
        batch, counted = mix(new, old, share, *shuffled)
        unseen -= set(batch[counted:, 0].int().tolist())
        batches, frames = batches + 1, frames + (counted if batches <= 30 else 0)
    print(
        f"share {share:4}: {frames:,} of 1,920 frames are new; all old rows seen after {batches} "
        "batches"
    )
