{# A mart with a policy of kind dp: every public cell, its numbers empty for the build to fill with noise
   (lakehouse/privacy/draws.py).

   cells: the public relation of every cell that can be, with the mart's other columns. #}
{% macro cells_for_noise(mart, cells) -%}
{%- set stated = stated_noise(mart) -%}
select
    {%- for column in stated.columns %}
    {% if column.name in [stated.measure, 'error_90', 'standard_error'] -%}
    cast(null as {{ column.data_type }}) as {{ column.name }}
    {%- else -%}
    {{ column.name }}
    {%- endif -%}
    {{ ',' if not loop.last }}
    {%- endfor %}
from {{ cells }}
{%- endmacro %}
