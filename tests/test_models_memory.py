"""Nothing keeps tensors that nobody asked for."""

import pytest
import torch
from live_memory import LiveMemory, peak

import metarim_lite as ml
from metarim_lite.experiments.sequences import SequenceConfig, SequenceModel, evaluate_sequence
from metarim_lite.models import LSTM, RIM

B, D, H, N = 16, 6, 8, 4
FORMS = {
    "fused": {},
    "plain": {"kernel": "plain"},
    "gated": {"output_gate": "gated"},
    "gru": {"cell": "gru"},
    "interventions": {"cell_clip": 1.0},
}


def bytes_of(*tensors):
    return sum(x.nbytes for x in tensors)


@pytest.mark.parametrize("form", FORMS)
def test_a_record_costs_no_more_than_what_is_handed_back(form):
    rim, x = RIM(D, H, N, 2, **FORMS[form]), torch.randn(40, B, D)
    options = {"interventions": ml.models.Interventions(off=(1,))} if form == "interventions" else {}

    @torch.no_grad()
    def run(record):
        return rim(x, record=record, **options)[2]

    recorded, without = peak(lambda: run(True)), peak(lambda: run(False))
    assert recorded - without <= 2.1 * bytes_of(*run(True))  # the pieces of the steps, and these side by side


def made(controller, T, resets):
    """The most bytes alive during a span of T steps without gradient."""
    begins = torch.zeros(T, B, dtype=torch.bool)
    begins[T // 2] = True
    with torch.no_grad():
        return peak(lambda: controller(torch.ones(T, B, D), None, begins if resets else None, record=False))


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(
    ("controller", "width", "before"),  # numbers a step and sequence: of outputs; made from inputs before the loop
    [
        (RIM(D, H, N, 2), N * H, 32 + N * 4 * H),
        (RIM(D, H, N, 2, value_size=B), N * H, 32 + B),
        (RIM(D, H, N, 2, output_gate="bounded"), N * H, 32 + N * 4 * H),
        (RIM(D, H, N, 2, kernel="plain"), N * H, 2 * (D + 32 + 64) + 2 * D),
        (LSTM(D, H), H, 4 * H),
        (LSTM(D, H, cell_clip=1.0), H, 4 * H),
        (LSTM(D, H, kernel="plain"), H, 4 * H),
    ],
    ids=["fused", "read at each step", "bounded", "plain", "lstm", "bounded lstm", "plain lstm"],
)
def test_without_gradient_a_longer_span_keeps_only_inputs_and_outputs(controller, width, before, resets):
    """Each step more costs the input, what is made from it beforehand, and the output, twice: in pieces and whole."""
    per_step = (made(controller, 60, resets) - made(controller, 20, resets)) / 40
    assert per_step <= 1.05 * 4 * B * (D + before + 2 * width)


def test_an_evaluation_needs_no_more_memory_for_longer_episodes(small_bank):
    class Watching(ml.Agent):
        alive = ()

        def forward(self, *args, **named):
            Watching.alive = (*Watching.alive, sum(size for _, size in memory.alive.values()))
            return super().forward(*args, **named)

    agent = Watching(ml.AgentConfig(num_modules=2, active=1, hidden_size=4, input_size=8, channels=2))
    with LiveMemory() as memory:
        ml.evaluate(agent, small_bank, episodes=20)
    assert len(Watching.alive) > 20
    assert Watching.alive[-1] <= 1.02 * Watching.alive[3]


@pytest.mark.parametrize("controller", ["rim", "lstm"])
def test_a_test_of_more_sequences_needs_hardly_more_memory(controller):
    """Only the sequences themselves and the answers, [T,B,12] together, are kept for all of them."""
    sizes = {"width": 60, "input_size": 60, "key_size": 4, "comm_heads": 1, "comm_key_size": 4, "comm_value_size": 4}
    model = SequenceModel(SequenceConfig(controller=controller, cell_clip=3.0, **sizes))
    few, many = (peak(lambda n=n: evaluate_sequence(model, "100 blanks", n)) for n in (128, 512))
    assert many - few <= 120 * (512 - 128) * 4 * (12 * 12)


def test_a_long_span_is_the_same_span(monkeypatch):
    """What else would be made beforehand, of all its inputs at once, is made at each step."""
    rim, x, resets = RIM(D, H, N, 2).double(), torch.randn(23, B, D).double(), torch.rand(23, B) < 0.2
    whole, end, seen = rim(x, None, resets)
    monkeypatch.setattr("metarim_lite.models.fused.AT_ONCE", 23 * B * N * 4 * H - 1)
    with torch.no_grad():
        again, again_end, again_seen = rim(x, None, resets)
        unrecorded, _, nothing = rim(x, None, None, record=False)
    assert nothing is None and unrecorded.shape == again.shape
    for a, b in zip((whole, *end, *seen[1:]), (again, *again_end, *again_seen[1:]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert torch.equal(seen.active, again_seen.active)


def test_what_is_made_beforehand_has_a_bound(monkeypatch):
    monkeypatch.setattr("metarim_lite.models.fused.AT_ONCE", 20 * B * N * 4 * H)
    rim = RIM(D, H, N, 2)
    assert made(rim, 21, False) < made(rim, 20, False)


def test_a_long_silence_needs_little_memory_recorded_or_not():
    """128 sequences of 200 blanks, as lesson 04 has them, at the paper's sizes: outputs and encoded inputs are 65 MB
    each."""
    rim, x = RIM.as_in_paper(600), torch.zeros(50, 128, 600)
    outputs = 50 * 128 * 600 * 4
    with torch.no_grad():
        for record in (True, False):
            assert peak(lambda record=record: rim(x, record=record)) <= 2.3 * outputs + 130e6
