{{ config(materialized='view') }}
select
    origins.district_code_kk as origin_district_code_kk,
    origins.district_name as origin_district_name,
    destinations.district_code_kk as destination_district_code_kk,
    destinations.district_name as destination_district_name,
    hours.hour_utc
from {{ ref('districts') }} as origins
cross join {{ ref('districts') }} as destinations
cross join {{ ref('build_hours') }} as hours
