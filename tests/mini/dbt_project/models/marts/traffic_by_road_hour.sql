select
    sensors.road,
    counts.hour_utc,
    count(*) as sensors,
    cast(sum(counts.vehicles) as bigint) as vehicles,
    cast(sum(counts.vehicles) / count(*) as decimal(9, 2)) as vehicles_mean
from {{ ref('traffic_counts') }} as counts
inner join (
    select sensor_id, {{ newest('road') }} as road from {{ ref('stg_city__sensors') }} group by sensor_id
) as sensors on counts.sensor_id = sensors.sensor_id
group by sensors.road, counts.hour_utc
