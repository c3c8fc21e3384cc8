{{ config(materialized='view') }}
{{ newest(
    relation=ref('stg_energinet__elspot_prices'),
    key_columns=['hour_utc', 'price_area'],
    columns=['spot_price_eur_per_mwh', 'spot_price_dkk_per_mwh']
) }}
