"""The body of an answer without its transfer encoding, whole."""

import zlib
from collections.abc import Iterator

import httpx

_PART = 64 << 10


def decoded(response: httpx.Response) -> Iterator[bytes]:
    """The bytes as they come. Raises httpx.HTTPError, also where gzip ends in the middle, which httpx lets pass."""
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("gzip", "x-gzip"):
        yield from response.iter_bytes()
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
