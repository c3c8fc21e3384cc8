with registered as (
    {{ newest(
        relation=ref('stg_aalborg_heat__heat_meter_register'),
        key_columns=['meter_id_aalborg'],
        columns=['customer_id_aalborg', 'unit_type', 'energy_label']
    ) }}
),

households as (
    -- A customer is one household, in one segment: in two that are published together it would count twice. Which
    -- one is decided by what the register says and not by ids, which are pseudonyms and other ones elsewhere.
    select customer_id_aalborg, unit_type, energy_label
    from (
        select
            *,
            row_number() over (
                partition by customer_id_aalborg order by energy_label nulls last, unit_type
            ) as place
        from registered
    ) as placed
    where place = 1
),

series as (
    -- The customer of the last reading.
    select
        meter_id_aalborg,
        simulated,
        {{ value_at_greatest('customer_id_aalborg', 'read_at') }} as customer_id_aalborg
    from (
        select meter_id_aalborg, customer_id_aalborg, read_at, false as simulated
        from {{ ref('stg_aalborg_heat__heat_meter_readings') }}
        union all
        select meter_id_aalborg, customer_id_aalborg, read_at, true as simulated
        from {{ ref('stg_aalborg_heat__heat_meter_readings_simulated') }}
    ) as readings
    group by meter_id_aalborg, simulated
),

owned as (
    select
        series.meter_id_aalborg,
        series.simulated,
        coalesce(registered.customer_id_aalborg, series.customer_id_aalborg) as customer_id_aalborg
    from series
    left join registered on series.meter_id_aalborg = registered.meter_id_aalborg
)

select
    row_number() over (order by owned.meter_id_aalborg, owned.simulated) as series_number,
    owned.meter_id_aalborg,
    owned.simulated,
    owned.customer_id_aalborg,
    coalesce(households.unit_type, 'unclear') as unit_type,
    case
        when households.energy_label in ('A', 'B') then 'A-B'
        when households.energy_label in ('C', 'D') then households.energy_label
        when households.energy_label in ('E', 'F', 'G') then 'E-G'
        else 'unlabelled'
    end as energy_label_band
from owned
left join households on owned.customer_id_aalborg = households.customer_id_aalborg
