{{ config(materialized='view') }}
{{ unit_contributions(
    use=ref('water_use_by_household_hour'),
    unit='meter_number',
    hour='hour_utc',
    measure='water_use_l',
    days=ref('water_use_unit_days'),
    months=ref('water_use_unit_months'),
    groups=ref('water_use_areas'),
    segment=['area_code', 'simulated'],
    group=['area_code', 'area_name', 'simulated'],
    apart=['simulated'],
    policy=stated_policy('water_use_by_area_hour')
) }}
