{{ published_sums('heat_use') }}
