"""Questions put to controllers: the RIM paper's tables on sequence tasks, yardsticks of forgetting, transfer."""

from .search import training_search
from .sequences import SEQUENCES, SequenceConfig, train_sequence
from .transfer import transfer

__all__ = ["SEQUENCES", "SequenceConfig", "train_sequence", "training_search", "transfer"]
