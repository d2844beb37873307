"""What takes more than one training of one agent, each in a file of its own:

sweeps.py            methods × levels × seeds side by side; sweep_worker.py is one of these runs
continual.py         one task after another, and what is forgotten; stages.py says what each stage trains on,
                     ewc.py is elastic weight consolidation
yardsticks.py        several methods over a sequence of tasks, beside replay, elastic weights and joint training
after_adaptation.py  a new task, before and after a little experience of it
transfer.py          levels that an agent was never trained on, from easy to hard
sequences.py         the RIM paper's sequence tasks: one supervised run
studies.py           the RIM paper's tables on them: several settings, several seeds
search.py            how the defaults were found
shipped.py           agents that come with the package
"""

from .after_adaptation import Adapted, evaluate_adaptation
from .continual import train_sequence_of_tasks
from .search import training_search
from .sequences import SEQUENCES, SequenceConfig, train_sequence
from .stages import ContinualConfig
from .transfer import transfer

__all__ = [
    "SEQUENCES",
    "Adapted",
    "ContinualConfig",
    "SequenceConfig",
    "evaluate_adaptation",
    "train_sequence",
    "train_sequence_of_tasks",
    "training_search",
    "transfer",
]
