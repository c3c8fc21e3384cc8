"""Where the official clients and Airflow's provider send their events: into the lake, as all others.

Named by its path in ``AIRFLOW__OPENLINEAGE__TRANSPORT``; the exchange is the one of the environment.
"""

from __future__ import annotations

from typing import Any

from openlineage.client.serde import Serde
from openlineage.client.transport.transport import Config, Transport

from lakehouse.exchange import Exchange
from lakehouse.lineage.store import keep_line


class LakeConfig(Config):
    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> LakeConfig:
        return cls()


class LakeTransport(Transport):
    kind = "lake"
    config_class = LakeConfig

    def __init__(self, config: LakeConfig) -> None:
        self._exchange = Exchange.from_environment()

    def emit(self, event: Any) -> None:
        line = Serde.to_json(event)
        # Events about a job or a dataset alone have no run to stand under.
        if '"runId"' in line:
            keep_line(self._exchange, line)
