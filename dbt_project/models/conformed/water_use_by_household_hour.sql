select
    meters.meter_number,
    meters.area_code,
    meters.area_name,
    meters.simulated,
    used.hour_utc,
    used.water_use_l
from {{ ref('water_use_by_meter_hour') }} as used
inner join {{ ref('water_meters') }} as meters on used.meter_number = meters.meter_number
where used.fully_covered
