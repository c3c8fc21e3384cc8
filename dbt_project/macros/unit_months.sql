{# The units that count in a month: measured in at least 95 % of the hours of the unit with the most (of its kind in
   `apart`), and not above the policy's ceiling, since one far above the rest is told from any sum of them.

   days: relation as unit_days makes it. group, policy: as there. apart: columns of `group` across which nothing is
   ever summed.

   Out: unit, the columns of group, month_utc, period_hours, contribution. #}
{% macro unit_months(days, group, policy, apart=[]) -%}
{%- set segment = group | join(', ') -%}
{%- set kinds = (['month_utc'] + apart) | join(', ') -%}
{%- set peers = (['month_utc'] + apart + (policy.ceiling.among if policy.ceiling else [])) | join(', ') -%}
with months as (
    select
        unit, {{ segment }}, month_utc,
        cast(sum(hours) as bigint) as hours,
        cast(sum(contribution) as bigint) as contribution
    from {{ days }}
    group by unit, {{ segment }}, month_utc
),

month_hours as (
    select {{ kinds }}, max(hours) as period_hours
    from months
    group by {{ kinds }}
),

measured as (
    select unit, {{ segment }}, month_utc, cast(period_hours as bigint) as period_hours, contribution
    from months
    inner join month_hours using ({{ kinds }})
    where hours * 100 >= period_hours * 95
)
{%- if policy.ceiling %},

typical as (
    select {{ peers }}, {{ lower_median('contribution') }} as middle
    from measured
    group by {{ peers }}
)

select measured.*
from measured
inner join typical using ({{ peers }})
where contribution <= middle * {{ policy.ceiling.times_median }}
{%- else %}

select * from measured
{%- endif %}
{%- endmacro %}
