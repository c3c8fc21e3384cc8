-- A table: the build reads it once for each day.
select
    starts.district_code_kk as origin_district_code_kk,
    ends.district_code_kk as destination_district_code_kk,
    {{ period_start('hour', 'trips.started_at') }} as hour_utc,
    trips.rider_id_city_bikes as unit
from {{ ref('bike_trips') }} as trips
inner join {{ ref('bike_stations') }} as starts on trips.start_station_id_city_bikes = starts.station_id_city_bikes
inner join {{ ref('bike_stations') }} as ends on trips.end_station_id_city_bikes = ends.station_id_city_bikes
