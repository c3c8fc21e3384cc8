"""Which secret keys there are and which are in use; never the keys."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lakehouse.exchange import Exchange
from lakehouse.privacy.keys import open_keys
from lakehouse.storage.index import vaults


def list_kept_keys(exchange: Exchange) -> list[dict[str, Any]]:
    """By provider, purpose and epoch. Of pseudonyms the index says which epoch is in use, of others it is the last."""
    kept_keys = open_keys(exchange).kept()
    in_use = {(kept.scope.provider, kept.scope.purpose): kept.scope.epoch for kept in kept_keys}
    in_use |= {(row["provider"], "pseudonym"): row["epoch"] for row in exchange.index.rows(sa.select(vaults))}
    return [
        {
            "provider": kept.scope.provider,
            "purpose": kept.scope.purpose,
            "epoch": kept.scope.epoch,
            "created_at": kept.created_at.isoformat(timespec="seconds"),
            "in_use": kept.scope.epoch == in_use[kept.scope.provider, kept.scope.purpose],
        }
        for kept in kept_keys
    ]
