"""The paged JSON connector over real HTTP: complete, verbatim, patient, and clear when it gives up."""

import gzip
import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import duckdb
import polars
import pytest

from lakehouse.contracts.extract import PagedJsonApi
from lakehouse.sources.connector import Page, SourceError, connector_for
from lakehouse.sources.loopback import Fault, LoopbackApi, LoopbackDataset
from lakehouse.sources.paged_json import PagedJsonConnector
from tests.asking import asked

Connect = Callable[..., PagedJsonConnector]
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)


def records_of(pages: list[Page]) -> list[dict[str, Any]]:
    return [record for page in pages for record in json.loads(page.path.read_bytes())["records"]]


def statuses(api: LoopbackApi) -> list[int]:
    return [exchanged.status for exchanged in api.exchanged]


def body(*, total: Any, rows: int) -> bytes:
    return json.dumps({"total": total, "records": [{"HourUTC": "2024-01-01T00:00:00"}] * rows}).encode()


# What is read


def test_pages_together_are_the_interval_each_row_once(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        pages = list(connector_to(api).pages(asked(START, END)))
    assert [page.rows for page in pages] == [40, 40, 16]
    keys = [(record["HourUTC"], record["PriceArea"]) for record in records_of(pages)]
    hours = [f"{START + timedelta(hours=hour):%Y-%m-%dT%H:%M:%S}" for hour in range(48)]
    assert keys == [(hour, area) for hour in hours for area in ("DK1", "DK2")]


def test_real_deliveries_come_back_whole(real: LoopbackDataset) -> None:
    file = str(real.files[0])
    table = (
        duckdb.read_parquet(file)
        if file.endswith(".parquet")
        else duckdb.read_csv(file, delimiter=real.delimiter, decimal=real.decimal, sample_size=-1)
    )
    delivered = table.project("* REPLACE (HourUTC::TIMESTAMP AS HourUTC, HourDK::TIMESTAMP AS HourDK)").pl()
    key = {"Elspotprices": "HourUTC,PriceArea", "ConsumptionDE35Hour": "HourUTC,PriceArea,ConsumerType_DE35"}
    extract = PagedJsonApi(
        connector="paged_json_api",
        path=f"/dataset/{real.name}",
        parameters={"timezone": "utc", "sort": key[real.name]},
    )
    with LoopbackApi(datasets=[real]) as api:
        connector = connector_for(extract, address=api.base_url)
        before = time.process_time()
        pages = list(connector.pages(asked(datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))))
        seconds = time.process_time() - before
    assert [page.rows for page in pages[:-1]] == [10_000] * 6
    times = polars.col("HourUTC", "HourDK").str.to_datetime(time_unit="us")
    came = polars.concat(polars.DataFrame(json.loads(p.path.read_bytes())["records"]) for p in pages).with_columns(
        times
    )
    assert came.height in (61_488, 62_548)
    assert seconds < 15  # about 1 s of this process measured, which is the server's too
    assert came.sort(came.columns).equals(delivered.sort(delivered.columns))


def test_neighbouring_intervals_share_no_row_and_miss_none(prices: LoopbackDataset, connector_to: Connect) -> None:
    noon = START + timedelta(hours=12)
    with LoopbackApi(datasets=[prices]) as api:
        connector = connector_to(api)
        before = records_of(list(connector.pages(asked(START, noon))))
        after = records_of(list(connector.pages(asked(noon, END))))
    assert (len(before), len(after)) == (24, 72)
    assert before[-1]["HourUTC"] == "2024-01-01T11:00:00"
    assert after[0]["HourUTC"] == "2024-01-01T12:00:00"


