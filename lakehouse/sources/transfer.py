"""A transfer that breaks off and goes on: with the rest of what was begun, or from the beginning."""

import re
from pathlib import Path

import httpx

from lakehouse.sources.encoded import encoding

_PART = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Transfer:
    """How much of a body has come, of which version of it, and by what it can be gone on with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start_over()

    def start_over(self) -> None:
        self.received = 0
        self._total: int | None = None
        self._tag: str | None = None
        self._validator: str | None = None

    def headers(self) -> dict[str, str]:
        """What a request for the rest says; nothing where all is to be sent."""
        if not self.received or self._validator is None:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self._validator, "Accept-Encoding": "identity"}

    def takes_up(self, response: httpx.Response) -> bool:
        """Whether the body goes on behind what has come; where it does not, it is begun anew."""
        if response.status_code == 206 and self.received and self._is_the_rest(response):
            return True
        self.start_over()
        if not encoding(response):
            self._total = int(length) if (length := response.headers.get("Content-Length", "")).isdecimal() else None
            if response.headers.get("Accept-Ranges") == "bytes":
                self._tag = response.headers.get("ETag")
                strong = self._tag if (self._tag or "").startswith('"') else None
                self._validator = strong or response.headers.get("Last-Modified")
        return False

    def whole(self) -> bool:
        """Whether all has come of which the last answer was the rest."""
        return self._total is None or self._total == self.received

    def _is_the_rest(self, response: httpx.Response) -> bool:
        """A server may know ranges and not If-Range: then the rest is one of whatever version it has by now."""
        part = _PART.fullmatch(response.headers.get("Content-Range", ""))
        if part is None or int(part[1]) != self.received or encoding(response):
            return False
        total = None if part[2] == "*" else int(part[2])
        if total is not None and self._total is not None and total != self._total:
            return False
        if response.headers.get("ETag") != self._tag:
            return False
        # Of the date a rest need not speak: If-Range has said it.
        if self._validator != self._tag and response.headers.get("Last-Modified") not in (None, self._validator):
            return False
        self._total = self._total if total is None else total
        return True
