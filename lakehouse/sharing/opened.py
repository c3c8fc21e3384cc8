"""A release in a reader's own process: ``lakehouse.open("mart")``, over the lake or over the doors, verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lakehouse.exchange import Exchange
from lakehouse.release.listing import NoSuchRelease, find_release
from lakehouse.release.manifest import File, Manifest, parse_manifest
from lakehouse.release.signing import SUFFIX, Untrusted, key_id, load_public_key, trusted_key, verified_manifest
from lakehouse.sharing.meter import count_staff
from lakehouse.storage.lake import ObjectNotFound

if TYPE_CHECKING:
    import duckdb

Engine = Literal["duckdb", "polars", "arrow"]

_AT_ONCE = 4
_CHUNK_BYTES = 1 << 20
_TIMEOUT = httpx.Timeout(60, connect=10)


class CannotOpen(RuntimeError):
    """The doors did not give what was asked for; the message is theirs."""


def open_release(
    name: str,
    *,
    as_: Engine = "duckdb",
    at: str | None = None,
    token: str | None = None,
    key: Path | None = None,
    partitions: Callable[[str], bool] | None = None,
    cache: Path | None = None,
    exchange: Exchange | None = None,
) -> Any:
    """A release as a DuckDB relation, a Polars LazyFrame or an Arrow dataset, read when it is used.

    ``name`` is ``mart`` (its newest release), ``mart@v2`` (of that major) or ``mart@0003`` (a release, by its number
    or its whole name). Without ``at`` it is read in place in the lake of the settings, a folder or S3. With ``at``,
    the address of an exchange's doors, its files are fetched with ``token``, each kept under its hash in ``cache``
    (default ``~/.cache/city-data-exchange``), so that of the next release only what is new is fetched.
    ``partitions`` says by name (``2024-10-26``, ``2024-10`` or ``2024``) which are wanted; default all.

    The manifest's signature is verified, by ``key`` (a PEM file that you trust) or by the key that it names; what is
    fetched is held to its hash.

    Raises :class:`lakehouse.release.listing.NoSuchRelease`, :class:`lakehouse.release.signing.Untrusted`,
    :class:`CannotOpen`, and ``ValueError`` for another ``as_``.
    """
    if as_ not in ("duckdb", "polars", "arrow"):
        raise ValueError(f"as_={as_!r}: it is 'duckdb', 'polars' or 'arrow'")
    trusted = load_public_key(key.read_bytes(), shown=str(key)) if key else None
    if at is not None:
        with _client(at, token) as client:
            manifest = _manifest_of(client, *_resolve(client, name), trusted)
            paths = _fetch(client, manifest, _wanted(manifest, partitions), cache or _default_cache())
        return _local(manifest, paths, as_)
    exchange = exchange or Exchange.from_environment()
    found = find_release(exchange, name)
    signed = verified_manifest(exchange, mart=found.mart, major=found.major, release=found.release, key=trusted)
    count_staff(exchange, signed.manifest, door="open")
    return _in_place(exchange, signed.manifest, _wanted(signed.manifest, partitions), as_)


def _wanted(manifest: Manifest, partitions: Callable[[str], bool] | None) -> list[File]:
    return [file for file in manifest.files if partitions is None or partitions(file.partition)]


# In the lake


def _in_place(exchange: Exchange, manifest: Manifest, files: Sequence[File], as_: Engine) -> Any:
    keys = [f"{manifest.prefix}/{file.path}" for file in files]
    addresses = [exchange.lake.duckdb_url("marts", key) for key in keys]
    if not addresses or exchange.lake.local_path("marts", keys[0]) is not None:
        return _local(manifest, addresses, as_)
    if as_ == "duckdb":
        return exchange.duckdb().read_parquet(addresses, hive_partitioning=False, union_by_name=True)
    properties = exchange.lake.pyiceberg_properties()
    if as_ == "polars":
        import polars as pl

        return pl.scan_parquet(addresses, hive_partitioning=False, storage_options=_polars_options(properties))
    import pyarrow.dataset as pad
    from pyiceberg.io.pyarrow import PyArrowFileIO

    store = PyArrowFileIO(properties).fs_by_scheme("s3", None)
    return pad.dataset([address.removeprefix("s3://") for address in addresses], format="parquet", filesystem=store)


def _polars_options(properties: dict[str, str]) -> dict[str, str]:
    endpoint = properties["s3.endpoint"]
    options = {
        "aws_endpoint_url": endpoint,
        "aws_region": properties["s3.region"],
        "aws_access_key_id": properties["s3.access-key-id"],
        "aws_secret_access_key": properties["s3.secret-access-key"],
        "aws_session_token": properties["s3.session-token"],
        "aws_virtual_hosted_style_request": properties["s3.force-virtual-addressing"],
        "aws_allow_http": str(endpoint.startswith("http://")).lower(),
    }
    return {name: value for name, value in options.items() if value}


# From files on this machine


def _local(manifest: Manifest, paths: Sequence[Path | str], as_: Engine) -> Any:
    names = [str(path) for path in paths]
    if as_ == "polars":
        import polars as pl

        return pl.scan_parquet(names, hive_partitioning=False) if names else pl.LazyFrame(_empty(manifest))
    if as_ == "arrow":
        import pyarrow.dataset as pad

        return pad.dataset(names, format="parquet") if names else pad.dataset(_empty(manifest))
    connection = _connection()
    if not names:
        return connection.from_arrow(_empty(manifest))
    return connection.read_parquet(names, hive_partitioning=False, union_by_name=True)


def _connection() -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _empty(manifest: Manifest) -> Any:
    """No row, with the columns that the release has."""
    from lakehouse.storage.sql import identifier

    typed = ", ".join(f"NULL::{column.type} AS {identifier(column.name)}" for column in manifest.columns)
    return _connection().execute(f"SELECT {typed} LIMIT 0").to_arrow_table()


# Over the doors


def _client(at: str, token: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=at.rstrip("/"), headers=headers, timeout=_TIMEOUT, follow_redirects=False)


def _ask(client: httpx.Client, path: str) -> httpx.Response:
    try:
        answer = client.get(path)
    except httpx.HTTPError as error:
        raise CannotOpen(f"{client.base_url}: no answer from the doors: {error}") from None
    _require(answer)
    return answer


def _require(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        return
    try:
        said = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        said = f"the doors answered {answer.status_code}"
    if answer.status_code == 404:
        raise NoSuchRelease(said)
    raise CannotOpen(said)


def _resolve(client: httpx.Client, name: str) -> tuple[str, int, str]:
    """The mart, major and release that a name stands for, as :func:`lakehouse.release.listing.find_release`."""
    mart, _, wanted = name.partition("@")
    listed = _ask(client, "/marts.json").json()["marts"]
    majors = sorted((entry["major"] for entry in listed if entry["mart"] == mart), reverse=True)
    if not majors:
        known = ", ".join(sorted({entry["mart"] for entry in listed}))
        raise NoSuchRelease(f"{mart!r} has no release; released are: {known or 'none yet'}")
    if not wanted or wanted in {f"v{major}" for major in majors}:
        major = int(wanted[1:]) if wanted else majors[0]
        return mart, major, str(_ask(client, f"/marts/{mart}/v{major}/latest.json").json()["release"])
    names = [
        (major, str(entry["release"]))
        for major in majors
        for entry in _ask(client, f"/marts/{mart}/v{major}/releases.json").json()["releases"]
    ]
    found = [(major, release) for major, release in names if wanted in (release, release.split("-")[0])]
    if len(found) == 1:
        return mart, *found[0]
    standing = ", ".join(f"{release} (v{major})" for major, release in names)
    problem = "several releases" if found else "no release"
    raise NoSuchRelease(f"{mart} has {problem} {wanted!r}; there are: {standing}")


def _manifest_of(
    client: httpx.Client, mart: str, major: int, release: str, trusted: Ed25519PublicKey | None
) -> Manifest:
    folder = f"/marts/{mart}/v{major}/releases/{release}"
    content = _ask(client, f"{folder}/manifest.json").content
    signature = _ask(client, f"{folder}/manifest.json{SUFFIX}").content
    manifest = parse_manifest(content, mart=mart, major=major, release=release)
    if trusted is None:
        shown = f"the key {manifest.signed_with} of {client.base_url}"
        key = load_public_key(_ask(client, f"/marts/keys/{manifest.signed_with}.pem").content, shown=shown)
        if key_id(key) != manifest.signed_with:
            raise Untrusted(f"{shown} is another than its name says: {key_id(key)}")
    else:
        key = trusted_key(manifest, pinned=trusted, read=_reader(client), shown=f"{mart}@{release}")
    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise Untrusted(
            f"{mart}@{release} is not what the exchange signed: do not use it, and tell the exchange"
        ) from None
    return manifest


def _reader(client: httpx.Client) -> Callable[[str], bytes]:
    """Reads objects of the bucket of marts through the doors."""

    def read(name: str) -> bytes:
        try:
            return _ask(client, f"/marts/{name}").content
        except NoSuchRelease:
            raise ObjectNotFound("marts", name) from None

    return read


def _fetch(client: httpx.Client, manifest: Manifest, files: Sequence[File], cache: Path) -> list[Path]:
    cache.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda file: _fetch_one(client, manifest, file, cache), files))


def _fetch_one(client: httpx.Client, manifest: Manifest, file: File, cache: Path) -> Path:
    """The file under its hash, which it has only once it was checked."""
    target = cache / f"{file.sha256}.parquet"
    if target.exists():
        return target
    unchecked = cache / f".{file.sha256}.{uuid4().hex}.part"
    try:
        digest = hashlib.sha256()
        try:
            with client.stream("GET", f"/marts/{manifest.prefix}/{file.path}") as answer, unchecked.open("wb") as copy:
                if answer.status_code != 200:
                    answer.read()
                    _require(answer)
                for chunk in answer.iter_bytes(_CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
        except httpx.HTTPError as error:
            raise CannotOpen(f"{file.path}: the doors broke off: {error}; try again") from None
        if digest.hexdigest() != file.sha256:
            raise Untrusted(
                f"{manifest.prefix}/{file.path} is not what its manifest says (sha256 differs): do not use this "
                "release, and tell the exchange"
            )
        unchecked.replace(target)
    finally:
        unchecked.unlink(missing_ok=True)
    return target


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "city-data-exchange"
