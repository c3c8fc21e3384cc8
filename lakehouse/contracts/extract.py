"""What a contract says of an extract: the typed arguments of each connector (`exchange.extract`).

Nothing but types lives here, so that a contract can be validated without any client library.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lakehouse.contracts.extract_base import Extract
from lakehouse.contracts.extract_stores import S3Bucket, Sftp, SqlInterval, SqlTable


class PagedJsonApi(Extract):
    """A JSON API over HTTP that answers a time interval in pages by offset and limit, stating the total.

    The kind of the Energi Data Service: `GET <base url><path>?start=…&end=…&offset=…&limit=…`, where the
    start is included, the end is excluded, and the answer is an object with a count and a list of records.
    Its start and end are Danish time unless `timezone: utc` is among the `parameters`, and it admits about
    one request per dataset, minute and address: prefer a page that holds the whole interval.
    """

    connector: Literal["paged_json_api"]
    path: Annotated[str, Field(pattern=r"^/[^/?#][^?#]*$", description="below the base URL")]
    records: str = Field(default="records", description="key of the answer that holds the list of rows")
    total: str = Field(default="total", description="key of the answer that counts the interval's rows")
    page_size: PositiveInt = Field(default=10_000, description="rows a request")
    parameters: dict[str, str] = Field(description="sent as they stand with every request; never a secret")
    sort_parameter: str = Field(default="sort", description="which of `parameters` orders the rows")
    start_parameter: str = "start"
    end_parameter: str = "end"
    offset_parameter: str = "offset"
    limit_parameter: str = "limit"
    time_format: str = Field(default="%Y-%m-%dT%H:%M", description="strftime form of start and end, in UTC")
    max_requests_per_second: PositiveFloat | None = Field(default=None, description="no pause when absent")
    timeout_seconds: PositiveFloat = 30
    attempts: PositiveInt = Field(default=5, description="requests made for one page before giving up")

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        """Raise ValueError if the fixed parameters leave the order open or collide with the paging ones."""
        if not self.parameters.get(self.sort_parameter, "").strip():
            raise ValueError(
                f"parameters must hold {self.sort_parameter!r}: without a fixed order of the rows, pages by "
                "offset repeat some and miss others; name every column of the dataset's key"
            )
        own = {self.start_parameter, self.end_parameter, self.offset_parameter, self.limit_parameter}
        if taken := sorted(own & self.parameters.keys()):
            raise ValueError(f"parameters {', '.join(taken)} are set by the connector: take them out")
        if len(own) < 4:
            raise ValueError("start, end, offset and limit must be four different parameters")
        return self


# One member for each connector.
ExtractArguments = Annotated[
    PagedJsonApi | SqlTable | SqlInterval | Sftp | S3Bucket,
    Field(discriminator="connector"),
]
