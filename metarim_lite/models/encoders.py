"""From what the agent sees and is told to one vector x_t: view + mission -> [T, B, D].

The view is 7×7 cells, each a discrete code (type, colour, state), so the first layer is a table look-up.
The mission then scales and shifts the channels of every cell ("FiLM", Perez et al. 2018, as in BabyAI's
baseline), which lets "go to the red ball" light up red balls wherever they are. Deviation from BabyAI's
baseline: one linear layer over the modulated cells instead of convolutions, because on a CPU the
convolutions cost more than everything else together; and a bag of (position, word) vectors instead of a
GRU over the mission, because the mission is constant within an episode.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from ..errors import UserError

NUM_TYPES, NUM_COLORS, NUM_STATES = 11, 6, 3  # minigrid's encoding of a cell
VIEW = 7
WORDS = 34  # of BabyAI's missions, the padding included


def look_up(table: nn.Embedding, rows: Tensor) -> Tensor:
    """Rows of a table: int [...] -> [..., size]. Backward takes a third of the time of calling the `nn.Embedding`."""
    return table.weight.index_select(0, rows.flatten().long()).unflatten(0, rows.shape)


class MissionEncoder(nn.Module):
    """A bag of (position, word) vectors: the order of words counts, the padding (word 0) does not.

    Only minigrid's own levels say words from `vocabulary_size` on. Such a word shares its vector with word - 34 one
    place further on, so that missions are told apart by their sums, though less cleanly; BabyAI's are not concerned.
    """

    def __init__(self, vocabulary_size: int, max_length: int, size: int) -> None:
        super().__init__()
        self.vocabulary_size, self.max_length = vocabulary_size, max_length
        self.bag = nn.Embedding(max_length * vocabulary_size, size)
        nn.init.normal_(self.bag.weight, std=0.3)

    def forward(self, mission: Int[Tensor, "n L"]) -> Float[Tensor, "n size"]:
        position = torch.arange(mission.shape[1], device=mission.device)
        vectors = look_up(self.bag, position * self.vocabulary_size + mission)  # (n, L) -> (n, L, size)
        spoken = (mission != 0).to(vectors.dtype)  # (n, L)
        return torch.einsum("nl,nls->ns", spoken, vectors)


class Encoder(nn.Module):
    """View, compass and mission to one vector.

    Example:
        >>> encoder = Encoder(channels=16, mission_size=32, output_size=128)
        >>> view = torch.ones(5, 2, 7, 7, 3, dtype=torch.uint8)        # [T, B, 7, 7, 3]
        >>> encoder(view, torch.zeros(5, 2, dtype=torch.int64), torch.ones(5, 2, 72, dtype=torch.int64)).shape
        torch.Size([5, 2, 128])
    """

    def __init__(
        self, channels: int, mission_size: int, output_size: int, vocabulary_size: int = WORDS, mission_length: int = 72
    ) -> None:
        super().__init__()
        self.cells = nn.Embedding(NUM_TYPES * NUM_COLORS * NUM_STATES, channels)
        self.mission = MissionEncoder(vocabulary_size, mission_length, mission_size)
        self.film = nn.Linear(mission_size, 2 * channels)
        self.view_out = nn.Linear(VIEW * VIEW * channels, output_size)
        self.mission_out = nn.Linear(mission_size, output_size, bias=False)
        self.compass_out = nn.Embedding(4, output_size)
        nn.init.normal_(self.compass_out.weight, std=0.1)

    def forward(
        self, image: UInt8[Tensor, "*lead 7 7 3"], direction: Int[Tensor, "*lead"], mission: Int[Tensor, "*lead L"]
    ) -> Float[Tensor, "*lead D"]:
        """One vector for each view, compass and mission.

        Raises:
            UserError: shapes that do not belong together, numbers that are not whole, a mission that is too long.
        """
        self.check(image, direction, mission)
        lead = direction.shape
        image = image.reshape(-1, VIEW * VIEW, 3).int()  # (*lead, 7, 7, 3) -> (n, 49, 3)
        kind, color, state = image.unbind(-1)
        code = (kind * NUM_COLORS + color) * NUM_STATES + state  # (n, 49)

        told = self.mission(mission.reshape(-1, mission.shape[-1]))  # (n, mission_size)
        scale, shift = self.film(told).unsqueeze(1).chunk(2, dim=-1)  # (n, 1, channels) each
        cells = torch.addcmul(shift, look_up(self.cells, code), 1 + scale).relu_()  # (n, 49, channels)

        x = self.view_out(cells.flatten(1))  # (n, 49 * channels) -> (n, D)
        x = x + self.mission_out(told) + look_up(self.compass_out, direction.reshape(-1))
        return x.relu_().view(*lead, -1)

    def check(self, image: Tensor, direction: Tensor, mission: Tensor) -> None:
        """Looks at shapes and types only: to look at the numbers would make an accelerator wait."""
        lead, longest = tuple(direction.shape), self.mission.max_length
        for name, x, tail in (("image", image, (VIEW, VIEW, 3)), ("mission", mission, mission.shape[-1:])):
            if tuple(x.shape) != (*lead, *tail):
                wanted = [*lead, *(tail if name == "image" else "L")]
                raise UserError(f"{name} has shape {list(x.shape)}; expected {wanted} beside a direction {list(lead)}")
        if 0 in lead or mission.shape[-1] > longest:
            found = f"direction {list(lead)}, mission {list(mission.shape)}"
            raise UserError(f"{found}: expected at least one world and step, and missions of at most {longest} words")
        for name, x in (("image", image), ("direction", direction), ("mission", mission)):
            if x.is_floating_point() or x.is_complex():
                raise UserError(f"{name} is {x.dtype}; it holds codes, which are whole numbers")
