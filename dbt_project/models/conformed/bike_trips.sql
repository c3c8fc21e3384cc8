{{ config(materialized='view') }}
{{ newest(
    relation=ref('stg_city_bikes__trips'),
    key_columns=['trip_id_city_bikes'],
    columns=['rider_id_city_bikes', 'started_at', 'start_station_id_city_bikes', 'end_station_id_city_bikes']
) }}
