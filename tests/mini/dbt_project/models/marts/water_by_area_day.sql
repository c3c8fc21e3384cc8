select
    area,
    period_grain,
    period_start_utc,
    cast(24 as bigint) as period_hours,
    count(*) as households,
    cast(sum(contribution) as bigint) as water_use_l
from {{ ref('water_contributions') }}
group by area, period_grain, period_start_utc
having count(*) >= 3
