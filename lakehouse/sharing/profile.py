"""The profile file by which clients of Delta Sharing know an exchange."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lakehouse.exchange import Exchange
from lakehouse.settings import Settings
from lakehouse.sharing.recipients import NOBODY, new_token


def doors_url(settings: Settings) -> str:
    """The doors' address as readers know it, without a slash at its end."""
    return (settings.doors_url or f"http://127.0.0.1:{settings.doors_port}").rstrip("/")


def delta_profile(exchange: Exchange, name: str, *, valid: timedelta) -> dict[str, Any]:
    """The content of the profile file, with one more token of the recipient; `anonymous` needs none.

    Raises :class:`lakehouse.sharing.recipients.RecipientFault`.
    """
    profile: dict[str, Any] = {
        "shareCredentialsVersion": 1,
        "endpoint": f"{doors_url(exchange.settings)}/delta-sharing/",
    }
    if name == NOBODY:
        return {**profile, "bearerToken": NOBODY}
    made = new_token(exchange, name, valid=valid)
    expires = made.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**profile, "bearerToken": made.secret, "expirationTime": expires}
