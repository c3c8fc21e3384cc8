{# What each unit gave to each day, hour by hour at most the cap: the one pass over hours that thresholds, groups and
   coarser grains are made from.

   use: relation, one row a unit and fully measured hour (whole numbers); a unit is in one segment. unit, hour,
   measure: its columns. group: list of its columns that make a segment (area, kind of building).
   policy: stated_policy(mart).

   Out: unit, the columns of group, month_utc, day_utc, hours (measured of the day), contribution. #}
{% macro unit_days(use, unit, hour, measure, group, policy) -%}
{%- set segment = group | join(', ') -%}
select
    {{ unit }} as unit, {{ segment }},
    {{ period_start('month', hour) }} as month_utc,
    {{ period_start('day', hour) }} as day_utc,
    count(*) as hours,
    cast(sum(least({{ measure }}, {{ policy.cap.value }})) as bigint) as contribution
from {{ use }}
group by 1, {{ segment }}, month_utc, day_utc
{%- endmacro %}
