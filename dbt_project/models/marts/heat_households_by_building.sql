-- Public classes alone: the build fills the last column, but for cells that it withholds.
{{ table_with_totals('heat_households_by_building', classes=ref('heat_building_classes')) }}
