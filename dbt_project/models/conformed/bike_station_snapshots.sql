{{ config(materialized='view') }}
{{ newest(
    relation=ref('stg_oslo_bysykkel__station_status'),
    key_columns=['station_id_oslo_bysykkel', 'snapshot_at'],
    columns=['bikes_available', 'docks_available']
) }}
