select
    area,
    'day' as period_grain,
    day_utc as period_start_utc,
    meter_id as unit,
    cast(least(use_l, 24 * 100) as bigint) as contribution
from {{ ref('water_use_by_household_day') }}
