{{ merged_segments(
    months=ref('heat_use_unit_months'),
    group=['unit_type', 'energy_label_band', 'simulated'],
    merge=[
        {'energy_label_band': "'other labels'"},
        {'unit_type': "'other buildings'", 'energy_label_band': "'all labels'"}
    ],
    k=stated_policy('heat_use_by_segment_hour').k.values() | min,
    apart=['simulated']
) }}
