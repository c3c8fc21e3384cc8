{{ config(materialized='view') }}
-- Made by the build before dbt runs: the groups of areas that releases have, which stand for their period.
select mart, period_utc, kind, area_code, group_code, group_name from published.area_groups
