{{ config(materialized='view') }}
{{ interval_use(
    readings=ref('heat_readings'),
    meter='series_number',
    read_at='read_at',
    reading='heat_energy_kwh',
    use='heat_use_wh',
    scale=1000,
    limits=stated_readings('stg_aalborg_heat__heat_meter_readings')
) }}
