{{ published_sums('water_use') }}
