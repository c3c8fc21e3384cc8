{# Each segment of a month beside the group that it is published in, where areas are none: small segments are merged
   into wider ones by steps.

   months: relation as unit_months makes it. group: list of its columns that make a segment.
   merge: list of steps, each {column: SQL of its value in the wider group}: a segment below k takes the first step,
   what is still below k the next. Where even the last step holds less than k, the smallest other group joins it;
   what is below k still is left out. apart: columns of `group` that no step changes, so that nothing is merged across
   them. k: units that a group holds.

   Out: month_utc, the columns of group, merged_<column> for each of them, units, held. Small: one row a segment and
   month. #}
{% macro merged_segments(months, group, merge, k, apart=[]) -%}
{%- for column in group if column not in apart and column not in merge[-1] -%}
    {{ exceptions.raise_compiler_error("the last step of merge must give " ~ column ~ ": one group takes what is left") }}
{%- endfor -%}
{%- set own = [] -%}
{%- for column in group -%}{%- do own.append('merged_' ~ column) -%}{%- endfor -%}
{%- set merged = own | join(', ') -%}
{%- set segment = (['month_utc'] + group) | join(', ') -%}
{%- set kinds = (['month_utc'] + apart) | join(', ') -%}

with counted_0 as (
    select *, units as held {% for column in group %}, {{ column }} as merged_{{ column }} {% endfor %}
    from (select {{ segment }}, count(*) as units from {{ months }} group by {{ segment }}) as segments
),
{%- for step in merge %}

step_{{ loop.index }} as (
    select {{ segment }}, units, {{ renamed(group, step, 'held < ' ~ k) }}
    from counted_{{ loop.index0 }}
),

counted_{{ loop.index }} as (
    select *, sum(units) over (partition by month_utc, {{ merged }}) as held
    from step_{{ loop.index }}
),
{%- endfor %}

ranked as (
    select
        *,
        min(held) over (partition by {{ kinds }}) as smallest,
        dense_rank() over (
            partition by {{ kinds }}
            order by case when held >= {{ k }} then 0 else 1 end, held, {{ merged }}
        ) as place
    from counted_{{ merge | length }}
),

joined as (
    select {{ segment }}, units, {{ renamed(group, merge[-1], 'smallest < ' ~ k ~ ' and place = 1') }}
    from ranked
),

counted as (
    select *, sum(units) over (partition by month_utc, {{ merged }}) as held
    from joined
)

select * from counted where held >= {{ k }}
{%- endmacro %}

{% macro renamed(group, step, condition) -%}
    {%- for column in group %}
        {%- if column in step %}
        case when {{ condition }} then {{ step[column] }} else merged_{{ column }} end as merged_{{ column }}
        {%- else %}
        merged_{{ column }}
        {%- endif %}
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
