{{ config(materialized='view') }}
{{ interval_use(
    readings=ref('water_readings'),
    meter='meter_number',
    read_at='read_at',
    reading='meter_reading_l',
    use='water_use_l',
    limits=stated_readings('stg_daiad__water_meter_readings')
) }}
