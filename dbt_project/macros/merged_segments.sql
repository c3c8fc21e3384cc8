{# CTEs, the last of them `merged`: each segment of a month beside the group that it is published in.

   segments: relation of month_utc, the columns of group, units. Arguments as of unit_contributions.
   Out: the same columns, and merged_<column> for each column of group. Small: one row a segment and month. #}
{% macro merged_segments(segments, group, merge, k, apart) -%}
{%- for column in group if column not in apart and column not in merge[-1] -%}
    {{ exceptions.raise_compiler_error("the last step of merge must give " ~ column ~ ": one group takes what is left") }}
{%- endfor -%}
{%- set own = [] -%}
{%- for column in group -%}{%- do own.append('merged_' ~ column) -%}{%- endfor -%}
{%- set merged = own | join(', ') -%}
{%- set segment = (['month_utc'] + group) | join(', ') -%}
{%- set kinds = (['month_utc'] + apart) | join(', ') -%}

counted_0 as (
    select *, units as held {% for column in group %}, {{ column }} as merged_{{ column }} {% endfor %}
    from {{ segments }}
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
),

merged as (
    select * from counted where held >= {{ k }}
)
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
