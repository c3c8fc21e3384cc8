select
    unit_type,
    energy_label_band,
    simulated,
    period_start_utc,
    period_grain,
    period_hours,
    units as households,
    heat_use_wh
from {{ ref('heat_use_cells') }}
