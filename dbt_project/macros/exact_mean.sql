{# Mean of whole or decimal numbers: the sum is exact, whatever the order of rows, and divided once. #}
{% macro exact_mean(column, type) -%}
    cast(sum({{ column }}) / count({{ column }}) as {{ type }})
{%- endmacro %}
