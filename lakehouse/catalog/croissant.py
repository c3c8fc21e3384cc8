"""A release as Croissant 1.1 describes data sets: its files with their checksums, and its columns."""

from __future__ import annotations

from typing import Any

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.types import croissant_type
from lakehouse.release.manifest import Manifest

# As Croissant calls it, which is older than the registered name.
PARQUET = "application/x-parquet"
VERSION = "http://mlcommons.org/croissant/1.1"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(manifest: Manifest, at: Addresses, *, publisher: str) -> dict[str, Any]:
    """One release. Its files have the addresses of the door of plain files, which do not change.

    The record set ``newest`` is read from the newest file's address. ``rows`` is the whole release, read from the
    folder in which this document lies, as `exchange get` makes it: Croissant knows no set of many addresses.
    """
    place = at.pinned_files(manifest.mart, manifest.major, manifest.release)
    newest = max(manifest.files, key=lambda file: file.partition)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": manifest.mart,
        "alternateName": manifest.title,
        "description": " ".join(manifest.description.split()),
        "license": manifest.licence["url"],
        "url": at.mart(manifest.mart, manifest.major),
        "version": _version(manifest.major, manifest.release),
        "datePublished": manifest.created_at.isoformat(),
        "inLanguage": "en",
        "isAccessibleForFree": manifest.price is None,
        "keywords": list(manifest.keywords),
        "creator": [{"@type": "sc:Organization", "name": name} for name in manifest.attribution],
        "publisher": {"@type": "sc:Organization", "name": publisher, "url": at.catalog},
        "citeAs": _citation(manifest, publisher),
        "distribution": [
            *(
                {
                    "@type": "cr:FileObject",
                    "@id": file.path,
                    "name": file.path,
                    "contentUrl": f"{place}/{file.path}",
                    "contentSize": f"{file.bytes} B",
                    "encodingFormat": PARQUET,
                    "sha256": file.sha256,
                }
                for file in manifest.files
            ),
            {
                "@type": "cr:FileSet",
                "@id": "folder",
                "name": "folder",
                "description": "The files of the release, in the folder of this document.",
                "encodingFormat": PARQUET,
                "includes": "*/*.parquet",
            },
        ],
        "recordSet": [
            _records(manifest, "rows", {"fileSet": {"@id": "folder"}}, f"All {manifest.rows} rows of the release."),
            _records(
                manifest, "newest", {"fileObject": {"@id": newest.path}}, f"{newest.rows} rows: {newest.partition}."
            ),
        ],
    }


def _citation(manifest: Manifest, publisher: str) -> str:
    named = "; ".join(manifest.attribution)
    return f"{named}. {manifest.title}, {manifest.mart}@{manifest.release}. {publisher}."


def _version(major: int, release: str) -> str:
    """Croissant wants three numbers: the major, and the release's number in it."""
    return f"{major}.{int(release.split('-')[0])}.0"


def _records(manifest: Manifest, name: str, source: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "key": [{"@id": f"{name}/{column}"} for column in manifest.key],
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column.name}",
                "name": column.name,
                "description": _words(column.description, column.unit),
                "dataType": croissant_type(column.type),
                "source": {**source, "extract": {"column": column.name}},
            }
            for column in manifest.columns
        ],
    }


def _words(description: str, unit: str | None) -> str:
    return f"{' '.join(description.split())}{f' Unit: {unit}.' if unit else ''}"
