"""What the build gives to DuckDB beyond SQL, as a plug-in of dbt-duckdb that the profile names."""

from __future__ import annotations

from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb.sqltypes import BIGINT, VARCHAR

from lakehouse.privacy.areas import group_codes


class Plugin(BasePlugin):  # type: ignore[misc]
    """The function ``merge_areas`` of the macro ``merged_areas``."""

    def configure_connection(self, conn: Any) -> None:
        names, counts = duckdb.list_type(VARCHAR), duckdb.list_type(BIGINT)
        conn.create_function("merge_areas", group_codes, [names, counts, names, names, BIGINT], names)
