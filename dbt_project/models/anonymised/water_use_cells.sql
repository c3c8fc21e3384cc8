{{ publishable_cells(
    contributions=ref('water_use_contributions'),
    group=['area_code', 'area_name', 'simulated'],
    measure='water_use_l',
    policy=stated_policy('water_use_by_area_hour')
) }}
