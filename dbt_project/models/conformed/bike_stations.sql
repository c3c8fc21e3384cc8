{{ newest(
    relation=ref('stg_city_bikes__stations'),
    key_columns=['station_id_city_bikes'],
    columns=['district_code_kk']
) }}
