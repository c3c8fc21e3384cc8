{# Who counts in which cell with how much: one row a unit, period and grain, in the groups that are published.

   use: relation, one row a unit and fully measured hour (whole numbers). unit, hour, measure: its columns.
   days, months: relations as unit_days and unit_months make them of it. groups: relation of month_utc, the columns of
   segment, and merged_<column> for each column of group that is not in apart (see merged_areas and merged_segments).
   segment: list of columns by which a unit finds its group. group: list of columns that name a group.
   apart: columns of `segment` across which nothing is summed. policy: stated_policy(mart).

   Out: the columns of group, month_utc, period_start_utc, period_grain, period_hours, unit, contribution.

   - A unit gives an hour at most the cap; a day and a month are sums of capped hours.
   - A unit counts in the hours of a month that it counts in, and in its days that were measured in all 24 hours.
   - Groups stand for the month: who is in a cell changes within it by gaps in the readings alone.
   - No total is published beside its parts, so a group that is left out cannot be found by subtraction. #}
{% macro unit_contributions(use, unit, hour, measure, days, months, groups, segment, group, policy, apart=[]) -%}
{%- set kinds = (['unit', 'month_utc'] + apart) | join(', ') -%}
{%- set kept = apart | join(', ') ~ (', ' if apart else '') -%}
with counted as (
    select
        unit, month_utc, period_hours, contribution
        {%- for column in group %},
        {{ column if column in apart else 'merged_' ~ column ~ ' as ' ~ column }}
        {%- endfor %}
    from {{ months }}
    inner join {{ groups }} using ({{ (['month_utc'] + segment) | join(', ') }})
),

unit_periods as (
    {%- if 'hour' in policy.k %}
    select
        {{ unit }} as unit, {{ kept }}{{ period_start('month', hour) }} as month_utc,
        {{ hour }} as period_start_utc, 'hour' as period_grain, cast(1 as bigint) as period_hours,
        cast(least({{ measure }}, {{ policy.cap.value }}) as bigint) as contribution
    from {{ use }}
    {{ 'union all' if policy.k | length > 1 }}
    {%- endif %}
    {%- if 'day' in policy.k %}
    select unit, {{ kept }}month_utc, day_utc as period_start_utc, 'day' as period_grain,
        cast(24 as bigint) as period_hours, contribution
    from {{ days }}
    where hours = 24
    {{ 'union all' if 'month' in policy.k }}
    {%- endif %}
    {%- if 'month' in policy.k %}
    select unit, {{ kept }}month_utc, month_utc as period_start_utc, 'month' as period_grain, period_hours, contribution
    from counted
    {%- endif %}
)

select
    {%- for column in group %}
    counted.{{ column }},
    {%- endfor %}
    month_utc,
    unit_periods.period_start_utc,
    unit_periods.period_grain,
    unit_periods.period_hours,
    unit,
    unit_periods.contribution
from unit_periods
inner join counted using ({{ kinds }})
{%- endmacro %}