def test_bounds_are_sent_in_utc_whatever_their_zone(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        start = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
        [page] = connector_to(api).pages(asked(start, START + timedelta(hours=1)))
    assert "start=2024-01-01T00%3A00&end=2024-01-01T01%3A00" in page.url
    assert page.rows == 2


def test_an_interval_without_rows_gives_no_page(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        assert list(connector_to(api).pages(asked(END, END + timedelta(days=1)))) == []
        assert statuses(api) == [200]


def test_content_is_what_the_server_sent_and_url_where_from(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        pages = list(connector_to(api).pages(asked(START, END)))
        assert [hashlib.sha256(page.path.read_bytes()).hexdigest() for page in pages] == [
            exchanged.sha256 for exchanged in api.exchanged
        ]
        assert [page.url for page in pages] == [api.base_url + e.target for e in api.exchanged]
    assert all("sort=HourUTC+asc%2CPriceArea+asc" in page.url for page in pages)
    assert all(timedelta(0) <= datetime.now(UTC) - page.fetched_at < timedelta(minutes=1) for page in pages)


def test_transfer_encoding_is_undone(prices: LoopbackDataset, connector_to: Connect) -> None:
    plain = body(total=2, rows=2)
    zipped = Fault(body=gzip.compress(plain), headers={"Content-Encoding": "gzip"})
    with LoopbackApi(datasets=[prices], faults=[zipped]) as api:
        [page] = connector_to(api).pages(asked(START, END))
    assert page.path.read_bytes() == plain


def test_names_are_the_same_for_the_same_request(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        runs = [[p.name for p in connector_to(api).pages(asked(START, END))] for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] == [
        f"Prices_20240101T0000Z_20240103T0000Z_{offset}.json" for offset in ("000000", "000040", "000080")
    ]


# Patience


def test_an_unavailable_source_is_asked_again(
    prices: LoopbackDataset, connector_to: Connect, sleeps: list[float]
) -> None:
    with LoopbackApi(datasets=[prices], faults=[Fault(status=503)] * 3) as api:
        pages = list(connector_to(api).pages(asked(START, END)))
        assert statuses(api) == [503, 503, 503, 200, 200, 200]
    assert sum(page.rows for page in pages) == 96
    assert len(sleeps) == 3
    assert all(low <= pause <= low + 1 for low, pause in zip((1, 2, 4), sleeps, strict=True))


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_out(
    prices: LoopbackDataset, connector_to: Connect, sleeps: list[float], as_date: bool
) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True) if as_date else "90"
    with LoopbackApi(datasets=[prices], faults=[Fault(status=429, headers={"Retry-After": when})]) as api:
        pages = list(connector_to(api).pages(asked(START, END)))
    assert sum(page.rows for page in pages) == 96
    [pause] = sleeps
    assert 85 <= pause <= 93


def test_a_wait_too_long_for_a_task_is_refused_at_once(
    prices: LoopbackDataset, connector_to: Connect, sleeps: list[float]
) -> None:
    hour = Fault(status=429, headers={"Retry-After": "3600"})
    says = r"429, asking to wait 3600 s \(1 attempt\).*fewer requests"
    with LoopbackApi(datasets=[prices], faults=[hour]) as api, pytest.raises(SourceError, match=says):
        list(connector_to(api).pages(asked(START, END)))
    assert sleeps == []


@pytest.mark.parametrize("fault", [Fault(truncate=True), Fault(delay_seconds=0.6)], ids=["cut off", "late"])
def test_a_broken_transfer_is_asked_again(prices: LoopbackDataset, connector_to: Connect, fault: Fault) -> None:
    with LoopbackApi(datasets=[prices], faults=[fault]) as api:
        pages = list(connector_to(api, timeout_seconds=0.3).pages(asked(START, END)))
        assert len(api.exchanged) == 4
    assert sum(page.rows for page in pages) == 96


def test_no_pause_unless_the_contract_sets_a_rate(
    prices: LoopbackDataset, connector_to: Connect, sleeps: list[float]
) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        list(connector_to(api).pages(asked(START, END)))
        assert sleeps == []
        list(connector_to(api, max_requests_per_second=0.1).pages(asked(START, END)))
    assert len(sleeps) == 2
    assert all(9 < pause <= 10 for pause in sleeps)


# Refusals


def test_gives_up_after_the_stated_attempts(
    prices: LoopbackDataset, connector_to: Connect, sleeps: list[float]
) -> None:
    with LoopbackApi(datasets=[prices], faults=[Fault(status=500, body=b"x" * 400)] * 9) as api:
        with pytest.raises(SourceError, match=r"answered 500 \(3 attempts\): 'x{300}'; .* again later"):
            list(connector_to(api, attempts=3).pages(asked(START, END)))
        assert statuses(api) == [500, 500, 500]
    assert len(sleeps) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"path": "/dataset/Nothing"}, r"/dataset/Nothing\?.* 404 \(1 attempt\).*no dataset.*check `path`"),
        (
            {"parameters": {"sort": "Nothing"}},
            r"answered 400 \(1 attempt\).*column .*Nothing.*check `parameters`",
        ),
    ],
)
def test_a_wrong_request_is_not_repeated(
    prices: LoopbackDataset,
    connector_to: Connect,
    sleeps: list[float],
    changes: dict[str, Any],
    says: str,
) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        with pytest.raises(SourceError, match=says):
            list(connector_to(api, **changes).pages(asked(START, END)))
        assert len(api.exchanged) == 1
    assert sleeps == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>maintenance</html>", "did not answer JSON .*<html>maintenance"),
        (b"[1, 2]", "answered a JSON list where an object was due"),
        (b'{"total": 3, "rows": []}', r"keys \['rows', 'total'\], where 'records' should be a list"),
        (body(total="3", rows=3), "'total' a whole number"),
        (body(total=True, rows=1), "'total' a whole number"),
        (body(total=0, rows=1), "gave 1 rows of 0 where 0 were due"),
        (body(total=96, rows=10), "gave 10 rows of 96 where 40 were due.*page_size"),
        (body(total=96, rows=41), "gave 41 rows of 96 where 40 were due"),
    ],
)
def test_a_malformed_answer_is_refused_by_what_came(
    prices: LoopbackDataset, connector_to: Connect, answer: bytes, says: str
) -> None:
    with LoopbackApi(datasets=[prices], faults=[Fault(body=answer)]) as api:
        with pytest.raises(SourceError, match=says):
            list(connector_to(api).pages(asked(START, END)))
        assert len(api.exchanged) == 1


