"""Gates: what a candidate's Parquet must hold before it may become a release, and the report that says so."""
