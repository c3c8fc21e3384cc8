-- Public: every class of building there can be, whatever the register holds, for each year that is built.
with years as (
    select distinct extract(year from hour_utc) as register_year
    from {{ ref('build_hours') }}
),

kinds as (
    select 'single_family_house' as building_kind
    union all
    select 'other'
),

periods as (
    select 'before 1930' as construction_period
    union all
    select '1930-1949'
    union all
    select '1950-1959'
    union all
    select '1960-1969'
    union all
    select '1970-1979'
    union all
    select '1980-1999'
    union all
    select '2000-2009'
    union all
    select '2010 or later'
    union all
    select 'not known'
),

labels as (
    select 'A-B' as energy_label_band
    union all
    select 'C-D'
    union all
    select 'E-G'
    union all
    select 'unlabelled'
)

select
    kinds.building_kind,
    periods.construction_period,
    labels.energy_label_band,
    cast(years.register_year as bigint) as register_year
from kinds
cross join periods
cross join labels
cross join years
