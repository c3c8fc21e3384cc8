{{ config(materialized='view') }}
{%- set readings = {
    'false': ref('stg_aalborg_heat__heat_meter_readings'),
    'true': ref('stg_aalborg_heat__heat_meter_readings_simulated')
} %}
{%- for simulated, relation in readings.items() %}
select meters.series_number, readings.read_at, readings.heat_energy_kwh
from (
    {{ newest(
        relation=relation,
        key_columns=['meter_id_aalborg', 'read_at'],
        columns=['heat_energy_kwh']
    ) }}
) as readings
inner join {{ ref('heat_meters') }} as meters
    on readings.meter_id_aalborg = meters.meter_id_aalborg and meters.simulated = {{ simulated }}
{% if not loop.last %}union all{% endif %}
{%- endfor %}
