{{ unit_days(
    use=ref('heat_use_by_household_hour'),
    unit='customer_id_aalborg',
    hour='hour_utc',
    measure='heat_use_wh',
    group=['unit_type', 'energy_label_band', 'simulated'],
    policy=stated_policy('heat_use_by_segment_hour')
) }}
