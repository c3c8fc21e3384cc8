{# Use in each UTC hour, from a meter's cumulative readings at any times: one row a meter and hour that an
   interval between two of its readings touches.

   readings: relation, one row a meter and time. meter, read_at, reading: its columns; `scale` makes whole
   numbers of readings (1000 for kWh to Wh). limits: {max_gap_hours, max_use_per_hour}, as the contract
   states them, in the reading's own unit.

   Out: <meter>, hour_utc, <use> (whole units of the scaled reading), fully_covered (intervals that count
   cover all of the hour).

   An interval counts when the reading does not fall (a fall is a reset), the gap is short enough, and the
   use is not above what its hours allow, taking less than an hour as one (above it the meter jumped). Its use
   is spread by linear interpolation of the reading at the hours' boundaries, rounded down there, so that
   the hours of an interval add up to its use exactly. An hour depends on readings within the gap around it
   and on nothing else, so it is the same whichever partitions a build takes beside it. #}
{% macro interval_use(readings, meter, read_at, reading, use, limits, scale=1) -%}
{%- set hour = 3600000 -%}
with readings as (
    select
        {{ meter }} as meter,
        {{ milliseconds(read_at) }} as at_ms,
        cast(floor({{ reading }} * {{ scale }}) as bigint) as reading
    from {{ readings }}
),

intervals as (
    select
        meter,
        at_ms as from_ms,
        lead(at_ms) over (partition by meter order by at_ms, reading) as to_ms,
        lead(reading) over (partition by meter order by at_ms, reading) - reading as used
    from readings
),

counted as (
    select meter, from_ms, to_ms, to_ms - from_ms as gap_ms, used
    from intervals
    where
        to_ms > from_ms
        and to_ms - from_ms <= {{ limits.max_gap_hours * hour }}
        and used >= 0
        {%- if limits.max_use_per_hour is not none %}
        and used <= {{ whole_quotient((limits.max_use_per_hour * scale) | int ~ ' * greatest(to_ms - from_ms, ' ~ hour ~ ')', hour) }}
        {%- endif %}
),

touched as (
    select
        *,
        {{ each_number(whole_quotient('from_ms', hour), whole_quotient('to_ms - 1', hour) ~ ' + 1') }} as hour_number
    from counted
),

pieces as (
    select
        meter,
        hour_number,
        used,
        gap_ms,
        greatest(hour_number * {{ hour }} - from_ms, 0) as starts_ms,
        least((hour_number + 1) * {{ hour }} - from_ms, gap_ms) as ends_ms
    from touched
)

select
    meter as {{ meter }},
    {{ hour_from_number('hour_number') }} as hour_utc,
    cast(
        sum({{ whole_quotient('used * ends_ms', 'gap_ms') }} - {{ whole_quotient('used * starts_ms', 'gap_ms') }})
        as bigint
    ) as {{ use }},
    sum(ends_ms - starts_ms) = {{ hour }} as fully_covered
from pieces
group by meter, hour_number
{%- endmacro %}
