{{ unit_days(
    use=ref('water_use_by_household_hour'),
    unit='meter_number',
    hour='hour_utc',
    measure='water_use_l',
    group=['area_code', 'area_name', 'simulated'],
    policy=stated_policy('water_use_by_area_hour')
) }}
