"""What has to hold on a GPU too: the same numbers as on a CPU, no waiting, CUDA graphs. Skipped where there is none.

pytest -m gpu, within 90 s on an H100: what is compiled is small, and few updates are played without graphs.
"""

import contextlib

import pytest
import torch

import metarim_lite as ml
from metarim_lite.bench import gpu as bench
from metarim_lite.bench.rim import Case
from metarim_lite.envs import GridWorlds, LevelBank
from metarim_lite.models import LSTM, RIM
from metarim_lite.recording import PLAIN_CALLS
from metarim_lite.training import PPOConfig, Trainer, fitted
from metarim_lite.training.graphs import Recorder

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

MIXED = ("BabyAI-GoToLocal-v0", "BabyAI-MiniBossLevel-v0", "BabyAI-PutNextS5N2Carrying-v0", "MiniGrid-LavaGapS5-v0")
B = 64


@pytest.fixture(scope="module")
def bank():
    return LevelBank.concat([LevelBank.generate(level_id, range(12), cache=False) for level_id in MIXED])


@contextlib.contextmanager
def no_waiting():
    """Whatever makes the host wait for the device raises. What is made once, worlds above all, is made before."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def flat(step):
    return [*step[1:], *step.observation]


def random_actions(steps):
    return torch.randint(0, 7, (steps, B), generator=torch.Generator().manual_seed(0))


def test_worlds_give_the_numbers_of_a_cpu(bank):
    here, there = GridWorlds(bank, B, device="cpu"), GridWorlds(bank, B, device="cuda")
    here.reset(), there.reset()
    for actions in random_actions(150):
        for ours, theirs in zip(flat(here.step(actions)), flat(there.step(actions.cuda())), strict=True):
            assert torch.equal(ours, theirs.cpu())


@pytest.mark.parametrize("autoreset", [True, False])
def test_worlds_never_make_the_host_wait(bank, autoreset):
    worlds = GridWorlds(bank, B, device="cuda", autoreset=autoreset)
    actions = random_actions(20).cuda()
    ended = torch.ones(B, dtype=torch.bool, device="cuda")
    with no_waiting():
        worlds.reset()
        for row in actions:
            worlds.step(row)
        worlds.renew(ended)


@pytest.mark.parametrize("settings", [{}, {"visits": 3}, {"autoreset": False}], ids=str)
def test_worlds_recorded_as_a_cuda_graph_step_as_plain_ones(bank, settings, caplog):
    worlds, plain = (GridWorlds(bank, B, device="cuda", **settings) for _ in range(2))
    worlds.reset(), plain.reset()
    recorded = worlds.record()
    assert not caplog.records, "they were recorded"
    for t, row in enumerate(random_actions(100).cuda()):
        step = worlds.step(row) if t % 5 == 3 else recorded.step(row)
        for ours, theirs in zip(flat(step), flat(plain.step(row)), strict=True):
            assert torch.equal(ours, theirs)
    with no_waiting():
        recorded.step(row)


def test_compiled_worlds_give_the_same_numbers():
    bank = LevelBank.generate("MiniGrid-LavaGapS5-v0", range(12), cache=False)
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
    rim = RIM(24, 16, 5, 3).double()
    x, resets = torch.randn(6, 7, 24, dtype=torch.float64), torch.rand(6, 7) < 0.2
    found = []
    for device, computed in (("cpu", "plain"), ("cuda", kernel)):
        rim.kernel = computed
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


def test_playing_never_makes_the_host_wait(bank):
    from metarim_lite.training.rollouts import Player

    agent = ml.Agent(ml.AgentConfig(controller="rim")).cuda()
    player = Player(GridWorlds(bank, B, device="cuda"), agent, torch.Generator(device="cuda").manual_seed(0))
    player.collect(agent, 4, 4)  # what is made once is made here
    with no_waiting():
        player.collect(agent, 20, 20)


FEW = PPOConfig(epochs=1, minibatches=2)
SHORT = {"slow_span": 40, "slow_every": 2}


@pytest.mark.parametrize("method", ["lstm", "meta-rim", "meta-rim-per-task"])
def test_training_runs_and_its_agent_plays_on_a_cpu(method, bank, tmp_path):
    config = ml.TrainConfig(
        method=method, frames=6_000, num_envs=B, steps=20, ppo=FEW, timescales=SHORT, report_every=1
    )
    run = ml.train(config, folder=tmp_path / "run", bank=bank, progress=False)
    assert run.finished and all(map(lambda line: line["frames"] > 0, run.metrics))
    assert next(run.agent.parameters()).is_cuda, "auto is a GPU where there is one"
    agent = ml.load_agent(tmp_path / "run" / "agent.safetensors")
    assert 0 <= ml.evaluate(agent, bank, episodes=8).success.value <= 1


@pytest.mark.parametrize(
    "method, kernel",
    [("lstm", "fused"), ("rim", "fused"), ("rim", "compiled"), ("meta-rim", "fused"), ("rim-long-memory", "fused")],
)
def test_a_tick_by_graphs_is_a_plain_tick_but_for_rounding(method, kernel, bank, caplog):
    """No switch is needed for graphs. Each tick is compared from one state on, since rounding grows in training."""
    agent = ml.AgentConfig(kernel=kernel)
    config = ml.TrainConfig(method=method, num_envs=B, steps=20, ppo=FEW, timescales=SHORT, agent=agent)
    plain, graphed = Trainer(config, bank), Trainer(config, bank)
    plain.recorder.records = False
    cycle = config.scales.slow_every + 1 if config.scales.slow else 1
    for _ in range((PLAIN_CALLS + 1) * cycle):
        graphed.tick()
    assert graphed.recorder.records and not [r for r in caplog.records if r.name.startswith("metarim_lite")]
    assert len(graphed.recorder.graphs) == 2 * len(graphed.clocks)  # of rollouts and of minibatches
    for _ in range(cycle + 1):
        plain.restore({k: v.clone() for k, v in graphed.tensors().items()}, dict(graphed.counters), "here")
        (watched, episodes), (expected, ended) = graphed.tick(), plain.tick()
        assert {k: float(v) for k, v in episodes.items()} == pytest.approx({k: float(v) for k, v in ended.items()})
        for name, x in watched.items():
            assert float(x) == pytest.approx(float(expected[name]), rel=1e-2, abs=1e-4), name
        for ours, theirs in zip(graphed.agent.parameters(), plain.agent.parameters(), strict=True):
            assert (ours - theirs).abs().max() < 5e-4  # updates move weights by some 2e-3
    with no_waiting():
        graphed.tick()


def test_a_long_run_has_more_worlds_and_a_short_one_as_many_as_on_a_cpu():
    assert fitted(ml.TrainConfig(frames=2_000_000)).num_envs == 256
    assert fitted(ml.TrainConfig(frames=100_000_000, agent=ml.AgentConfig(kernel="fused"))).num_envs >= 512


def test_the_bench_measures_a_gpu(monkeypatch):
    monkeypatch.setattr(bench, "METHODS", ("lstm",))
    monkeypatch.setattr(bench, "can_compile", lambda device: False)
    sizes = bench.Sizes(
        room=(64,), rooms=(), playing=(64,), training=(64,), compiled_worlds=(),
        controllers=(Case(5, 4, 8, 4, False),), levels=8,
    )  # fmt: skip
    rows = list(bench.bench_gpu(seconds=0.05, sizes=sizes))
    assert [r["mode"] for r in rows] == ["graph", "graph", "eager", "graph", "graph"]
    assert all(r["ratio"] > 1 for r in rows if r["peer"] == bench.PLAIN), "graphs are there to be faster"


def test_where_a_graph_cannot_be_recorded_one_line_says_so_and_dice_go_on(caplog):
    dice = torch.Generator(device="cuda").manual_seed(0)
    recorder = Recorder(torch.device("cuda"), [dice])

    def looks(x):
        return x + float(torch.rand(1, generator=dice, device="cuda")) + torch.rand(1, device="cuda")

    for _ in range(5):
        looked = recorder("looks", looks, torch.zeros(1, device="cuda"))
    assert 0 <= float(looked) <= 2 and not recorder.records
    assert [r.message.split(" (")[0] for r in caplog.records] == ["training is not recorded as graphs"]
    fresh = Recorder(torch.device("cuda"), [dice])
    thrown = [float(fresh("dice", lambda: torch.rand(1, generator=dice, device="cuda"))) for _ in range(6)]
    assert len(set(thrown)) == 6 and all(0 <= x < 1 for x in thrown)


def test_dice_in_a_graph_are_those_that_are_thrown_without():
    def thrown(records):
        dice = torch.Generator(device="cuda").manual_seed(7)
        recorder = Recorder(torch.device("cuda"), [dice], records)
        return [recorder("dice", lambda: torch.empty(9, device="cuda").exponential_(generator=dice)) for _ in range(6)]

    for ours, theirs in zip(thrown(True), thrown(False), strict=True):
        assert torch.equal(ours, theirs)
