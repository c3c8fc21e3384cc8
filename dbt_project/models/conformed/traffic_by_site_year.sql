-- A site may have several rows in a year; each site weighs the same in what is made of it.
with placed as (
    -- A point on a common boundary lies in the district with the lower number.
    select counts.count_id_kk, min(districts.district_code_kk) as district_code_kk
    from {{ ref('traffic_counts') }} as counts
    inner join {{ ref('districts') }} as districts
        on {{ point_in_polygon('counts.site_point', 'districts.boundary') }}
    group by counts.count_id_kk
)

select
    counts.site_number_kk,
    counts.road_name,
    coalesce(placed.district_code_kk, 0) as district_code_kk,
    -- The day's year, not the publisher's own column, which differs on a few rows: partitions go by the day.
    cast(extract(year from counts.counted_on) as bigint) as count_year,
    {{ exact_mean('counts.motor_vehicles_per_day', 'decimal(12, 2)') }} as motor_vehicles_per_day,
    {{ exact_mean('counts.bicycles_per_day', 'decimal(12, 2)') }} as bicycles_per_day,
    {{ exact_mean('counts.pedestrians_7_19_per_day', 'decimal(12, 2)') }} as pedestrians_7_19_per_day,
    {{ exact_mean('counts.heavy_share_percent', 'decimal(6, 2)') }} as heavy_share_percent
from {{ ref('traffic_counts') }} as counts
left join placed on counts.count_id_kk = placed.count_id_kk
group by
    counts.site_number_kk, counts.road_name, coalesce(placed.district_code_kk, 0),
    cast(extract(year from counts.counted_on) as bigint)
