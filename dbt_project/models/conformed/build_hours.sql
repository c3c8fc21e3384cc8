{{ config(materialized='view') }}
-- Made by the build before dbt runs: the hours of the periods that it builds, whatever was delivered of them.
select hour_utc from calendar.hours
