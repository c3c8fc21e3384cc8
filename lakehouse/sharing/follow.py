"""Doors that keep tables of their own are brought to what is published, whoever published it or took it back."""

from __future__ import annotations

from lakehouse.exchange import Exchange


def bring_doors(exchange: Exchange, *, mart: str) -> str | None:
    """Brings the mart's Iceberg tables to its releases. What was published stands whatever comes of this, so nothing
    is raised: returns in words what failed. The next release, or `exchange iceberg`, makes it good."""
    try:
        # pyiceberg takes a second to import; commands that publish nothing must not pay for it.
        from lakehouse.sharing.iceberg_register import register_releases

        register_releases(exchange, mart=mart)
    except Exception as error:
        return f"{mart}: its Iceberg table was not brought to the releases ({error}); `exchange iceberg` does it"
    return None
