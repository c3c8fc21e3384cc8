{{ config(materialized='view') }}
{%- set columns = ['heat_energy_kwh'] %}
with measured as (
    {{ newest(
        relation=ref('stg_aalborg_heat__heat_meter_readings'),
        key_columns=['meter_id_aalborg', 'read_at'],
        columns=columns
    ) }}
),

simulated as (
    {{ newest(
        relation=ref('stg_aalborg_heat__heat_meter_readings_simulated'),
        key_columns=['meter_id_aalborg', 'read_at'],
        columns=columns
    ) }}
)

select meter_id_aalborg, read_at, heat_energy_kwh
from measured
union all
select meter_id_aalborg, read_at, heat_energy_kwh
from simulated
where meter_id_aalborg in (select meter_id_aalborg from {{ ref('heat_meters') }} as meters where meters.simulated)
