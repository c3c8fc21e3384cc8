{{ config(materialized='view') }}
{{ unit_contributions(
    use=ref('water_use_by_household_hour'),
    unit='meter_number',
    hour='hour_utc',
    measure='water_use_l',
    group=['area_code', 'area_name', 'simulated'],
    merge=[{'area_code': "'other'", 'area_name': "'Other areas'"}],
    apart=['simulated'],
    policy=stated_policy('water_use_by_area_hour')
) }}
