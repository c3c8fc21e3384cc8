{# Of a column the value that the latest delivery brought, in its last line. #}
{% macro newest(column) -%} {{ greatest_by(column, 'exchange_delivery', 'exchange_line') }} {%- endmacro %}

{% macro greatest_by(column, first, second) -%} {{ adapter.dispatch('greatest_by')(column, first, second) }} {%- endmacro %}
{% macro duckdb__greatest_by(column, first, second) -%} arg_max({{ column }}, ({{ first }}, {{ second }})) {%- endmacro %}
