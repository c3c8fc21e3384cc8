"""What lies beside the files of a release that was fetched, so that tools open the folder as what it is."""

from __future__ import annotations

import json
from pathlib import Path

from lakehouse.catalog.addresses import Addresses
from lakehouse.catalog.croissant import croissant
from lakehouse.catalog.package import data_package
from lakehouse.release.manifest import Manifest
from lakehouse.settings import Settings


def describe_folder(manifest: Manifest, folder: Path, settings: Settings) -> None:
    """Writes the release's Croissant description and its data package into its folder."""
    described = {
        "croissant.json": croissant(manifest, Addresses.of(settings), publisher=settings.publisher),
        "datapackage.json": data_package(manifest, base=""),
    }
    for name, document in described.items():
        (folder / name).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
