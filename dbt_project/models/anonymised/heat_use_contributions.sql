{{ config(materialized='view') }}
{{ unit_contributions(
    use=ref('heat_use_by_household_hour'),
    unit='customer_id_aalborg',
    hour='hour_utc',
    measure='heat_use_wh',
    days=ref('heat_use_unit_days'),
    months=ref('heat_use_unit_months'),
    groups=ref('heat_use_segments'),
    segment=['unit_type', 'energy_label_band', 'simulated'],
    group=['unit_type', 'energy_label_band', 'simulated'],
    apart=['simulated'],
    policy=stated_policy('heat_use_by_segment_hour')
) }}
