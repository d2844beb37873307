"""Sequence tasks of a few steps and a model of a few numbers."""

from metarim_lite.experiments.sequences import SequenceConfig
from metarim_lite.tasks import Adding, BouncingBalls, Copying, Digits

TINY = SequenceConfig(
    width=32, num_modules=4, active=2, input_size=16, key_size=8, value_size=16, comm_heads=1, comm_key_size=4,
    comm_value_size=4, batch=8, updates=12, report_every=3, test_sequences=8, device="cpu",
    copying=Copying(symbols=3, recall=2, blanks=2, test_blanks=(4,)), adding=Adding(length=6, test_lengths=(9,)),
    bouncing_balls=BouncingBalls(size=8, frames=6, given=3, test_balls=(5,)), digits=Digits(size=4, test_sizes=(5,)),
)  # fmt: skip
