-- A customer with several meters in one segment is one household there, and counts once.
select
    meters.customer_id_aalborg,
    meters.unit_type,
    meters.energy_label_band,
    meters.simulated,
    used.hour_utc,
    cast(sum(used.heat_use_wh) as bigint) as heat_use_wh
from {{ ref('heat_use_by_meter_hour') }} as used
inner join {{ ref('heat_meters') }} as meters on used.meter_id_aalborg = meters.meter_id_aalborg
where used.fully_covered
group by
    meters.customer_id_aalborg, meters.unit_type, meters.energy_label_band, meters.simulated, used.hour_utc
