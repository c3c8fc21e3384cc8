{# The policy `partition`: areas merged with their neighbours until each group holds the policy's K, and frozen.

   months: relation as unit_months makes it, with the columns of apart and those that the policy names as area and name.
   neighbours: relation of two columns, area_code and neighbour_code, both ways. hours: relation of the hours that are
   built. published: relation of the groups that releases have already (mart, period_utc, kind, area_code, group_code,
   group_name), which stand. mart: its name. apart: columns of months across which nothing is merged.
   policy: stated_policy(mart).

   Out: period_utc, kind, month_utc, the columns of apart, area, merged_<area>, merged_<name>; one row a month and area.

   - The first month of a period (`partition.frozen_for`) that is built decides, by the units that count in it; the
     build keeps the groups with the release, and later months of the period find them there.
   - An area that had no unit in the deciding month is left out until the next period.
   - Areas are few: the plan is made of one list a period, by merge_areas, which the build gives to the engine. #}
{% macro merged_areas(months, neighbours, hours, published, mart, policy, apart=[]) -%}
{%- set area, name = policy.partition.area, policy.partition.name -%}
{%- set kept = apart | join(', ') ~ (', ' if apart else '') -%}
with counted as (
    select
        {{ period_start(policy.partition.frozen_for, 'month_utc') }} as period_utc,
        {{ kind_of(apart) }} as kind,
        {{ kept }}month_utc, {{ area }}, max({{ name }}) as {{ name }}, count(*) as units
    from {{ months }}
    group by {{ kept }}month_utc, {{ area }}
),

built as (
    select distinct {{ period_start('month', 'hour_utc') }} as month_utc
    from {{ hours }}
),

deciding as (
    select period_utc, kind, min(month_utc) as month_utc
    from counted
    inner join built using (month_utc)
    group by period_utc, kind
),

undecided as (
    select counted.*
    from counted
    inner join deciding using (period_utc, kind, month_utc)
    left join (select distinct period_utc, kind, true as stands from {{ published }} where mart = '{{ mart }}') as known
        using (period_utc, kind)
    where known.stands is null
),

pairs as (
    select
        coalesce({{ listed('area_code', 'area_code, neighbour_code') }}, {{ no_names() }}) as firsts,
        coalesce({{ listed('neighbour_code', 'area_code, neighbour_code') }}, {{ no_names() }}) as seconds
    from {{ neighbours }}
),

plans as (
    select
        period_utc, kind,
        {{ listed(area, area) }} as areas,
        {{ listed(name, area) }} as names,
        {{ listed('units', area) }} as counts
    from undecided
    group by period_utc, kind
),

planned as (
    select
        period_utc, kind,
        unnest(areas) as {{ area }},
        unnest(names) as {{ name }},
        unnest(merge_areas(areas, counts, firsts, seconds, {{ policy.partition.k }})) as group_code
    from plans
    cross join pairs
),

named as (
    select period_utc, kind, group_code, {{ joined_text(name, ', ', area) }} as group_name
    from planned
    group by period_utc, kind, group_code
),

chosen as (
    select period_utc, kind, {{ area }}, group_code, group_name
    from planned
    inner join named using (period_utc, kind, group_code)
    union all
    select period_utc, kind, area_code as {{ area }}, group_code, group_name
    from {{ published }}
    where mart = '{{ mart }}'
)

select
    period_utc, kind, {{ kept }}month_utc, {{ area }},
    group_code as merged_{{ area }},
    group_name as merged_{{ name }}
from counted
inner join chosen using (period_utc, kind, {{ area }})
{%- endmacro %}

{# The values of `apart` as one text, by which groups of different kinds are kept apart. #}
{% macro kind_of(apart) -%}
    {%- for column in apart -%}
        '{{ column }}=' || cast({{ column }} as varchar){{ " || ', ' || " if not loop.last }}
    {%- else -%}
        ''
    {%- endfor -%}
{%- endmacro %}
