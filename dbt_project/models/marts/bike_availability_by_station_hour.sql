select
    station_id_oslo_bysykkel,
    {{ period_start('hour', 'snapshot_at') }} as hour_utc,
    count(*) as snapshots,
    {{ exact_mean('bikes_available', 'decimal(9, 2)') }} as bikes_available_mean,
    min(bikes_available) as bikes_available_min,
    max(bikes_available) as bikes_available_max,
    {{ exact_mean('docks_available', 'decimal(9, 2)') }} as docks_available_mean,
    cast(100.0 * sum(case when bikes_available = 0 then 1 else 0 end) / count(*) as decimal(5, 2)) as empty_percent,
    cast(100.0 * sum(case when docks_available = 0 then 1 else 0 end) / count(*) as decimal(5, 2)) as full_percent
from {{ ref('bike_station_snapshots') }}
group by station_id_oslo_bysykkel, {{ period_start('hour', 'snapshot_at') }}
