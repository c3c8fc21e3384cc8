select
    cast(districts.district_code_kk as varchar) as area_code,
    cast(others.district_code_kk as varchar) as neighbour_code
from {{ ref('districts') }} as districts
inner join {{ ref('districts') }} as others
    on districts.district_code_kk <> others.district_code_kk
where {{ share_a_border('districts.boundary', 'others.boundary') }}
