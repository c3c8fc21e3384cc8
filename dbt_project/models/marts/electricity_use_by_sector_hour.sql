with types as (
    select
        hour_utc,
        price_area,
        cast(substring(consumer_type_de35, 1, 1) as bigint) as leading_digit,
        consumption_kwh
    from {{ ref('electricity_consumption') }}
),

used as (
    -- A type whose leading digit is no sector's is unclassified: its use is not lost.
    select
        types.hour_utc,
        types.price_area,
        coalesce(sectors.sector_code, 9) as sector_code,
        coalesce(sectors.sector_name, 'Unclassified') as sector_name,
        cast(sum(types.consumption_kwh) as bigint) as consumption_kwh,
        count(*) as consumer_types
    from types
    left join {{ ref('sectors') }} as sectors on types.leading_digit = sectors.sector_code
    group by
        types.hour_utc, types.price_area,
        coalesce(sectors.sector_code, 9), coalesce(sectors.sector_name, 'Unclassified')
)

select
    used.hour_utc,
    used.price_area,
    used.sector_code,
    used.sector_name,
    used.consumption_kwh,
    used.consumer_types,
    prices.spot_price_eur_per_mwh,
    prices.spot_price_dkk_per_mwh,
    weather.temperature_degc,
    weather.wind_speed_m_per_s
from used
left join {{ ref('electricity_prices') }} as prices
    on used.hour_utc = prices.hour_utc and used.price_area = prices.price_area
left join {{ ref('weather_by_price_area_day') }} as weather
    on cast(used.hour_utc as date) = weather.observed_on and used.price_area = weather.price_area
