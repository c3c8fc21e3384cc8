{# What contracts and marts state, read from their yml, so that no number stands in two places.
   dbt's graph is empty while it parses and in unit tests; a unit test overrides these macros. #}

{# {kind, column, max_gap_hours, max_use_per_hour} of the contract behind a staging model. #}
{% macro stated_readings(staging_model) -%}
    {%- if not execute -%} {{ return({'max_gap_hours': 1, 'max_use_per_hour': none}) }} {%- endif -%}
    {%- set readings = stated_in(staging_model).readings -%}
    {%- if not readings -%}
        {{ exceptions.raise_compiler_error(staging_model ~ " states no config.meta.exchange.readings; it is generated from the contract's readings") }}
    {%- endif -%}
    {{ return(readings) }}
{%- endmacro %}

{# {k: {grain: units}, cap: {value}, ceiling: {times_median, among}, partition: {area, name, k, frozen_for},
   max_share_percent, p_percent} of a mart with an aggregate policy. #}
{% macro stated_policy(mart) -%}
    {%- if not execute -%}
        {{ return({
            'k': {'month': 1}, 'cap': {'value': 0}, 'max_share_percent': 0, 'p_percent': 0,
            'partition': {'area': 'area', 'name': 'name', 'k': 1, 'frozen_for': 'month'},
            'unit': 'unit', 'measure': 'measure', 'sums': {}
        }) }}
    {%- endif -%}
    {%- set policy = stated_in(mart).privacy -%}
    {%- if not policy or policy.kind != 'aggregate' -%}
        {{ exceptions.raise_compiler_error(mart ~ ".yml states no config.meta.exchange.privacy of kind aggregate") }}
    {%- endif -%}
    {{ return(policy) }}
{%- endmacro %}

{# {dimensions: [{column, levels, total}], partition, measure} of a mart with a policy of kind suppress. #}
{% macro stated_table(mart) -%}
    {%- if not execute -%}
        {{ return({'dimensions': [{'column': 'c', 'levels': [], 'total': 't'}], 'partition': 'p', 'measure': 'm'}) }}
    {%- endif -%}
    {%- set stated = stated_in(mart) -%}
    {%- if not stated.privacy or stated.privacy.kind != 'suppress' -%}
        {{ exceptions.raise_compiler_error(mart ~ ".yml states no config.meta.exchange.privacy of kind suppress") }}
    {%- endif -%}
    {{ return({'dimensions': stated.privacy.dimensions, 'partition': stated.partition.column, 'measure': stated.privacy.measure}) }}
{%- endmacro %}

{# {columns: [{name, data_type}], measure} of a mart with a policy of kind dp. #}
{% macro stated_noise(mart) -%}
    {%- if not execute -%}
        {{ return({'columns': [{'name': 'm', 'data_type': 'bigint'}], 'measure': 'm'}) }}
    {%- endif -%}
    {%- set policy = stated_in(mart).privacy -%}
    {%- if not policy or policy.kind != 'dp' -%}
        {{ exceptions.raise_compiler_error(mart ~ ".yml states no config.meta.exchange.privacy of kind dp") }}
    {%- endif -%}
    {%- set columns = graph.nodes['model.' ~ project_name ~ '.' ~ mart].columns.values() | list -%}
    {{ return({'columns': columns, 'measure': policy.measure}) }}
{%- endmacro %}

{% macro stated_in(model_name) -%}
    {%- set node = graph.nodes.get('model.' ~ project_name ~ '.' ~ model_name) -%}
    {%- if not node -%}
        {{ exceptions.raise_compiler_error("there is no model " ~ model_name) }}
    {%- endif -%}
    {{ return(node.config.meta.exchange or {}) }}
{%- endmacro %}
