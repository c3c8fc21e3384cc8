{{ unit_months(
    days=ref('heat_use_unit_days'),
    group=['unit_type', 'energy_label_band', 'simulated'],
    apart=['simulated'],
    policy=stated_policy('heat_use_by_segment_hour')
) }}
