{# The cells that a policy allows, out of who contributes what (see unit_contributions).

   contributions: relation. group: its columns that name a group. measure: name of the sum.
   policy: stated_policy(mart).

   Out: group, month_utc, period_start_utc, period_grain, period_hours, units, <measure>, and for those who
   review the build largest and second_largest (a unit's contribution), which no mart may select.

   A cell passes when it holds k units for its grain, its largest unit at most max_share_percent of the sum,
   and the rest beyond the two largest at least p_percent of the largest, so that the second cannot reckon
   the first. A sum of 0 does not pass: it would say of each unit that it used nothing. A month of which
   less than a day was measured does not: it would be an hour's sum under a month's k.
   A group's month is published at its finest grain of which every cell passes, and at that grain alone. #}
{% macro publishable_cells(contributions, group, measure, policy) -%}
{%- set group_month = (group + ['month_utc']) | join(', ') -%}
with cells as (
    select
        {{ group_month }}, period_start_utc, period_grain, period_hours,
        count(*) as units,
        cast(sum(contribution) as bigint) as total,
        max(contribution) as largest,
        {{ second_largest('contribution') }} as second_largest
    from {{ contributions }}
    group by {{ group_month }}, period_start_utc, period_grain, period_hours
),

judged as (
    select
        *,
        case period_grain when 'hour' then 1 when 'day' then 2 else 3 end as coarseness,
        case
            when
                units >= case period_grain
                    {%- for grain, k in policy.k.items() %} when '{{ grain }}' then {{ k }} {%- endfor %} end
                and total > 0
                and (period_grain <> 'month' or period_hours >= 24)
                and largest * 100 <= total * {{ policy.max_share_percent }}
                and (total - largest - second_largest) * 100 >= largest * {{ policy.p_percent }}
            then 0
            else 1
        end as fails
    from cells
),

safe_grains as (
    select {{ group_month }}, coarseness
    from judged
    group by {{ group_month }}, coarseness
    having sum(fails) = 0
),

verdicts as (
    select {{ group_month }}, min(coarseness) as coarseness
    from safe_grains
    group by {{ group_month }}
)

select
    {{ group_month }}, period_start_utc, period_grain, period_hours,
    units, total as {{ measure }}, largest, second_largest
from judged
inner join verdicts using ({{ group_month }}, coarseness)
{%- endmacro %}
