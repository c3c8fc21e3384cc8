{# A mart with a policy of kind aggregate that states `sums`: the cells that the policy allows, in the mart's columns.

   name: how the models begin that are written from the policy, as `water_use` of `anonymised.water_use_contributions`.
   dbt has to know them when it parses, before it reads what the mart's yml states. #}
{% macro published_sums(name) -%}
{%- set policy = stated_policy(model.name) -%}
select
    {{ group_of(policy) | join(', ') }},
    period_start_utc,
    period_grain,
    period_hours,
    units as {{ policy.unit }}s,
    {{ policy.measure }}
from {{ ref(name ~ '_cells') }}
{%- endmacro %}

{# The mart's columns that name a group. #}
{% macro group_of(policy) -%}
    {%- set area = [policy.partition.area, policy.partition.name] if policy.partition else [] -%}
    {{ return(area + (policy.sums.kinds or []) + (policy.sums.apart or [])) }}
{%- endmacro %}
