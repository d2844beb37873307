"""How the defaults of agents and methods were found: every setting that was tried, and what came of it.

Three tasks in one batch (`MIX`) tell settings apart that one task does not: an LSTM learns all three, and the RIM of
the paper, at the rate that served it on one of them, learns one and a half and then diverges.

    >>> for row in training_search():
    ...     print(row.words(), f"area {row.mean_area:.2f}, held out {row.held_out}")

What it says:

- Unbounded messages multiply |h| without limit at 2e-3 and above. A gate, a tanh or no messages at all end that; a gate
  learns no faster than a tanh. Normalising what is communicated made learning slower at every rate.
- Messages that are small at first help a little: 0.54 against 0.49 in area, six fresh seeds each, intervals overlap.
- At 2e-3, where an LSTM learns best, a RIM whose attention learns at the same rate learns badly. Attention at a tenth
  of the rate, frozen, or on the slow clock gives about as much as halving all rates.
- No part of attention (queries, keys, values, communication) does the harm alone: each at the full rate costs a little.
- What is left open: the LSTM is well ahead of every RIM here. Splitting the state is not why. A later look (not in the
  table: on a CPU, attention at a tenth of 2e-3 or frozen, weights drawn as an LSTM's, d_v = D and W_v twice the
  identity, so that a weight of ½ on the input reads x itself) had these successes on training levels after 0.92 M
  frames, one number a seed:

      LSTM of 128 units                                                        .61 .70 .54
      the same equations in a RIM of one module, weight on the input fixed at ½ .52 .61
      six modules, all active, weight fixed at ½, no messages                   .50 .70 .62
      ... weight from random queries, which are never trained                       .55 .42
      ... weight learned                                                                .43
      ... weight learned, values as they were drawn                                 .46 .50
      ... weight learned, with messages                                             .43 .49
      four of six active, weight from random queries, no messages                       .41
      four of six active, weight learned, no messages                                   .45
      the whole RIM: four of six, weight learned, messages                      .48 .40 .40
      ... as the package draws it, but an active module reads with weight 1, and
          the queries learn straight through, by the derivative of its logarithm .35

  So six small LSTMs learn as one large one does. A weight on the input that changes with input and state is what
  slows learning; competition and messages cost little beside it. One to three seeds a line: a lead, no proof.

The runs were made many at a time on a GPU (one H200), with the equations of this package stacked over runs, by a
program that is not part of it; so the same run made here ends elsewhere, within what seeds differ. `command` makes one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from ..config import from_dict
from ..errors import UserError

MIX = ("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-PutNextLocalS5N3-v0")


@dataclass(frozen=True)
class Tried:
    """One setting, on some seeds."""

    series: str
    """Which of the searches. Seeds of "fresh seeds" were in no search."""
    method: str
    """The nearest of METHODS."""
    flags: str
    """Of `metarim train`: what differs from the defaults."""
    not_in_the_package: tuple[str, ...]
    """What was changed besides, in words; a setting with any has no command."""
    seeds: tuple[int, ...]
    frames: int
    """Played in each run. Settings compare within a series only: others stopped elsewhere."""
    area: tuple[float, ...]
    """Mean success over the run, on training levels, of every seed. Counted by episodes that ended, as they ended."""
    held_out: tuple[float, ...]
    """Success at the end on 300 held-out levels of each task, of every seed."""
    by_level: tuple[tuple[float, ...], ...]
    """The same by level of MIX, for every seed."""
    largest_h: tuple[float, ...]
    """Largest |h| of the run, of every seed."""

    @property
    def mean_area(self) -> float:
        return sum(self.area) / len(self.area)

    @property
    def command(self) -> str | None:
        """The command for its first seed; None where the package cannot do it."""
        if self.not_in_the_package:
            return None
        main = f"metarim train --method {self.method} --level {','.join(MIX)} --frames {self.frames}"
        return f"{main} --seed {self.seeds[0]} {self.flags}".rstrip()

    def words(self) -> str:
        return ", ".join([f"{self.method} {self.flags}".rstrip(), *self.not_in_the_package])


def training_search() -> list[Tried]:
    """All settings that were tried, in the order of the searches."""
    text = resources.files("metarim_lite.data").joinpath("training-search.json").read_text(encoding="utf-8")
    return [from_dict(Tried, row) for row in json.loads(text)]


def searched(series: str, method: str, *words: str, without: tuple[str, ...] = ()) -> Tried:
    """The one setting of a series and method whose description has all of these words, and none of those.

    Raises:
        UserError: none fits, or several do.
    """
    fits = [
        row
        for row in training_search()
        if (row.series, row.method) == (series, method)
        and all(word in row.words() for word in words)
        and not any(word in row.words() for word in without)
    ]
    if len(fits) != 1:
        raise UserError(f"{len(fits)} settings of {series!r} fit {words}; say it so that one does")
    return fits[0]
