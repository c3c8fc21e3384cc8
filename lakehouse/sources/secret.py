"""A credential taken out of what is shown, however a source has written it."""

import re
from collections.abc import Iterable

_SHOWN = 300


class Secret:
    """Nothing that goes through it holds one of the words, plain, escaped or as part of a URL."""

    def __init__(self, words: Iterable[str]) -> None:
        forms = ["".join(map(_form, word)) for word in sorted({*words} - {""}, key=len, reverse=True)]
        self._pattern = re.compile("|".join(forms)) if forms else None

    def masked(self, text: str) -> str:
        return self._pattern.sub("***", text) if self._pattern else text

    def excerpt(self, text: str | bytes) -> str:
        """How a text begins, for a message. It is cut after it was masked: half a secret is one too."""
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        return repr(self.masked(text)[:_SHOWN])


def _form(character: str) -> str:
    """A pattern of the ways in which one character is written in texts, JSON and URLs."""
    if character.isalnum():
        return character
    code = ord(character)
    space = r"|\+" if character == " " else ""
    return rf"(?:\\*{re.escape(character)}|(?i:%{code:02x}|\\+u{code:04x}){space})"
