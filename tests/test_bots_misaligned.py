"""The comparison with minigrid resets its environments to the levels that our worlds go on to."""

from metarim_lite.bots.compare import compare_level


def test_twins_follow_their_worlds_from_episode_to_episode():
    result = compare_level("BabyAI-GoToObjS4-v0", 600, seed=3, num_worlds=8)
    assert result.episodes > 3 * 8 and result.successes > 8 and result.steps == 600
    assert result.differences == ()
