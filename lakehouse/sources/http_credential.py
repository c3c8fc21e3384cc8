"""The credential of a source over HTTP: a header or a query parameter, of requests to the source's own server alone."""

import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import httpx

from lakehouse.sources.page import SourceError


@dataclass(frozen=True, kw_only=True)
class HttpCredential:
    """`name` and `value` of the header, or of the parameter where it goes `in_query`."""

    name: str
    value: str
    in_query: bool = False

    @classmethod
    def of(cls, given: str) -> Self:
        """Of the value of an Authorization header, as `Bearer …`; of `Header-Name: value`; of `?parameter=value`.

        Raises SourceError for one that no request can carry.
        """
        given = given.strip()
        if not given.isascii() or not given.isprintable():
            raise SourceError("the credential holds characters that no header may: set it again, on one line")
        if given.startswith("?"):
            name, _, value = given[1:].partition("=")
            if not name or not value or "&" in given:
                raise SourceError("a credential for the query is one parameter, as ?api-key=…: set it again")
            return cls(name=name, value=value, in_query=True)
        named = re.fullmatch(r"([A-Za-z0-9-]+):\s*(.+)", given)
        return cls(name=named[1], value=named[2]) if named else cls(name="Authorization", value=given)

    @property
    def words(self) -> list[str]:
        """What must not be shown; of Basic (RFC 7617) also what it encodes."""
        if self.in_query:
            return [self.value]
        scheme, _, token = self.value.rpartition(" ")
        words = [self.value, token]
        if scheme.lower() == "basic":
            with suppress(ValueError):
                login = b64decode(token, validate=True).decode()
                user, _, password = login.partition(":")
                words += [login, password or user]  # a key stands for the user where there is no password
        return words

    def give(self, request: httpx.Request) -> None:
        if self.in_query:
            request.url = request.url.copy_set_param(self.name, self.value)
        else:
            request.headers[self.name] = self.value

    def withhold(self, request: httpx.Request) -> None:
        """Takes it out of a request to another server, where a redirect has brought it."""
        if not self.in_query:
            request.headers.pop(self.name, None)
        request.url = self.out_of(request.url)

    def out_of(self, url: httpx.URL) -> httpx.URL:
        """The URL without it."""
        held = self.in_query and self.value in url.params.get_list(self.name)
        return url.copy_remove_param(self.name) if held else url
