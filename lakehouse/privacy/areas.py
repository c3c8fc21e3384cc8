"""Areas merged with their neighbours until each group holds enough units.

Again and again the smallest group that holds too few joins the smallest group beside it: district, merged districts,
city. So every group that has a neighbour left holds enough, each is in one piece, and which it is depends on the
counts and the map alone: ties are broken by the areas' codes. What has no neighbour (an island, an area that is on no
map) stays by itself, whatever it holds; the verdict on its cells is that of its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

# Between the codes of a group's areas in the code of the group.
JOINED = "+"


def merge_areas(units: Mapping[str, int], neighbours: Iterable[tuple[str, str]], k: int) -> dict[str, frozenset[str]]:
    """Of each area the areas of its group, itself among them. ``units``: how many each holds. ``neighbours``: pairs
    of areas, in either order; those of areas that are not in ``units`` are passed over.

    Cost: the areas' number times the logarithm of it, and the pairs.
    """
    members = {area: {area} for area in units}
    held = dict(units)
    beside: dict[str, set[str]] = {area: set() for area in units}
    for one, other in neighbours:
        if one != other and one in units and other in units:
            beside[one].add(other)
            beside[other].add(one)
    # A group is named by the first of its areas.
    waiting = [(count, name) for name, count in held.items() if count < k]
    heapify(waiting)
    while waiting:
        count, name = heappop(waiting)
        if held.get(name) != count or not beside[name]:
            continue
        other = min(beside[name], key=lambda group: (held[group], group))
        kept, gone = sorted((name, other))
        members[kept] |= members.pop(gone)
        held[kept] += held.pop(gone)
        for group in beside.pop(gone):
            beside[group].discard(gone)
            if group != kept:
                beside[group].add(kept)
                beside[kept].add(group)
        if held[kept] < k:
            heappush(waiting, (held[kept], kept))
    return {area: frozenset(group) for group in members.values() for area in group}


def group_codes(
    areas: Sequence[str], counts: Sequence[int], firsts: Sequence[str], seconds: Sequence[str], k: int
) -> list[str]:
    """:func:`merge_areas` as the engine calls it: lists side by side, and of each area its group's code."""
    merged = merge_areas(dict(zip(areas, counts, strict=True)), zip(firsts, seconds, strict=True), k)
    return [JOINED.join(sorted(merged[area], key=lambda code: (len(code), code))) for area in areas]
