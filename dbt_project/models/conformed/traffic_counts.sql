{{ config(materialized='view') }}
{{ newest(
    relation=ref('stg_copenhagen__traffic_counts'),
    key_columns=['count_id_kk'],
    columns=[
        'site_number_kk', 'road_name', 'counted_on', 'site_point', 'motor_vehicles_per_day', 'bicycles_per_day',
        'pedestrians_7_19_per_day', 'heavy_share_percent'
    ]
) }}