def test_a_set_that_moves_while_paging_is_refused(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices], faults=[Fault(), Fault(body=body(total=97, rows=40))]) as api:
        pages = connector_to(api).pages(asked(START, END))
        assert next(pages).rows == 40
        with pytest.raises(SourceError, match=r"counts 97 rows where the page before counted 96.*run .* again"):
            next(pages)


def test_redirects_are_followed_on_the_same_host_only(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as other:
        here = Fault(status=307, headers={"Location": f"{other.base_url}/dataset/Prices?start=2024&limit=0"})
        away = Fault(status=307, headers={"Location": other.base_url.replace("127.0.0.1", "localhost")})
        with LoopbackApi(datasets=[prices], faults=[here, away]) as api:
            connector = connector_to(api, page_size=96)
            [page] = connector.pages(asked(START, END))
            assert page.rows == 96
            assert page.url.startswith(api.base_url)
            with pytest.raises(SourceError, match="redirected to http://localhost: not followed"):
                list(connector.pages(asked(START, END)))
        assert len(other.exchanged) == 1


def test_an_unreachable_source_is_named(prices: LoopbackDataset, connector_to: Connect) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        connector = connector_to(api, attempts=2)
    with pytest.raises(SourceError, match=r"failed \(2 attempts\): ConnectError.*check the base URL"):
        list(connector.pages(asked(START, END)))


def test_loopback_is_reached_past_a_proxy(
    prices: LoopbackDataset, connector_to: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with LoopbackApi(datasets=[prices]) as api:
        assert len(list(connector_to(api).pages(asked(START, END)))) == 3


@pytest.mark.parametrize("base_url", ["api.example.org", "ftp://api.example.org", "https://me:pw@example.org"])
def test_a_base_url_that_is_none_or_holds_a_secret_is_refused(base_url: str) -> None:
    extract = PagedJsonApi(connector="paged_json_api", path="/dataset/Prices", parameters={"sort": "HourUTC"})
    with pytest.raises(SourceError, match="base URL") as refused:
        connector_for(extract, address=base_url)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (START, START, "a start before an end"),
        (END, START, "a start before an end"),
        (START.replace(tzinfo=None), END.replace(tzinfo=None), "both with a time zone"),
        (START + timedelta(seconds=1), END, "start 2024-01-01 00:00:01.* cannot be written"),
        (START, END + timedelta(microseconds=1), "end 2024-01-03 .* cannot be written"),
    ],
)
def test_an_interval_that_cannot_be_asked_for_is_refused(
    prices: LoopbackDataset, connector_to: Connect, start: datetime, end: datetime, says: str
) -> None:
    with LoopbackApi(datasets=[prices]) as api:
        with pytest.raises(SourceError, match=says):
            list(connector_to(api).pages(asked(start, end)))
        assert not api.exchanged
