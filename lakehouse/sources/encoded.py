"""The body of an answer without its transfer encoding, whole, and as fast as an answer comes."""

import re
import time
import zlib
from collections.abc import Iterable, Iterator

import httpx

_PART = 64 << 10
# Bytes a second. An answer that comes more slowly would hold its task for hours, whatever it may be of.
SLOWEST = 100
# Some servers name as a coding what is none, as utf-8 or aws-chunked: such a body is as it is.
_COMPRESSION = re.compile(r"gzip|deflate|compress|\bbr\b|zstd|\bdc[bz]\b")


def steady(response: httpx.Response, parts: Iterable[bytes], *, seconds: float) -> Iterator[bytes]:
    """The parts of a body as they come. Raises httpx.ReadTimeout where so many seconds bring fewer than `SLOWEST`
    bytes each: a limit for each part of its own would let pass a source that drips."""
    began, had = time.monotonic(), 0
    for part in parts:
        passed = time.monotonic() - began
        if passed >= seconds:
            came = response.num_bytes_downloaded - had
            if came < SLOWEST * passed:
                raise httpx.ReadTimeout(
                    f"{came} bytes in {passed:.0f} s, fewer than {SLOWEST} a second", request=response.request
                )
            began, had = began + passed, had + came
        yield part


def encoding(response: httpx.Response) -> str:
    """The codings in which the body comes; empty for none."""
    codings = response.headers.get("Content-Encoding", "").lower().split(",")
    return ", ".join(coding for named in codings if (coding := named.strip()) not in ("", "identity"))


def decoded(response: httpx.Response) -> Iterator[bytes]:
    """The bytes as they come. Raises httpx.HTTPError, also where gzip ends in the middle, and of other codings, which
    httpx would take as far as they came."""
    coding = encoding(response)
    if _COMPRESSION.search(coding) and coding not in ("gzip", "x-gzip"):
        raise httpx.DecodingError(f"it comes as {coding!r}, where gzip was asked for", request=response.request)
    if coding not in ("gzip", "x-gzip"):
        yield from response.iter_raw()
        return
    inflate, begun = _inflate(), False
    try:
        for raw in response.iter_raw():
            while raw:
                if inflate.eof:
                    inflate = _inflate()
                begun = True
                yield inflate.decompress(raw, _PART)
                raw = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise httpx.DecodingError(f"no gzip, though it says so: {error}", request=response.request) from None
    if begun and not inflate.eof:
        raise httpx.RemoteProtocolError("the gzip of the answer ends in the middle", request=response.request)


def _inflate() -> "zlib._Decompress":
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
