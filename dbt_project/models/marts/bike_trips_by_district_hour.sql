-- Public cells alone: the build fills the last three columns with counts that already have their noise.
select
    origin_district_code_kk,
    origin_district_name,
    destination_district_code_kk,
    destination_district_name,
    hour_utc,
    cast(null as bigint) as bike_trips,
    cast(null as bigint) as error_90,
    cast(null as decimal(9, 2)) as standard_error
from {{ ref('district_pair_hours') }}
