{{ unit_months(
    days=ref('water_use_unit_days'),
    group=['area_code', 'area_name', 'simulated'],
    apart=['simulated'],
    policy=stated_policy('water_use_by_area_hour')
) }}
