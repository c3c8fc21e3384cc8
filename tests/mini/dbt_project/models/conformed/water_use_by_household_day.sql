with readings as (
    select meter_id, read_at, {{ newest('reading_l') }} as reading_l
    from {{ ref('stg_utility__meter_readings') }}
    group by meter_id, read_at
),

intervals as (
    select
        meter_id,
        read_at,
        lead(read_at) over (partition by meter_id order by read_at) as next_at,
        lead(reading_l) over (partition by meter_id order by read_at) - reading_l as use_l
    from readings
)

select meters.area, intervals.meter_id, {{ midnight('intervals.read_at') }} as day_utc, intervals.use_l
from intervals
inner join {{ ref('stg_utility__meters') }} as meters on intervals.meter_id = meters.meter_id
where intervals.next_at = intervals.read_at + interval 24 hour
