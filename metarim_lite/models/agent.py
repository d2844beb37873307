"""The agent: encoder, recurrent controller, actor and critic, and who owns which parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..config import bounded, check, config_of
from .checks import SWITCHES, check_active
from .controller import ControllerState, Diagnostics
from .encoders import Encoder
from .lstm import LSTM
from .rim import RIM

GROUPS = ("encoder", "modules", "attention", "heads")
NUM_ACTIONS = 7
OF_ITS_RIM = (
    "hidden_size", "num_modules", "active", "key_size", "value_size", "comm_heads", "comm_key_size", "comm_value_size",
    "output_gate", "message_scale",
)  # fmt: skip


@dataclass(frozen=True)
class AgentConfig:
    """All sizes of an agent. Letters as in the papers: N = num_modules, k = active, H = hidden_size."""

    controller: str = bounded("rim", one_of=("rim", "lstm"))
    """"rim" or "lstm"."""
    num_modules: int = bounded(6, at_least=1)
    """N: modules of a RIM."""
    active: int = bounded(4, at_least=1)
    """k: modules active at a step."""
    hidden_size: int = bounded(32, at_least=1)
    """H: hidden size of one module; a RIM's state is N·H wide."""
    lstm_size: int = bounded(128, at_least=1)
    """Hidden size of the LSTM baseline."""
    key_size: int = bounded(32, at_least=1)
    """d_k of the input attention."""
    value_size: int = bounded(64, at_least=1)
    """d_v of the input attention."""
    comm_heads: int = bounded(2, at_least=1)
    """A: heads of the communication attention."""
    comm_key_size: int = bounded(16, at_least=1)
    """d_k of one head of the communication attention."""
    comm_value_size: int = bounded(16, at_least=1)
    """d_v of one head of the communication attention."""
    output_gate: str = bounded("bounded", one_of=SWITCHES["output_gate"])
    """Of the messages between modules: "bounded", "none" (the paper, whose messages can grow without bound: agents so
    made diverged) or "gated" (the authors' code); see `RIM`."""
    message_scale: float = bounded(0.1, above=0)
    """How large messages are at first; `RIM` has 1. Speaking softly at first, agents learned a little sooner,
    by no more than seeds differ (`experiments.training_search`)."""
    channels: int = bounded(16, at_least=1)
    """Channels of one cell of the view."""
    mission_size: int = bounded(32, at_least=1)
    """Width of the mission's vector."""
    input_size: int = bounded(128, at_least=1)
    """D: width of the controller's input."""
    head_size: int = bounded(64, at_least=1)
    """Width of the hidden layer of actor and critic."""
    kernel: str = bounded("auto", one_of=("auto", *SWITCHES["kernel"]))
    """How the controller is computed: "plain", "fused", (a RIM) "compiled", or "auto": "fused", but compiled to train
    for 3 million frames or more (on a GPU, 500 rollouts), where there is a compiler. It changes speed, and results by
    rounding only. Compiled, a RIM trained a fifth faster on a CPU and up to twice as fast on a GPU, where its worlds
    are compiled too, after 20 to 30 s of compiling, which shorter runs would not win back."""

    def __post_init__(self) -> None:
        check(self)
        check_active(self.active, self.num_modules)

    def rim_sizes(self) -> dict[str, Any]:
        """The sizes and switches of its RIM, under the names that `RIM` takes."""
        return {name: getattr(self, name) for name in OF_ITS_RIM}


class AgentOutput(NamedTuple):
    """What an agent says at each step."""

    logits: Float[Tensor, "T B 7"]
    value: Float[Tensor, "T B"]
    diagnostics: Diagnostics | None


