-- A customer is one household, in one building: in two that are published together it would count twice. Which one is
-- decided by what the register says and not by ids, which are pseudonyms and other ones elsewhere.
select customer_id_aalborg, unit_type, construction_year, energy_label
from (
    select
        *,
        row_number() over (
            partition by customer_id_aalborg
            order by energy_label nulls last, unit_type, construction_year nulls last
        ) as place
    from {{ ref('heat_meter_owners') }}
) as placed
where place = 1
