{# Rows of a relation, of each key only the newest: the one that the latest delivery brought, in its last line.

   key_columns: list of columns; columns: list of the others that are wanted. A row that a later delivery has
   withdrawn, since it belongs to another partition by now, is none.
   Delivery ids sort by arrival, so a delivery's rank and its line make one whole number, which compares
   twice as fast as the two. #}
{% macro newest(relation, key_columns, columns) -%}
    select
        {{ key_columns | join(', ') }},
        {%- for column in columns %}
        newest.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            {{ key_columns | join(', ') }},
            {{ value_at_greatest(columns_as_struct(columns + ['exchange_withdrawn']), 'arrival * 1099511627776 + exchange_line') }} as newest
        from {{ relation }}
        inner join (
            select exchange_delivery, row_number() over (order by exchange_delivery) as arrival
            from (select distinct exchange_delivery from {{ relation }}) as delivered
        ) as arrivals using (exchange_delivery)
        group by {{ key_columns | join(', ') }}
    ) as kept
    where not coalesce(newest.exchange_withdrawn, false)
{%- endmacro %}
