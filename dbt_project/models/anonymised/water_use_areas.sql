{{ merged_areas(
    months=ref('water_use_unit_months'),
    neighbours=ref('district_neighbours'),
    hours=ref('build_hours'),
    published=ref('published_area_groups'),
    mart='water_use_by_area_hour',
    apart=['simulated'],
    policy=stated_policy('water_use_by_area_hour')
) }}
