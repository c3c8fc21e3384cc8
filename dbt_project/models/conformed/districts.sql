{{ newest(
    relation=ref('stg_copenhagen__districts'),
    key_columns=['district_code_kk'],
    columns=['district_name', 'boundary']
) }}
