"""The attacks on the noise of a policy, drawn as a release draws it.

They depend on the policy's mechanism, scale and cap alone, so what they came to is kept in the bucket ``privacy`` by
these: a release of the same policy looks it up. Half a minute of draws would be too much for each.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from lakehouse.contracts.policy import DpPolicy
from lakehouse.exchange import Exchange
from lakehouse.privacy.attacks.mechanism import Claim, Ints, Mechanism, black_box_epsilon, draw_neighbours, support
from lakehouse.privacy.attacks.outcome import Outcome
from lakehouse.privacy.dp import noise_of
from lakehouse.privacy.ledger import BUCKET, epsilon
from lakehouse.storage.lake import Conflict, ObjectNotFound

DRAWS = 40_000


class OneUnit:
    """All cells that one unit can change, as one number: their sum tells the most of Gaussian noise."""

    def __init__(self, mechanism: Mechanism, cells: int) -> None:
        self._mechanism, self._cells = mechanism, cells

    def draw(self, counts: Ints) -> npt.NDArray[np.int64]:
        more = np.arange(self._cells)
        cells = (counts[:, None] + more) // self._cells
        drawn: npt.NDArray[np.int64] = np.asarray(self._mechanism.draw(cells.ravel())).reshape(cells.shape).sum(axis=1)
        return drawn


def claims(policy: DpPolicy) -> list[Claim]:
    """What rho promises: an epsilon at the policy's delta; and, since two neighbours' outputs then differ by at most
    √(rho / 2) in total variation (Pinsker), epsilon 0 at that delta, where an attack of few draws sees the most."""
    rho = policy.budget.rho
    return [
        Claim(epsilon=epsilon(rho, policy.budget.delta), delta=float(policy.budget.delta)),
        Claim(epsilon=0.0, delta=math.sqrt(float(rho) / 2)),
    ]


def attack_noise(mechanism: Mechanism, policy: DpPolicy) -> list[Outcome]:
    """Both attacks on draws of two neighbours, who differ by all that one unit may do in a partition."""
    cells = policy.cap.value
    drawn = draw_neighbours(OneUnit(mechanism, cells), sensitivity=cells, draws=DRAWS)
    promised = claims(policy)
    return [black_box_epsilon(drawn, promised), support(drawn, epsilon=promised[0].epsilon)]


def attack_policy(exchange: Exchange, policy: DpPolicy) -> list[Outcome]:
    """What :func:`attack_noise` came to for the policy's own noise, at its first release or now."""
    noise = noise_of(policy)
    facts = [policy.mechanism, noise.scale, policy.cap.value, str(policy.budget.rho), str(policy.budget.delta), DRAWS]
    digest = hashlib.sha256(json.dumps([*facts, version("opendp")]).encode()).hexdigest()[:16]
    key = f"attacks/{policy.mechanism}-{digest}.json"
    try:
        return [Outcome(**{**kept, "cells": ()}) for kept in json.loads(exchange.lake.read_bytes(BUCKET, key))]
    except ObjectNotFound:
        outcomes = attack_noise(noise, policy)
    if all(outcome.passed for outcome in outcomes):
        with suppress(Conflict):
            content = json.dumps([asdict(outcome) for outcome in outcomes], indent=1).encode()
            exchange.lake.write_if(BUCKET, key, content, expected=None)
    return outcomes
