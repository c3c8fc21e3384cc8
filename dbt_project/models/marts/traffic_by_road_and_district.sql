select
    sites.district_code_kk,
    coalesce(districts.district_name, 'no district') as district_name,
    sites.road_name,
    sites.count_year,
    count(*) as sites,
    {{ exact_mean('sites.motor_vehicles_per_day', 'decimal(12, 1)') }} as motor_vehicles_per_day,
    {{ exact_mean('sites.bicycles_per_day', 'decimal(12, 1)') }} as bicycles_per_day,
    {{ exact_mean('sites.pedestrians_7_19_per_day', 'decimal(12, 1)') }} as pedestrians_7_19_per_day,
    {{ exact_mean('sites.heavy_share_percent', 'decimal(5, 2)') }} as heavy_share_percent
from {{ ref('traffic_by_site_year') }} as sites
left join {{ ref('districts') }} as districts on sites.district_code_kk = districts.district_code_kk
group by sites.district_code_kk, coalesce(districts.district_name, 'no district'), sites.road_name, sites.count_year
