"""Whether one draw of noise was used twice: what two partitions differ by is then the truth, without noise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lakehouse.privacy.attacks.outcome import Outcome

Ints = npt.NDArray[np.int64]

# Independent draws are taken for a doubled one as rarely as this.
ERROR = 1e-9


def doubled_draw(mine: Mapping[str, Ints], others: Mapping[str, Ints], *, standard_error: float) -> Outcome:
    """``mine``: of each partition in question its noisy counts in the order of its key; ``others``: of those that are
    published beside them. ``success``: pairs that agree in more cells than independent noise would have them.

    Two independent draws agree in a cell with a chance of 1 / (2 √π s) at most, whatever the counts are. Where one
    draw was used twice they agree wherever the true counts do: of flows between districts, in most cells.
    """
    pairs, found = 0, []
    for number, (name, values) in enumerate(mine.items()):
        beside = dict(list(mine.items())[number + 1 :]) | {key: other for key, other in others.items() if key != name}
        for other, theirs in beside.items():
            shared = min(len(values), len(theirs))
            pairs += 1
            if int((values[:shared] == theirs[:shared]).sum()) > _most(shared, standard_error):
                found.append(f"{name} and {other} have one draw")
    return Outcome.of_finds(
        "doubled_draw",
        len(found),
        found=f"{len(found):,} of {pairs:,} pairs of partitions have the same noise",
        cells=found,
    )


def _most(cells: int, standard_error: float) -> float:
    """Cells in which independent draws agree at most, but for a chance of ``ERROR`` (Bernstein's bound)."""
    expected = cells / (2 * math.sqrt(math.pi) * standard_error)
    allowed = math.log(1 / ERROR)
    return expected + math.sqrt(2 * expected * allowed) + allowed
