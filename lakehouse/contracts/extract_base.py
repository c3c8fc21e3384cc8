"""What the arguments of every connector say."""

from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, PositiveInt

# Arguments that may change without another thing being read.
HOW_IT_IS_ASKED = (
    "window_days", "max_requests_per_second", "timeout_seconds", "attempts", "max_bytes", "also_hosts",
    "page_size", "page_rows", "statement_timeout_seconds", "tls", "lag_seconds", "settle_seconds", "host_key",
    "region", "requester_pays",
)  # fmt: skip


class Extract(BaseModel):
    """What the arguments of every connector say.

    `server_types`: the ODCS server types under which the contract states the source's live address.
    `window_days`: a long interval is asked for and sealed in parts of so many days, so that one that was
    interrupted goes on where it was; absent, an interval is one part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    server_types: ClassVar[tuple[str, ...]] = ("api",)

    window_days: PositiveInt | None = None

    @property
    def by_interval(self) -> bool:
        """Whether the source is asked for a data interval, or for what is new since the watermark."""
        return True

    @property
    def file_each(self) -> str | None:
        """The period for each of which the source has a file, if it has: then each is asked for by itself."""
        return None

    def last_bound(self, moment: datetime) -> datetime:
        """The moment, or the last before it, at which an interval that the source is asked for can begin and end."""
        return moment
