"""What has to hold on a GPU too: the same numbers as on a CPU, no waiting, CUDA graphs. Skipped where there is none.

pytest -m gpu
"""

import dataclasses

import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs import GridWorlds, LevelBank
from metarim_lite.models import LSTM, RIM

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

MIXED = ("BabyAI-GoToLocal-v0", "BabyAI-MiniBossLevel-v0", "BabyAI-PutNextS5N2Carrying-v0", "MiniGrid-LavaGapS5-v0")
B = 64


@pytest.fixture(scope="module")
def bank():
    return LevelBank.concat([LevelBank.generate(level_id, range(12), cache=False) for level_id in MIXED])


@pytest.fixture
def no_waiting():
    """Whatever makes the host wait for the device raises."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def flat(step):
    return [*step[1:], *step.observation]


def random_actions(steps):
    return torch.randint(0, 7, (steps, B), generator=torch.Generator().manual_seed(0))


def test_worlds_give_the_numbers_of_a_cpu(bank):
    here, there = GridWorlds(bank, B, device="cpu"), GridWorlds(bank, B, device="cuda")
    here.reset(), there.reset()
    for actions in random_actions(300):
        for ours, theirs in zip(flat(here.step(actions)), flat(there.step(actions.cuda())), strict=True):
            assert torch.equal(ours, theirs.cpu())


@pytest.mark.parametrize("autoreset", [True, False])
def test_worlds_never_make_the_host_wait(bank, autoreset, no_waiting):
    worlds = GridWorlds(bank, B, device="cuda", autoreset=autoreset)
    torch.cuda.set_sync_debug_mode("default")
    worlds.reset()
    actions = random_actions(20).cuda()
    torch.cuda.set_sync_debug_mode("error")
    for row in actions:
        worlds.step(row)


def test_worlds_run_under_a_cuda_graph(bank):
    worlds, eager = GridWorlds(bank, B, device="cuda"), GridWorlds(bank, B, device="cuda")
    worlds.reset(), eager.reset()
    start = worlds.state_dict()
    actions = torch.zeros(B, dtype=torch.int64, device="cuda")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # as PyTorch asks: warm up on another stream
        for _ in range(3):
            worlds.step(actions)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step = worlds.step(actions)
    worlds.load_state_dict(start)  # copies into the tensors that the graph works on
    for row in random_actions(100).cuda():
        actions.copy_(row)
        graph.replay()
        for ours, theirs in zip(flat(step), flat(eager.step(row)), strict=True):
            assert torch.equal(ours, theirs)


def test_compiled_worlds_give_the_same_numbers(bank):
    eager, compiled = GridWorlds(bank, B, device="cuda"), GridWorlds(bank, B, device="cuda")
    eager.reset(), compiled.reset()
    if not compiled.compile():
        pytest.skip("torch finds no compiler here")
    for row in random_actions(80).cuda():
        for ours, theirs in zip(flat(compiled.step(row)), flat(eager.step(row)), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kernel", ["plain", "fused", "compiled"])
def test_a_rim_gives_values_and_gradients_of_a_cpu(kernel):
    torch.manual_seed(0)
    rim = RIM(24, 16, 5, 3, kernel=kernel).double()
    x, resets = torch.randn(12, 7, 24, dtype=torch.float64), torch.rand(12, 7) < 0.2
    found = []
    for device in ("cpu", "cuda"):
        rim.to(device).zero_grad()
        inputs = x.detach().to(device).requires_grad_()
        outputs, _, _ = rim(inputs, None, resets.to(device))
        (outputs**2).sum().backward()
        found.append([t.detach().cpu() for t in (outputs, inputs.grad, *(p.grad for p in rim.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() < 1e-9


@pytest.mark.parametrize("make", [lambda: RIM(24, 16, 5, 3), lambda: LSTM(24, 80)], ids=["rim", "lstm"])
def test_controllers_run_under_a_cuda_graph(make):
    torch.manual_seed(0)
    controller = make().cuda()
    x, resets = torch.randn(12, 7, 24, device="cuda"), torch.rand(12, 7, device="cuda") < 0.2
    state = controller.initial_state(7)

    def span():
        with torch.no_grad():
            return controller(x, state, resets, record=False)[0]

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            span()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = span()
    x.copy_(torch.randn_like(x))
    graph.replay()
    assert torch.allclose(outputs, span(), atol=1e-6)


def test_playing_never_makes_the_host_wait(bank, no_waiting):
    from metarim_lite.training.rollouts import Player

    torch.cuda.set_sync_debug_mode("default")
    agent = ml.Agent(ml.AgentConfig(controller="rim")).cuda()
    player = Player(GridWorlds(bank, B, device="cuda"), agent, torch.Generator(device="cuda").manual_seed(0))
    player.collect(agent, 4, 4)  # what is made once is made here
    torch.cuda.set_sync_debug_mode("error")
    player.collect(agent, 20, 20)


@pytest.mark.parametrize("method", ["lstm", "meta-rim", "meta-rim-per-task"])
def test_training_runs_and_its_agent_plays_on_a_cpu(method, bank, tmp_path):
    config = ml.TrainConfig(method=method, frames=20_000, num_envs=B, steps=20, device="cuda")
    run = ml.train(dataclasses.replace(config, report_every=1), folder=tmp_path / "run", bank=bank, progress=False)
    assert run.finished and all(map(lambda line: line["frames"] > 0, run.metrics))
    agent = ml.load_agent(tmp_path / "run" / "agent.safetensors")
    assert 0 <= ml.evaluate(agent, bank, episodes=8).success.value <= 1


@pytest.mark.parametrize("method", ["lstm", "rim", "meta-rim"])
def test_cuda_graphs_learn_what_plain_passes_learn(method, bank):
    config = ml.TrainConfig(method=method, frames=B * 200, num_envs=B, device="cuda")
    plain, graphed = (
        ml.train(dataclasses.replace(config, cuda_graphs=choice), bank=bank, progress=False) for choice in (False, True)
    )
    assert plain.metrics[0]["fast/loss"] == pytest.approx(graphed.metrics[0]["fast/loss"], rel=1e-3)
    for ours, theirs in zip(graphed.agent.parameters(), plain.agent.parameters(), strict=True):
        assert (ours - theirs).abs().max() < 1e-2
