{% macro midnight(moment) -%} date_trunc('day', {{ moment }}) {%- endmacro %}
