{# Who counts in which cell with how much: one row a unit, period and grain, in groups that hold enough units.

   use: relation, one row a unit and fully measured hour (whole numbers); a unit is in one segment. unit, hour,
   measure: its columns. group: list of its columns that make a segment (area, kind of building).
   merge: list of steps, each {column: SQL of its value in the wider group}: a segment below k takes the
   first step, what is still below k the next. Where even the last step holds less than k, the smallest
   other group joins it; what is below k still is left out. apart: columns of `group` that no step changes,
   so that nothing is merged across them.
   policy: stated_policy(mart).

   Out: the columns of group, month_utc, period_start_utc, period_grain, period_hours, unit, contribution.

   - A unit gives an hour at most the cap; a day and a month are sums of capped hours.
   - A unit counts in a day that was measured in all 24 hours, and in a month measured in at least 95 % of
     the hours of the unit with the most (of its kind in `apart`).
   - Groups are made from the units that count in the month, and stand for the month: who is in a cell
     changes within it by gaps in the readings alone.
   - No total is published beside its parts, so a group that is left out cannot be found by subtraction. #}
{% macro unit_contributions(use, unit, hour, measure, group, merge, policy, apart=[]) -%}
{%- set segment = group | join(', ') -%}
{%- set kinds = (['month_utc'] + apart) | join(', ') -%}
with unit_hours as (
    select
        {{ unit }} as unit, {{ segment }},
        {{ period_start('month', hour) }} as month_utc,
        {{ period_start('day', hour) }} as day_utc,
        {{ hour }} as hour_utc,
        least({{ measure }}, {{ policy.cap.value }}) as contribution
    from {{ use }}
),

unit_days as (
    select
        unit, {{ segment }}, month_utc, day_utc,
        count(*) as hours,
        cast(sum(contribution) as bigint) as contribution
    from unit_hours
    group by unit, {{ segment }}, month_utc, day_utc
),

unit_months as (
    select
        unit, {{ segment }}, month_utc,
        cast(sum(hours) as bigint) as hours,
        cast(sum(contribution) as bigint) as contribution
    from unit_days
    group by unit, {{ segment }}, month_utc
),

month_hours as (
    select {{ kinds }}, max(hours) as period_hours
    from unit_months
    group by {{ kinds }}
),

measured_months as (
    select unit, {{ segment }}, month_utc, period_hours, contribution
    from unit_months
    inner join month_hours using ({{ kinds }})
    where hours * 100 >= period_hours * 95
),

segments as (
    select month_utc, {{ segment }}, count(*) as units
    from measured_months
    group by month_utc, {{ segment }}
),

{{ merged_segments('segments', group, merge, policy.k.values() | min, apart) }},

unit_periods as (
    select
        unit, {{ segment }}, month_utc,
        hour_utc as period_start_utc, 'hour' as period_grain, 1 as period_hours, contribution
    from unit_hours
    union all
    select unit, {{ segment }}, month_utc, day_utc, 'day', 24, contribution
    from unit_days
    where hours = 24
    union all
    select unit, {{ segment }}, month_utc, month_utc, 'month', period_hours, contribution
    from measured_months
)

select
    {%- for column in group %}
    merged_{{ column }} as {{ column }},
    {%- endfor %}
    month_utc,
    period_start_utc,
    period_grain,
    cast(period_hours as bigint) as period_hours,
    unit,
    contribution
from unit_periods
inner join merged using (month_utc, {{ segment }})
where period_grain in ('{{ policy.k.keys() | join("', '") }}')
{%- endmacro %}
