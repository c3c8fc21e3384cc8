"""An Iceberg table as a reader at the doors sees it: the same snapshots and tags, with every address at the doors.

Metadata in the lake names files where they lie, on a disk or in a store that readers cannot reach. At the doors each
snapshot has one list with one manifest, made when it is asked for, which names the release's files below the door that
gives them out.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestEntryStatus, write_manifest, write_manifest_list
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from lakehouse.sharing.iceberg_register import RELEASE, tags

# A bucket by name alone: the doors answer as an object store does, for reading.
STORE = "iceberg-files"
LIST, MANIFEST, DATA = "snapshot.avro", "manifest.avro", "data"


def folder(link: str, mart: str, major: int, release: str) -> str:
    """Where a reader with this link finds what belongs to a release."""
    return f"s3://{STORE}/{link}/{mart}/v{major}/{release}"


def metadata_at_doors(table: Table, mart: str, major: int, link_to: Callable[[str], str]) -> dict[str, Any]:
    """The table's metadata, of tagged snapshots alone; ``link_to`` makes a link to a release."""
    said: dict[str, Any] = json.loads(table.metadata.model_dump_json(exclude_none=True))
    released = {snapshot: release for release, snapshot in tags(table).items()}
    said["location"] = f"s3://{STORE}/{mart}/v{major}"
    said["snapshots"] = [
        {**snapshot, "manifest-list": f"{folder(link_to(release), mart, major, release)}/{LIST}"}
        for snapshot in said["snapshots"]
        if (release := released.get(snapshot["snapshot-id"]))
    ]
    said["snapshot-log"] = [entry for entry in said.get("snapshot-log", []) if entry["snapshot-id"] in released]
    said["metadata-log"] = []
    for snapshot in said["snapshots"]:
        if snapshot.get("parent-snapshot-id") not in released:
            snapshot.pop("parent-snapshot-id", None)
    return said


def lists_at_doors(table: Table, snapshot: Snapshot, files: Sequence[DataFile], where: str) -> dict[str, bytes]:
    """The manifest list and the manifest of a snapshot of these files, by name, all to be found below ``where``."""
    assert snapshot.summary is not None
    snapshot_id = snapshot.snapshot_id
    mark = f"/releases/{snapshot.summary.additional_properties[RELEASE]}/"
    sequence = snapshot.sequence_number or 0
    with tempfile.TemporaryDirectory(prefix="iceberg-") as name:
        io, base = PyArrowFileIO(), Path(name)
        with write_manifest(
            table.format_version, table.spec(), table.schema(), io.new_output(f"file://{base / MANIFEST}"),
            snapshot_id, "null",
        ) as writer:  # fmt: skip
            for file in files:
                place = f"{where}/{DATA}/{file.file_path.partition(mark)[2]}"
                writer.add_entry(_entry(file, snapshot_id, sequence, place))
        manifest = writer.to_manifest_file()
        manifest[0] = f"{where}/{MANIFEST}"
        manifest[4] = sequence
        with write_manifest_list(
            table.format_version, io.new_output(f"file://{base / LIST}"), snapshot_id, None, sequence, "null"
        ) as listed:
            listed.add_manifests([manifest])
        return {LIST: (base / LIST).read_bytes(), MANIFEST: (base / MANIFEST).read_bytes()}


def _entry(file: DataFile, snapshot_id: int, sequence: int, place: str) -> ManifestEntry:
    moved = DataFile(*file._data)
    moved[1] = place
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.ADDED,
        snapshot_id=snapshot_id,
        sequence_number=sequence,
        file_sequence_number=sequence,
        data_file=moved,
    )
