{{ config(materialized='view') }}
{{ newest(
    relation=ref('stg_aarhus__parking'),
    key_columns=['garage_code_aarhus', 'observed_at'],
    columns=['vehicles', 'spaces']
) }}
