{# Rows of a relation, of each key only the newest: the one that the latest delivery brought, in its last line.

   key_columns: list of columns; columns: list of the others that are wanted. A row that a later delivery has
   withdrawn, since it belongs to another partition by now, is none.
   Delivery ids sort by arrival, so a delivery's rank and its line make one whole number, which compares
   twice as fast as the two. Older files may have several rows of one line: of those the one with the greatest
   values counts, in the order of the columns, as it does at intake, where all of the contract's are compared. #}
{% macro newest(relation, key_columns, columns) -%}
    {%- set value = columns_as_struct(columns + ['exchange_withdrawn']) %}
    select
        {{ key_columns | join(', ') }},
        {%- for column in columns %}
        exchange_newest.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            {{ key_columns | join(', ') }},
            {{ value_at_greatest(value, in_order('exchange_arrival * 1099511627776 + exchange_line', value)) }}
                as exchange_newest
        from {{ relation }}
        inner join (
            select exchange_delivery, row_number() over (order by exchange_delivery) as exchange_arrival
            from (select distinct exchange_delivery from {{ relation }}) as delivered
        ) as arrivals using (exchange_delivery)
        group by {{ key_columns | join(', ') }}
    ) as kept
    where not coalesce(exchange_newest.exchange_withdrawn, false)
{%- endmacro %}
