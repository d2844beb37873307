"""Pictures equal minigrid's, pixel for pixel."""

import numpy as np
import pytest
import torch

from metarim_lite.envs import GridWorlds, LevelBank, make_minigrid
from metarim_lite.errors import UserError

LEVELS = ["BabyAI-GoToLocal-v0", "BabyAI-BossLevel-v0", "MiniGrid-LavaCrossingS9N1-v0", "MiniGrid-DoorKey-6x6-v0"]


@pytest.mark.parametrize("level_id", LEVELS)
def test_frames_equal_minigrids_pixel_for_pixel(level_id):
    worlds = GridWorlds(LevelBank.generate(level_id, range(2), cache=False), 2)
    worlds.reset(torch.arange(2))
    envs = [make_minigrid(level_id) for _ in range(2)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        actions = torch.randint(0, 6, (2,), generator=generator)
        step = worlds.step(actions)
        for b, env in enumerate(envs):
            env.step(int(actions[b]))
            if step.terminated[b] or step.truncated[b]:
                env.reset(seed=int(worlds.levels[b]))
            assert np.array_equal(worlds.frame(b, tile_size=8).numpy(), env.get_frame(tile_size=8))
            view = worlds.frame(b, tile_size=8, agent_view=True).numpy()
            assert np.array_equal(view, env.get_frame(tile_size=8, agent_pov=True))


def test_drawing_a_world_that_does_not_exist_is_refused_in_a_sentence():
    worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", range(1), cache=False), 1)
    worlds.reset()
    with pytest.raises(UserError, match="world 1 does not exist"):
        worlds.frame(1)
    with pytest.raises(UserError, match="tile_size"):
        worlds.frame(0, tile_size=0)
