with registered as (
    {{ newest(
        relation=ref('stg_aalborg_heat__heat_meter_register'),
        key_columns=['meter_id_aalborg'],
        columns=['customer_id_aalborg', 'unit_type', 'energy_label']
    ) }}
),

meters as (
    -- A meter with readings of both kinds is a real one: its simulated readings are not used.
    select meter_id_aalborg, max(customer_id_aalborg) as customer_id_aalborg, min(simulated) = 1 as simulated
    from (
        select meter_id_aalborg, customer_id_aalborg, 0 as simulated
        from {{ ref('stg_aalborg_heat__heat_meter_readings') }}
        union all
        select meter_id_aalborg, customer_id_aalborg, 1 as simulated
        from {{ ref('stg_aalborg_heat__heat_meter_readings_simulated') }}
    ) as readings
    group by meter_id_aalborg
)

select
    meters.meter_id_aalborg,
    coalesce(registered.customer_id_aalborg, meters.customer_id_aalborg) as customer_id_aalborg,
    coalesce(registered.unit_type, 'unclear') as unit_type,
    case
        when registered.energy_label in ('A', 'B') then 'A-B'
        when registered.energy_label in ('C', 'D') then registered.energy_label
        when registered.energy_label in ('E', 'F', 'G') then 'E-G'
        else 'unlabelled'
    end as energy_label_band,
    meters.simulated
from meters
left join registered on meters.meter_id_aalborg = registered.meter_id_aalborg
