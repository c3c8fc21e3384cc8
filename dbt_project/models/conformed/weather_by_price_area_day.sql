with observed as (
    {{ newest(
        relation=ref('stg_dmi__station_daily'),
        key_columns=['observed_on', 'station_id_dmi'],
        columns=['municipality_name', 'temperature_degc', 'wind_speed_m_per_s']
    ) }}
)

select
    areas.price_area,
    observed.observed_on,
    count(*) as stations,
    {{ exact_mean('observed.temperature_degc', 'decimal(6, 2)') }} as temperature_degc,
    {{ exact_mean('observed.wind_speed_m_per_s', 'decimal(6, 2)') }} as wind_speed_m_per_s
from observed
inner join {{ ref('price_areas') }} as areas on observed.municipality_name = areas.municipality_name
group by areas.price_area, observed.observed_on
