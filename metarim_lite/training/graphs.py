"""CUDA graphs: the passes of an agent recorded once on a GPU and then replayed.

A span of a small agent is thousands of small kernels, and a GPU waits for its host to launch them one by one. A
graph launches them all with one call. It always works on the same memory: inputs are copied in before a replay, and
the next replay overwrites the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..envs import Observation
from ..models import ControllerState
from ..models.agent import AgentOutput

WARM_UP = 3  # passes before recording, as PyTorch asks
Pass = Callable[..., tuple[Tensor, ...]]


class Replayed:
    """An agent to play and learn with, whose passes are graphs. It changes speed, not results.

    There is one graph for each shape of input and, to learn, for each set of parameters that need a gradient (each
    clock has its own). It follows the agent's parameters, which learn in place.

    Learning, the outputs of a pass hold until the next one, so that there is one pass to one backward, as in PPO.
    """

    def __init__(self, agent: nn.Module) -> None:
        self.agent = agent
        self.graphs: dict[Any, Pass] = {}

    def __call__(
        self, observation: Observation, state: ControllerState, resets: Tensor
    ) -> tuple[AgentOutput, ControllerState]:
        """As `Agent.forward`, without diagnostics."""
        inputs, learning = (*observation, *state, resets), torch.is_grad_enabled()
        learns = tuple(p.requires_grad for p in self.agent.parameters()) if learning else ()
        key = (learning, learns, *(x.shape for x in inputs))
        if key not in self.graphs:
            flat = Flat(self.agent)
            samples = tuple(x.clone() for x in inputs)
            self.graphs[key] = torch.cuda.make_graphed_callables(flat, samples) if learning else record(flat, samples)
        logits, value, h, c = self.graphs[key](*inputs)
        return AgentOutput(logits, value, None), ControllerState(h, c)


class Flat(nn.Module):
    """The agent as a function from tensors to tensors, which is what can be recorded."""

    def __init__(self, agent: nn.Module) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, image: Tensor, direction: Tensor, mission: Tensor, h: Tensor, c: Tensor, resets: Tensor) -> Any:
        out, state = self.agent(Observation(image, direction, mission), ControllerState(h, c), resets)
        return out.logits, out.value, *state


def record(flat: Pass, inputs: tuple[Tensor, ...]) -> Pass:
    """A graph of `flat` without gradients, which works on the memory of `inputs`; what it returns is a copy."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            flat(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = flat(*inputs)

    def replay(*new: Tensor) -> tuple[Tensor, ...]:
        for old, x in zip(inputs, new, strict=True):
            old.copy_(x)
        graph.replay()
        return tuple(x.clone() for x in outputs)

    return replay
