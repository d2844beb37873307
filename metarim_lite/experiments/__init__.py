"""What takes more than one training of one agent, each in a file of its own.

    many.py              many runs of any kind: resumable, side by side or on a cluster, one line for each that ended;
                         worker.py is one of them in a process of its own
    sweeps.py            methods × levels × seeds; judging.py is one of these runs, trained and judged
    continual.py         one task after another, and what is forgotten; stages.py says what each stage trains on,
                         ewc.py is elastic weight consolidation
    yardsticks.py        several methods over a sequence of tasks, beside replay, elastic weights and joint training
    after_adaptation.py  a new task, before and after a little experience of it
    transfer.py          levels that an agent was never trained on, from easy to hard
    sequences.py         the RIM paper's sequence tasks: one supervised run
    studies.py           the RIM paper's tables on them; study_settings.py says what they compare
    search.py            how the defaults were found
    meta_study.py        the study of fast modules and slow attention: conditions.py says what is compared, claims.py by
                         which rules, meta_plan.py which runs that takes, meta_run.py what one of them does (with
                         modules_at_play.py), meta_tuning.py finds rates before, meta_shipped.py is what came out
    shipped.py           agents that come with the package
    commands.py          the command line that makes a run, printed beside its numbers

One word, one meaning. A *level* is a level id of minigrid, or one world made from it with a seed. A *task* is a level
id that an agent learns in its turn, in a stretch of training that is its *stage*. A *sequence task* is supervised, and
one of metarim_lite.tasks. A *run* is one training, kept in a folder.
"""

from .after_adaptation import Adapted, evaluate_adaptation
from .continual import train_continually
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
    "train_continually",
    "training_search",
    "transfer",
]
