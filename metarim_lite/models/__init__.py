"""What is learned: the two attentions, RIM and LSTM controllers, the encoder, the agent."""

from .agent import GROUPS, Agent, AgentConfig, AgentOutput, UniformAgent, act
from .attention import choose_active, communicate, eagerness, share_out
from .controller import ControllerState, Diagnostics, count_parameters
from .encoders import Encoder
from .interventions import Interventions
from .lstm import LSTM, matched_lstm_size
from .rim import RIM

__all__ = [
    "GROUPS", "LSTM", "RIM", "Agent", "AgentConfig", "AgentOutput", "ControllerState", "Diagnostics", "Encoder",
    "Interventions", "UniformAgent", "act", "choose_active", "communicate", "count_parameters",
    "eagerness", "matched_lstm_size", "share_out",
]  # fmt: skip