class Agent(nn.Module):
    """Encoder -> controller (RIM or LSTM) -> actor and critic.

    Example:
        >>> agent = Agent(AgentConfig(controller="rim"))
        >>> out, state = agent(observation, None, resets)    # tensors lead with [T, B]
        >>> out.logits.shape                                 # [T, B, 7]

    Training, lens and tasks never ask which controller they hold.
    """

    def __init__(self, config: AgentConfig | None = None) -> None:
        super().__init__()
        self.config = c = config_of(AgentConfig, config)
        self.encoder = Encoder(c.channels, c.mission_size, c.input_size)
        kernel = "fused" if c.kernel == "auto" else c.kernel
        if c.controller == "rim":
            self.controller: nn.Module = RIM(c.input_size, **c.rim_sizes(), kernel=kernel)
        else:
            self.controller = LSTM(c.input_size, c.lstm_size, kernel=kernel)
        self.actor = _head(self.controller.output_size, c.head_size, NUM_ACTIONS, gain=0.01)
        self.critic = _head(self.controller.output_size, c.head_size, 1, gain=1.0)

    def forward(
        self, observation: Any, state: ControllerState | None = None, resets: Bool[Tensor, "T B"] | None = None, *,
        record: bool = False, interventions: Any = None,
    ) -> tuple[AgentOutput, ControllerState]:  # fmt: skip
        """Read T steps of B worlds.

        Args:
            observation: anything with `image` uint8 [T,B,7,7,3], `direction` int64 [T,B], `mission` int64 [T,B,L].
            state: the controller's state before step 0, batch first; None means cleared.
            resets: True where an episode begins at that step; the state is cleared before it.
            record: also return diagnostics (active set, attention, communication).
            interventions: which modules to switch off, freeze or force on (RIM only).

        Returns:
            (AgentOutput, state after the last step).
        """
        x = self.encoder(observation.image, observation.direction, observation.mission)  # (T, B, D)
        hidden, state, diagnostics = self.controller(x, state, resets, interventions=interventions, record=record)
        return AgentOutput(self.actor(hidden), self.critic(hidden).squeeze(-1), diagnostics), state

    def initial_state(self, B: int) -> ControllerState:
        """The cleared state for B worlds."""
        return self.controller.initial_state(B)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter in exactly one of the groups encoder, modules (θ_M), attention (θ_A), heads."""
        encoder, heads = list(self.encoder.parameters()), [*self.actor.parameters(), *self.critic.parameters()]
        return {"encoder": encoder, **self.controller.parameter_groups(), "heads": heads}


def act(
    agent: Any, observation: Any, state: ControllerState | None, resets: Bool[Tensor, "B"], **options: Any
) -> tuple[AgentOutput, ControllerState]:
    """One step of B worlds: what `agent` says of T = 1 step, without the axis T.

    Args:
        agent: an `Agent`, or whatever is called like one.
        observation: a NamedTuple of tensors that lead with [B], as worlds give it.
        resets: True where an episode begins with this step.
        options: as of `Agent.forward`.

    Returns:
        (AgentOutput whose tensors lead with [B], state after the step).
    """
    out, state = agent(type(observation)(*(x.unsqueeze(0) for x in observation)), state, resets.unsqueeze(0), **options)
    inside = None if out.diagnostics is None else Diagnostics(*(x.squeeze(0) for x in out.diagnostics))
    return AgentOutput(out.logits.squeeze(0), out.value.squeeze(0), inside), state


def _head(input_size: int, hidden_size: int, output_size: int, gain: float) -> nn.Sequential:
    """Two layers, the last one small at first, so that the first policy is close to uniform."""
    head = nn.Sequential(nn.Linear(input_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, output_size))
    for layer, scale in ((head[0], 2**0.5), (head[2], gain)):
        nn.init.orthogonal_(layer.weight, gain=scale)
        nn.init.zeros_(layer.bias)
    return head


class UniformAgent(nn.Module):
    """Chooses every action with the same probability: the floor that any agent has to beat."""

    def forward(self, observation: Any, state: None = None, resets: Tensor | None = None, **_: Any):
        zeros = torch.zeros(*observation.direction.shape, NUM_ACTIONS, device=observation.direction.device)
        return AgentOutput(zeros, zeros[..., 0], None), None

    def initial_state(self, B: int) -> None:
        return None
