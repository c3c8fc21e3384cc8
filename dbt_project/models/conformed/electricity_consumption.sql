{{ config(materialized='view') }}
{{ newest(
    relation=ref('stg_energinet__consumption_de35_hour'),
    key_columns=['hour_utc', 'price_area', 'consumer_type_de35'],
    columns=['consumption_kwh']
) }}
