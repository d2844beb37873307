"""What is learned: the two attentions, RIM and LSTM controllers, the encoder, the agent."""

from .attention import choose_active, communicate, input_attention, input_scores
from .controller import ControllerState, Diagnostics, Interventions
from .lstm import LSTM
from .rim import RIM

__all__ = [
    "LSTM", "RIM", "ControllerState", "Diagnostics", "Interventions",
    "choose_active", "communicate", "input_attention", "input_scores",
]  # fmt: skip
