{# Where engines differ. A second engine brings its own `<engine>__` beside each; models stay as they are. #}

{# The value that stands in the row with the greatest `by`. A struct as value keeps its empty fields. #}
{% macro value_at_greatest(value, by) -%}
    {{ adapter.dispatch('value_at_greatest')(value, by) }}
{%- endmacro %}
{% macro duckdb__value_at_greatest(value, by) -%} arg_max({{ value }}, {{ by }}) {%- endmacro %}

{# Several columns as one value. #}
{% macro columns_as_struct(columns) -%}
    {{ adapter.dispatch('columns_as_struct')(columns) }}
{%- endmacro %}
{% macro duckdb__columns_as_struct(columns) -%} struct_pack({{ columns | join(', ') }}) {%- endmacro %}

{# Two values as one that compares by the first, and where that is equal by the second. #}
{% macro in_order(first, second) -%}
    {{ adapter.dispatch('in_order')(first, second) }}
{%- endmacro %}
{% macro duckdb__in_order(first, second) -%} row({{ first }}, {{ second }}) {%- endmacro %}

{# Of a group's whole numbers the second largest (the largest again where two are equal), 0 without one. #}
{% macro second_largest(value) -%}
    {{ adapter.dispatch('second_largest')(value) }}
{%- endmacro %}
{% macro duckdb__second_largest(value) -%} coalesce(max({{ value }}, 2)[2], 0) {%- endmacro %}

{# Of a group's whole numbers the middle one, the lower of two: one of the numbers themselves. #}
{% macro lower_median(value) -%}
    {{ adapter.dispatch('lower_median')(value) }}
{%- endmacro %}
{% macro duckdb__lower_median(value) -%} quantile_disc({{ value }}, 0.5) {%- endmacro %}

{# A group's values as a list, or as one text, in an order; and the list of no names. #}
{% macro listed(value, order) -%}
    {{ adapter.dispatch('listed')(value, order) }}
{%- endmacro %}
{% macro duckdb__listed(value, order) -%} list({{ value }} order by {{ order }}) {%- endmacro %}

{% macro joined_text(value, separator, order) -%}
    {{ adapter.dispatch('joined_text')(value, separator, order) }}
{%- endmacro %}
{% macro duckdb__joined_text(value, separator, order) -%}
    string_agg({{ value }}, '{{ separator }}' order by {{ order }})
{%- endmacro %}

{% macro no_names() -%}
    {{ adapter.dispatch('no_names')() }}
{%- endmacro %}
{% macro duckdb__no_names() -%} cast([] as varchar[]) {%- endmacro %}

{# One row for each whole number from `first` up to and without `end`. #}
{% macro each_number(first, end) -%}
    {{ adapter.dispatch('each_number')(first, end) }}
{%- endmacro %}
{% macro duckdb__each_number(first, end) -%} unnest(range({{ first }}, {{ end }})) {%- endmacro %}

{# The quotient of two whole numbers, rounded down (neither is negative here). #}
{% macro whole_quotient(dividend, divisor) -%}
    {{ adapter.dispatch('whole_quotient')(dividend, divisor) }}
{%- endmacro %}
{% macro duckdb__whole_quotient(dividend, divisor) -%} ({{ dividend }}) // ({{ divisor }}) {%- endmacro %}

{# Milliseconds since 1970 (UTC) of a timestamp, as a whole number, and the way back for whole hours. #}
{% macro milliseconds(timestamp) -%}
    {{ adapter.dispatch('milliseconds')(timestamp) }}
{%- endmacro %}
{% macro duckdb__milliseconds(timestamp) -%} epoch_ms({{ timestamp }}) {%- endmacro %}

{% macro hour_from_number(hours) -%}
    {{ adapter.dispatch('hour_from_number')(hours) }}
{%- endmacro %}
{% macro duckdb__hour_from_number(hours) -%} make_timestamptz(({{ hours }}) * 3600000000) {%- endmacro %}

{# Start of the hour, day, month, quarter or year of UTC that a timestamp lies in. #}
{% macro period_start(grain, timestamp) -%}
    {{ adapter.dispatch('period_start')(grain, timestamp) }}
{%- endmacro %}
{# Through TIMESTAMP, which has no zone: truncating a TIMESTAMPTZ asks the calendar for each row and takes
   twenty times as long. #}
{% macro duckdb__period_start(grain, timestamp) -%}
    make_timestamptz(epoch_us(date_trunc('{{ grain }}', make_timestamp(epoch_us({{ timestamp }})))))
{%- endmacro %}

{# Whether a point lies in a polygon, both in EPSG:4326. #}
{% macro point_in_polygon(point, polygon) -%}
    {{ adapter.dispatch('point_in_polygon')(point, polygon) }}
{%- endmacro %}
{% macro duckdb__point_in_polygon(point, polygon) -%}
    st_contains({{ polygon }}, {{ point }})
{%- endmacro %}

{# Whether two polygons have a line of their boundaries in common: more than a corner. #}
{% macro share_a_border(one, other) -%}
    {{ adapter.dispatch('share_a_border')(one, other) }}
{%- endmacro %}
{% macro duckdb__share_a_border(one, other) -%}
    (st_intersects({{ one }}, {{ other }}) and st_dimension(st_intersection({{ one }}, {{ other }})) >= 1)
{%- endmacro %}

{# Run before a build: geometry comes from a file of the installed package. Without its path only the
   models that need geometry fail. #}
{% macro load_spatial() -%}
    {{ adapter.dispatch('load_spatial')() }}
{%- endmacro %}
{% macro duckdb__load_spatial() -%}
    {%- set path = env_var('EXCHANGE_SPATIAL_EXTENSION', '') -%}
    {%- if path %} load '{{ path | replace("'", "''") }}' {%- endif -%}
{%- endmacro %}
