"""Missions as tokens, instructions as programs."""

import pytest
import torch

from metarim_lite.envs import MISSION_LENGTH, VOCABULARY, LevelBank, decode_mission, encode_mission, make_minigrid
from metarim_lite.envs.missions import GO_TO, OPEN, PICK_UP, PUT_NEXT, pack_instruction
from metarim_lite.errors import UserError


def test_tokens_are_padded_with_zero_and_have_a_fixed_length():
    tokens = encode_mission("go to the red ball")
    assert tokens.shape == (MISSION_LENGTH,) and tokens.dtype == torch.int64
    assert [VOCABULARY[t] for t in tokens[:5]] == ["go", "to", "the", "red", "ball"]
    assert not tokens[5:].any()


@pytest.mark.parametrize("level_id", ["BabyAI-BossLevel-v0", "MiniGrid-LockedRoom-v0", "MiniGrid-Fetch-5x5-N2-v0"])
def test_decoding_gives_minigrids_sentence_back(level_id):
    env = make_minigrid(level_id)
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        assert decode_mission(encode_mission(observation["mission"])) == observation["mission"]


def test_the_longest_sentence_of_the_grammar_fits_exactly():
    thing = "the purple ball in front of you"
    both = f"put {thing} next to {thing} and put {thing} next to {thing}"
    text = f"{both} after you {both}"
    assert len(text.split()) == MISSION_LENGTH
    assert decode_mission(encode_mission(text)) == text


def test_unknown_words_are_refused_with_the_nearest_known_ones():
    with pytest.raises(UserError, match="'bal'.*'ball'"):
        encode_mission("go to the red bal")
    with pytest.raises(UserError, match="at most 72 words"):
        encode_mission("go " * 73)


class Thing:
    def __init__(self, kind):
        self.type = kind


def instructions():
    """Two atoms over made-up objects, with minigrid's own classes."""
    from minigrid.envs.babyai.core import verifier as v

    door, key, ball = Thing("door"), Thing("key"), Thing("ball")
    open_door = v.OpenInstr(v.ObjDesc("door"), strict=True)
    open_door.desc.obj_set = [door]
    put = v.PutNextInstr(v.ObjDesc("key"), v.ObjDesc("ball"))
    put.desc_move.obj_set, put.desc_fixed.obj_set = [key], [ball]
    return v, open_door, put, {id(door): 1, id(key): 2, id(ball): 3}


def test_before_and_after_are_the_same_program_with_the_parts_exchanged():
    v, a, b, slots = instructions()
    before = pack_instruction(v.BeforeInstr(a, b), slots)
    assert before == pack_instruction(v.AfterInstr(b, a), slots)
    assert before.kind == [OPEN, GO_TO, PUT_NEXT, GO_TO]
    assert before.done == [0, 1, 0, 1]
    assert (before.first[0], before.first[2], before.second[2]) == (0b10, 0b100, 0b1000)
    assert before.strict == [1, 0, 0, 0]


def test_a_failing_part_of_and_does_not_fail_the_mission():
    v, a, b, slots = instructions()
    program = pack_instruction(v.AndInstr(a, b), slots)
    assert program.kind[:2] == [OPEN, PUT_NEXT] and program.done == [0, 0, 1, 1] and program.strict == [0, 0, 0, 0]


def test_forms_that_the_verifier_does_not_know_are_refused():
    v, a, b, slots = instructions()
    with pytest.raises(UserError, match="strict sequence"):
        pack_instruction(v.BeforeInstr(a, b, strict=True), slots)
    b.strict = True
    with pytest.raises(UserError, match="strict 'put next to'"):
        pack_instruction(b, slots)
    go = v.GoToInstr(v.ObjDesc(None, "grey"))
    go.desc.obj_set = [Thing("wall")]
    with pytest.raises(UserError, match="about a wall"):
        pack_instruction(go, slots)


def test_a_grey_object_to_pick_up_may_be_a_wall_too():
    """Quirk 4: picking up 'a grey object' also describes the walls; nobody can pick one up."""
    bank = LevelBank.generate("BabyAI-PickupDist-v0", range(60), cache=False)
    assert "pick up a grey object" in {bank.mission_text(i) for i in range(len(bank))}
    assert set(bank.tables["kind"][:, 0].tolist()) == {PICK_UP}
