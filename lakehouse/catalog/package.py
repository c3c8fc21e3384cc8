"""A release as a Frictionless data package: its files with sizes and hashes, and the schema of its rows."""

from __future__ import annotations

from typing import Any

from lakehouse.catalog.types import frictionless_type
from lakehouse.release.manifest import Column, File, Manifest

PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"


def data_package(manifest: Manifest, *, base: str) -> dict[str, Any]:
    """One release; ``base`` is the address of its folder, or empty where the package lies in it."""
    schema = _schema(manifest)
    return {
        "$schema": PROFILE,
        "name": manifest.mart.replace("_", "-"),
        "id": f"{manifest.mart}@{manifest.release}",
        "title": manifest.title,
        "description": " ".join(manifest.description.split()),
        "version": f"{manifest.major}.{int(manifest.release.split('-')[0])}.0",
        "created": manifest.created_at.isoformat(),
        "keywords": list(manifest.keywords),
        "licenses": [{"name": manifest.licence["id"], "path": manifest.licence["url"]}],
        "sources": [
            {"title": f"{attribution} ({dataset})"}
            for dataset, attribution in sorted({(one.dataset, one.attribution) for one in manifest.inputs})
        ],
        "resources": [_resource(file, schema, base) for file in manifest.files],
    }


def _resource(file: File, schema: dict[str, Any], base: str) -> dict[str, Any]:
    return {
        "name": file.path.removesuffix(".parquet").replace("=", "-").replace("/", "-").lower(),
        "path": f"{base}/{file.path}" if base else file.path,
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "bytes": file.bytes,
        "hash": f"sha256:{file.sha256}",
        "schema": schema,
    }


def _schema(manifest: Manifest) -> dict[str, Any]:
    return {"fields": [_field(column) for column in manifest.columns], "primaryKey": list(manifest.key)}


def _field(column: Column) -> dict[str, Any]:
    unit = {"unit": column.unit} if column.unit else {}
    return {
        "name": column.name,
        "type": frictionless_type(column.type),
        "description": " ".join(column.description.split()),
        **unit,
    }
