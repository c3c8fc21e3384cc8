{{ publishable_cells(
    contributions=ref('heat_use_contributions'),
    group=['unit_type', 'energy_label_band', 'simulated'],
    measure='heat_use_wh',
    policy=stated_policy('heat_use_by_segment_hour')
) }}
