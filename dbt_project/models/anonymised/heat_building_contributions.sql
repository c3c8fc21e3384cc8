{{ config(materialized='view') }}
with classed as (
    select
        customer_id_aalborg,
        case when unit_type = 'single_family_house' then unit_type else 'other' end as building_kind,
        case
            when construction_year is null then 'not known'
            when construction_year < 1930 then 'before 1930'
            when construction_year < 1950 then '1930-1949'
            when construction_year < 1960 then '1950-1959'
            when construction_year < 1970 then '1960-1969'
            when construction_year < 1980 then '1970-1979'
            when construction_year < 2000 then '1980-1999'
            when construction_year < 2010 then '2000-2009'
            else '2010 or later'
        end as construction_period,
        case
            when energy_label in ('A', 'B') then 'A-B'
            when energy_label in ('C', 'D') then 'C-D'
            when energy_label in ('E', 'F', 'G') then 'E-G'
            else 'unlabelled'
        end as energy_label_band
    from {{ ref('heat_households') }}
)

select
    classes.building_kind,
    classes.construction_period,
    classes.energy_label_band,
    classes.register_year,
    classed.customer_id_aalborg as unit,
    cast(1 as bigint) as contribution
from classed
inner join {{ ref('heat_building_classes') }} as classes
    using (building_kind, construction_period, energy_label_band)
