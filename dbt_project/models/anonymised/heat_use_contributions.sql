{{ config(materialized='view') }}
{{ unit_contributions(
    use=ref('heat_use_by_household_hour'),
    unit='customer_id_aalborg',
    hour='hour_utc',
    measure='heat_use_wh',
    group=['unit_type', 'energy_label_band', 'simulated'],
    merge=[
        {'energy_label_band': "'other labels'"},
        {'unit_type': "'other buildings'", 'energy_label_band': "'all labels'"}
    ],
    apart=['simulated'],
    policy=stated_policy('heat_use_by_segment_hour')
) }}
