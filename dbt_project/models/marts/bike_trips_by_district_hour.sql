-- Public cells alone: the build fills the last three columns with counts that already have their noise.
{{ cells_for_noise('bike_trips_by_district_hour', cells=ref('district_pair_hours')) }}
