"""Tables of the doors: who may take what, and what was taken.

They stand in the index's database. What recipients may do is also kept in the lake, see
:mod:`lakehouse.sharing.recipients`.
"""

from __future__ import annotations

import sqlalchemy as sa

from lakehouse.storage.index import UtcTime, metadata

recipients = sa.Table(
    "recipients",
    metadata,
    sa.Column("recipient", sa.String, primary_key=True),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("revoked_at", UtcTime),
)

# A token is known by its hash alone; `token` is the part of it by which it is found and named.
recipient_tokens = sa.Table(
    "recipient_tokens",
    metadata,
    sa.Column("token", sa.String, primary_key=True),
    sa.Column("recipient", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("revoked_at", UtcTime),
    sa.Index("recipient_tokens_of", "recipient"),
)

# Who accepted which version of a mart's terms, and until when that lets them read it.
grants = sa.Table(
    "grants",
    metadata,
    sa.Column("recipient", sa.String, primary_key=True),
    sa.Column("mart", sa.String, primary_key=True),
    sa.Column("granted_at", UtcTime, primary_key=True),
    sa.Column("terms", sa.String, nullable=False),
    sa.Column("until", UtcTime),
    sa.Column("revoked_at", UtcTime),
)

# Only ever added to. One row is what one door gave of one release to one recipient (none: an anonymous reader) from
# `first_at` to `last_at`, a few seconds; so many requests, bytes and, where the door knows them, rows.
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("entry", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("first_at", UtcTime, nullable=False),
    sa.Column("last_at", UtcTime, nullable=False),
    sa.Column("door", sa.String, nullable=False),
    sa.Column("recipient", sa.String),
    sa.Column("mart", sa.String, nullable=False),
    sa.Column("major", sa.Integer, nullable=False),
    sa.Column("release", sa.String, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Index("usage_by_time", "first_at"),
    sa.Index("usage_of_mart", "mart", "first_at"),
)

# One row: links made under an earlier epoch's key are refused.
link_epoch = sa.Table("link_epoch", metadata, sa.Column("epoch", sa.Integer, nullable=False))

# What the footer of a file says of its columns, by the hash of its bytes. It can be read again from the lake.
file_statistics = sa.Table(
    "file_statistics",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("statistics", sa.JSON, nullable=False),
)
