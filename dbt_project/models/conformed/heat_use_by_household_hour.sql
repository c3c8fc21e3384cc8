with measured as (
    select
        meters.meter_id_aalborg,
        meters.customer_id_aalborg,
        meters.unit_type,
        meters.energy_label_band,
        meters.simulated,
        used.hour_utc,
        used.heat_use_wh
    from {{ ref('heat_use_by_meter_hour') }} as used
    inner join {{ ref('heat_meters') }} as meters on used.series_number = meters.series_number
    where used.fully_covered
),

kept as (
    -- Where a meter has a real reading of an hour, its simulated one is not used.
    select measured.*
    from measured
    left join (select meter_id_aalborg, hour_utc from measured where not simulated) as real_hours
        on measured.meter_id_aalborg = real_hours.meter_id_aalborg and measured.hour_utc = real_hours.hour_utc
    where not measured.simulated or real_hours.meter_id_aalborg is null
)

-- A customer with several meters is one household, and counts once.
select
    customer_id_aalborg,
    unit_type,
    energy_label_band,
    simulated,
    hour_utc,
    cast(sum(heat_use_wh) as bigint) as heat_use_wh
from kept
group by customer_id_aalborg, unit_type, energy_label_band, simulated, hour_utc
