"""`exchange rebuild`: the inputs that a manifest names, by the code and the pins it names, to the same bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

from lakehouse.build.environment import differences, environment_of, git
from lakehouse.build.rebuild.build import build_again
from lakehouse.build.rebuild.elsewhere import rebuild_at
from lakehouse.build.rebuild.scratch import land_again, scratch_exchange
from lakehouse.build.rebuild.wanted import Rebuilt, Wanted, together, wanted_of
from lakehouse.contracts.mart import read_marts
from lakehouse.exchange import Exchange
from lakehouse.release.manifest import Environment, Manifest

Progress = Callable[[str], None]
Code = Literal["recorded", "current"]


class OtherCode(RuntimeError):
    """The code or the pins of a release are not those that run here, and are not to be had."""


def rebuild(
    exchange: Exchange,
    manifests: Sequence[Manifest],
    *,
    threads: int | None = None,
    code: Code = "recorded",
    built_by: str | None = None,
    progress: Progress = lambda _: None,
) -> list[Rebuilt]:
    """Builds releases again in a private folder of this machine, and holds each file to its hash. Nothing of the lake
    or the index is changed, and no privacy budget is charged.

    ``recorded``: where code and pins are those that run here it is done here; else in a work tree of the commit, with
    an environment of its own where the pins differ. ``current``: here, whatever they are. ``built_by`` limits it to
    the files of one candidate. Raises :class:`OtherCode`.
    """
    wanted = [entry for manifest in manifests for entry in wanted_of(exchange, manifest, built_by=built_by)]
    here, there = _places(exchange, wanted, code)
    threads = threads or exchange.settings.threads
    results = _rebuild_here(exchange, here, threads, progress)
    for commit, entries in there.items():
        results += rebuild_at(exchange, entries, commit=commit, threads=threads, progress=progress)
    return sorted(results, key=lambda entry: (entry.mart, entry.release, entry.file))


def _rebuild_here(exchange: Exchange, wanted: Sequence[Wanted], threads: int, progress: Progress) -> list[Rebuilt]:
    results: list[Rebuilt] = []
    marts = read_marts(exchange.settings.marts_path) if wanted else {}
    for group in together(wanted):
        inputs = {name: entry for member in group for name, entry in member.inputs.items()}
        with (
            exchange.workplace("build") as folder,
            scratch_exchange(exchange, folder, threads=threads) as scratch,
        ):
            failed = land_again(exchange, scratch, inputs.values(), progress=progress)
            results += build_again(exchange, scratch, group, marts=marts, failed=failed, progress=progress)
    return results


def _places(exchange: Exchange, wanted: Sequence[Wanted], code: Code) -> tuple[list[Wanted], dict[str, list[Wanted]]]:
    """What is built here, and what at which commit."""
    if code == "current":
        return list(wanted), {}
    here: list[Wanted] = []
    there: dict[str, list[Wanted]] = defaultdict(list)
    now = environment_of(exchange.settings)
    for entry in wanted:
        other = _other(entry, now)
        if not other:
            here.append(entry)
        else:
            there[_commit(exchange, entry, other)].append(entry)
    return here, there


def _other(entry: Wanted, now: Environment) -> list[str]:
    if entry.environment is not None:
        return differences(entry.environment, now)
    # Built before pins were recorded: by its commit alone.
    same = entry.version == now.commit and not now.dirty
    return [] if same else [f"the code (then {entry.version[:20]}), and the pins were not recorded"]


def _commit(exchange: Exchange, entry: Wanted, other: list[str]) -> str:
    """The commit that has the code and the pins. Raises :class:`OtherCode` where there is none."""
    commit, _, changes = entry.version.partition("+")
    if changes:
        found = "it was built with changes that no commit holds"
    elif commit == "unversioned":
        found = "it was built outside git"
    elif git(exchange.settings.project, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        found = f"commit {commit[:12]} is not in this checkout"
    else:
        return commit
    raise OtherCode(
        f"{entry.names}: not the same are {' and '.join(other)}, and {found}. `--code current` tries it with what is "
        "here; a difference then proves nothing."
    )
