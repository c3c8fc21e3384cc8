-- The trial delivered no register: only simulated households have one, and the rest are one area.
with registered as (
    {{ newest(
        relation=ref('stg_daiad__water_meter_register'),
        key_columns=['meter_id_daiad'],
        columns=['area_code', 'area_name']
    ) }}
),

meters as (
    select distinct meter_id_daiad
    from {{ ref('stg_daiad__water_meter_readings') }}
)

select
    meters.meter_id_daiad,
    -- Within one build alone: whole numbers halve the cost of millions of readings.
    row_number() over (order by meters.meter_id_daiad) as meter_number,
    coalesce(registered.area_code, 'daiad-trial-a') as area_code,
    coalesce(registered.area_name, 'DAIAD trial A, whole area') as area_name,
    registered.meter_id_daiad is not null as simulated
from meters
left join registered on meters.meter_id_daiad = registered.meter_id_daiad
