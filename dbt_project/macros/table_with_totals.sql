{# A mart that is published beside its totals: every row that the policy can have, its measure empty for the build
   to fill but where it withholds (lakehouse/privacy/withheld.py).

   classes: the public relation of the finest classes, with the columns of all levels and the partition's.

   Out: a column for each dimension (a class of any level, or its total), the partition's column, <measure>. #}
{% macro table_with_totals(mart, classes) -%}
{%- set table = stated_table(mart) -%}
select distinct
    {%- for dimension in table.dimensions %}
    case side_{{ loop.index }}.level
        {%- for level in dimension.levels or [dimension.column] %} when {{ loop.index }} then classes.{{ level }}{% endfor %}
        else '{{ dimension.total }}' end as {{ dimension.column }},
    {%- endfor %}
    classes.{{ table.partition }},
    cast(null as bigint) as {{ table.measure }}
from {{ classes }} as classes
{%- for dimension in table.dimensions %}
cross join (
    {%- for level in range(1, (dimension.levels or [dimension.column]) | length + 2) %}
    select {{ level }} as level{{ ' union all' if not loop.last }}
    {%- endfor %}
) as side_{{ loop.index }}
{%- endfor %}
{%- endmacro %}
