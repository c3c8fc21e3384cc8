"""Releases in the words of Delta Sharing: protocol, schema and files as lines of JSON, in either response format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from lakehouse.release.manifest import Column, File, Manifest
from lakehouse.sharing.statistics import Statistics

Format = Literal["parquet", "delta"]

# DuckDB's types, and what Delta calls what stands in Parquet for them. Delta knows no unsigned numbers.
_TYPES = {
    "TINYINT": "byte",
    "SMALLINT": "short",
    "INT": "integer",
    "INTEGER": "integer",
    "BIGINT": "long",
    "BOOLEAN": "boolean",
    "FLOAT": "float",
    "REAL": "float",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "TEXT": "string",
    "DATE": "date",
    "BLOB": "binary",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "TIMESTAMPTZ": "timestamp",
    "TIMESTAMP": "timestamp_ntz",
}
_PARTITION_TYPES = {"day": "date", "month": "string", "year": "integer"}


class NotShareable(ValueError):
    """A column that Delta Sharing has no type for."""


def table_id(manifest: Manifest) -> str:
    return str(uuid5(NAMESPACE_URL, f"exchange:{manifest.mart}/v{manifest.major}"))


def version_of(release: str) -> int:
    """Delta's version of a release is its number: 3 of ``0003-1f0c…``."""
    return int(release.split("-")[0])


def delta_schema(manifest: Manifest) -> str:
    """Raises :class:`NotShareable`."""
    fields = [
        {"name": column.name, "type": _type(column), "nullable": True, "metadata": _comment(column)}
        for column in manifest.columns
    ]
    grain = manifest.partition["grain"]
    comment = f"The {grain} of {manifest.partition['column']}, by which the files are parted."
    fields.append({"name": grain, "type": _PARTITION_TYPES[grain], "nullable": True, "metadata": {"comment": comment}})
    return json.dumps({"type": "struct", "fields": fields}, ensure_ascii=False)


def _type(column: Column) -> str:
    name, _, arguments = column.type.partition("(")
    if name.strip().upper() in ("DECIMAL", "NUMERIC"):
        precision, _, scale = arguments.rstrip(") ").partition(",")
        return f"decimal({int(precision or 18)},{int(scale or 0 if precision else 3)})"
    found = _TYPES.get(name.strip().upper())
    if found is None:
        raise NotShareable(
            f"the column {column.name!r} is {column.type}, which Delta Sharing has no type for: read the mart by "
            "another door"
        )
    return found


def _comment(column: Column) -> dict[str, str]:
    unit = "" if column.unit in (None, "1") else f" [{column.unit}]"
    return {"comment": f"{column.description}{unit}"}


def head_lines(manifest: Manifest, form: Format) -> Iterator[dict[str, Any]]:
    """The protocol and the metadata of a release. Raises :class:`NotShareable`."""
    described = {
        "id": table_id(manifest),
        "name": manifest.mart,
        "description": manifest.description,
        "format": {"provider": "parquet"},
        "schemaString": delta_schema(manifest),
        "configuration": {
            "licence": manifest.licence["id"],
            "licence-url": manifest.licence["url"],
            "attribution": "; ".join(manifest.attribution),
        },
        "partitionColumns": [manifest.partition["grain"]],
    }
    sizes = {"version": version_of(manifest.release), "size": manifest.bytes, "numFiles": len(manifest.files)}
    if form == "parquet":
        yield {"protocol": {"minReaderVersion": 1}}
        yield {"metaData": {**described, **sizes}}
        return
    plain: dict[str, Any] = {"minReaderVersion": 1, "minWriterVersion": 2}
    zoneless = {"minReaderVersion": 3, "minWriterVersion": 7}
    features = {"readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"]}
    needs = '"timestamp_ntz"' in described["schemaString"]
    yield {"protocol": {"deltaProtocol": {**zoneless, **features} if needs else plain}}
    created = {"createdTime": int(manifest.created_at.timestamp() * 1000)}
    described["format"] = {"provider": "parquet", "options": {}}
    yield {"metaData": {"deltaMetadata": {**described, **created}, **sizes}}


def file_line(
    manifest: Manifest,
    file: File,
    *,
    statistics: Mapping[str, Statistics],
    address: str,
    tail: str,
    until: datetime,
    form: Format,
) -> dict[str, Any]:
    """One file; ``address`` is that of its release's folder, ``tail`` what opens it."""
    url = f"{address}/{quote(file.path, safe='/=')}{tail}"
    named = {manifest.partition["grain"]: file.partition}
    stats = json.dumps({"numRecords": file.rows, **statistics.get(file.sha256, {})}, ensure_ascii=False)
    created, expires = (int(moment.timestamp() * 1000) for moment in (manifest.created_at, until))
    if form == "parquet":
        facts = {"url": url, "id": file.sha256, "partitionValues": named, "size": file.bytes, "stats": stats}
        return {"file": {**facts, "timestamp": created, "expirationTimestamp": expires}}
    action = {
        "path": url,
        "partitionValues": named,
        "size": file.bytes,
        "modificationTime": created,
        "dataChange": True,
        "stats": stats,
    }
    facts = {"id": file.sha256, "size": file.bytes, "expirationTimestamp": expires}
    return {"file": {**facts, "deltaSingleAction": {"add": action}}}
