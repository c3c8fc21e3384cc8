"""Web pages, in all the ways in which they come, and data that only looks like one."""

import pytest

from lakehouse.sources.web_page import is_web_page

HTML = "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "text",
    [
        "\n<!DOCTYPE html><title>Maintenance</title>",
        "<html>",
        "<HTML lang='da'><head>",
        '<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x">\n<html xmlns="y">',
        '<?xml version="1.0"?><?xml-stylesheet href="x"?><html xmlns="y">',
        "<!-- down\n for now --> <!-- > --><html>maintenance</html>",
        "<head><title>Log in</title></head>",
        '<head lang="da">\n<meta charset="utf-8">',
        '<?xml version="1.0"?><xhtml:html xmlns:xhtml="http://www.w3.org/1999/xhtml">',
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_page_is_known_by_how_it_begins_whatever_its_type(text: str, coding: str) -> None:
    assert is_web_page(text.encode(coding), "text/csv")


@pytest.mark.parametrize(
    "text", ["<body>Log in</body>", "<h1>502 Bad Gateway</h1>", "<!-- x --><script>", "<title>Log in"]
)
def test_a_part_of_a_page_is_one_where_the_source_says_that_it_is_one(text: str) -> None:
    assert is_web_page(text.encode(), HTML)
    assert not is_web_page(text.encode(), "")


@pytest.mark.parametrize(
    "text",
    [
        "id,at\n1,2024-01-01\n",
        "html>,at\n1,2\n",
        '[{"note": "<html>"}]',
        '<?xml version="1.0"?><!-- <html> --><readings><html/></readings>',
        '<?xml version="1.0"?><!DOCTYPE readings><readings/>',
        '<?xml version="1.0"?><body copyright="the agency"><route/></body>',
        "<header><title>Readings</title></header>",
        "<html-report/>",
        "<headings><row/></headings>",
        "",
    ],
)
@pytest.mark.parametrize("content_type", ["", HTML])
def test_data_is_no_page_though_the_source_says_that_it_is_one(text: str, content_type: str) -> None:
    assert not is_web_page(text.encode(), content_type)


def test_comments_without_end_are_soon_read() -> None:
    assert not is_web_page(b"<!---->" * 2_000 + b"<readings>", HTML)
