select
    area_code,
    area_name,
    simulated,
    period_start_utc,
    period_grain,
    period_hours,
    units as households,
    water_use_l
from {{ ref('water_use_cells') }}
