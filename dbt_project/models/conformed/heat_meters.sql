with series as (
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
    left join {{ ref('heat_meter_owners') }} as registered
        on series.meter_id_aalborg = registered.meter_id_aalborg
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
left join {{ ref('heat_households') }} as households on owned.customer_id_aalborg = households.customer_id_aalborg
