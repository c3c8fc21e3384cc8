{{ config(materialized='view') }}
with numbered as (
    select
        meters.meter_number,
        readings.read_at,
        readings.meter_reading_l,
        readings.exchange_delivery,
        readings.exchange_line,
        readings.exchange_withdrawn
    from {{ ref('stg_daiad__water_meter_readings') }} as readings
    inner join {{ ref('water_meters') }} as meters on readings.meter_id_daiad = meters.meter_id_daiad
)

{{ newest(relation='numbered', key_columns=['meter_number', 'read_at'], columns=['meter_reading_l']) }}
