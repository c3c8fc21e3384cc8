{{ newest(
    relation=ref('stg_aalborg_heat__heat_meter_register'),
    key_columns=['meter_id_aalborg'],
    columns=['customer_id_aalborg', 'unit_type', 'construction_year', 'energy_label']
) }}
