"""The project's plugins as a test imports them: Airflow as a library, with a home that is thrown away."""

import os
import sys
import tempfile
from unittest.mock import patch

from lakehouse.settings import PROJECT

sys.path.append(str(PROJECT / "plugins"))
with (
    tempfile.TemporaryDirectory(prefix="airflow-home-") as home,
    # As a library it leaves the logging of this process alone.
    patch.dict(os.environ, {"AIRFLOW_HOME": home, "_AIRFLOW__AS_LIBRARY": "1"}),
):
    from airflow.sdk import DAG, AssetOrTimeSchedule
    from airflow.sdk.exceptions import AirflowSkipException

    import exchange_operators
    import exchange_triggers

__all__ = ["DAG", "AirflowSkipException", "AssetOrTimeSchedule", "exchange_operators", "exchange_triggers"]
