"""A mart's contract for its consumers, in the Open Data Contract Standard, as the providers' contracts are."""

from __future__ import annotations

from typing import Any

import yaml

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.entries import Entry
from lakehouse.catalog.privacy_words import privacy_words
from lakehouse.catalog.types import odcs_type
from lakehouse.release.manifest import Column, Manifest
from lakehouse.settings import Settings

VERSION = "v3.1.0"


def mart_contract(entry: Entry, settings: Settings) -> dict[str, Any]:
    """What the exchange promises of the mart's major, and its newest release."""
    manifest, at = entry.manifest, Addresses.of(settings)
    contract: dict[str, Any] = {
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": f"exchange.{manifest.mart}.v{manifest.major}",
        "name": manifest.title,
        "version": f"{manifest.major}.{int(manifest.release.split('-')[0])}.0",
        "status": "active" if entry.mart else "deprecated",
        "dataProduct": manifest.mart,
        "tags": list(manifest.keywords),
        "description": {
            "purpose": " ".join(manifest.description.split()),
            "usage": f"Licence {manifest.licence['id']}. Name: {'; '.join(manifest.attribution)}.",
            "limitations": privacy_words(manifest),
            "authoritativeDefinitions": [{"type": "licence", "url": manifest.licence["url"]}],
        },
        "schema": [
            {
                "name": manifest.mart,
                "physicalType": "table",
                "logicalType": "object",
                "dataGranularityDescription": f"one row for each {', '.join(manifest.key)}",
                "properties": [_property(column, manifest) for column in manifest.columns],
            }
        ],
        "servers": [
            {
                "server": "files",
                "type": "api",
                "location": at.files(manifest.mart, manifest.major),
                "description": "Parquet over HTTP, with range requests",
            }
        ],
        "team": {"name": settings.publisher},
        "support": [{"channel": "e-mail", "url": f"mailto:{settings.contact}"}],
        "slaProperties": _sla(entry),
    }
    if manifest.price and "amount" in manifest.price:
        contract["price"] = {
            "priceAmount": manifest.price["amount"],
            "priceCurrency": manifest.price.get("currency", ""),
            "priceUnit": manifest.price.get("unit", ""),
        }
    return contract


def contract_yaml(contract: dict[str, Any]) -> str:
    return yaml.safe_dump(contract, sort_keys=False, allow_unicode=True, width=110)


def _property(column: Column, manifest: Manifest) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": column.name,
        "logicalType": odcs_type(column.type),
        "physicalType": column.type,
        "description": " ".join(column.description.split()),
        "required": column.name in manifest.key or bool(column.required),
        "classification": "public",
    }
    if column.name in manifest.key:
        said |= {"primaryKey": True, "primaryKeyPosition": manifest.key.index(column.name) + 1}
    if column.name == manifest.partition["column"]:
        said |= {"partitioned": True, "partitionKeyPosition": 1}
    if column.unit:
        said["customProperties"] = [{"property": "unit", "value": column.unit}]
    return said


def _sla(entry: Entry) -> list[dict[str, Any]]:
    if entry.mart is None:
        return []
    return [{"property": "latency", "value": entry.mart.exchange.freshness_hours, "unit": "h"}]
