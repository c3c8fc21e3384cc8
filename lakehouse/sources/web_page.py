"""Whether what came is a web page: a notice, a login or an error that the source calls a success."""

import re

# What may stand before the first element; a page in XHTML has a declaration there, too.
_LEAD, _DECLARED_LEAD = rb"(?>\s+|<!--.*?-->)*+", rb"(?>\s+|<!--.*?-->|<\?.*?\?>)*+"
_ENDS = rb"(?=[\s/>\[]|\Z)"
_PAGE = re.compile(
    _DECLARED_LEAD
    + rb"<(?:!doctype\s+html|(?:\w+:)?html|head(?:\s[^<]*)?>\s*<(?:title|meta|link|script|style|base))"
    + _ENDS,
    re.IGNORECASE | re.DOTALL,
)
_PAGE_IF_IT_SAYS_SO = re.compile(
    _LEAD + rb"<(?:head|body|title|meta|script|style|center|font|h[1-6]|p|div|br)" + _ENDS, re.IGNORECASE | re.DOTALL
)


def is_web_page(begins: bytes, content_type: str) -> bool:
    """By how the body begins. Its type alone says little: text/html is what many servers say of csv and XML, too."""
    # What is left of UTF-16 and UTF-32 is ASCII, where it was.
    text = begins.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")
    said = content_type.lower().startswith(("text/html", "application/xhtml"))
    return bool(_PAGE.match(text) or (said and _PAGE_IF_IT_SAYS_SO.match(text)))
