select sensor_id, hour_utc, {{ newest('vehicles') }} as vehicles
from {{ ref('stg_city__traffic_counts') }}
group by sensor_id, hour_utc
