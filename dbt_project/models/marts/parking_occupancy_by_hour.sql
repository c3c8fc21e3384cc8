select
    garage_code_aarhus,
    {{ period_start('hour', 'observed_at') }} as hour_utc,
    count(*) as observations,
    {{ exact_mean('vehicles', 'decimal(10, 2)') }} as vehicles_mean,
    max(vehicles) as vehicles_max,
    max(spaces) as spaces,
    cast(100.0 * sum(vehicles) / sum(spaces) as decimal(7, 2)) as occupancy_percent,
    cast(sum(case when vehicles > spaces then 1 else 0 end) as bigint) as observations_over_capacity
from {{ ref('parking_observations') }}
group by garage_code_aarhus, {{ period_start('hour', 'observed_at') }}
