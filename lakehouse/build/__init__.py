"""From clean partitions to a candidate: plan what changed, one dbt invocation a batch, export to Parquet."""
