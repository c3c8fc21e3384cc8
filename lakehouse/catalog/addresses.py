"""Where a reader finds things: the addresses that the catalogue names, below that of the doors."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.settings import Settings


@dataclass(frozen=True)
class Addresses:
    """``base`` has no slash at its end. What stands in the catalogue's graph is named by addresses below it."""

    base: str

    @classmethod
    def of(cls, settings: Settings) -> Addresses:
        """As the settings have it: what stands before the doors, else the doors on this machine."""
        return cls((settings.doors_url or f"http://127.0.0.1:{settings.doors_port}").rstrip("/"))

    @property
    def catalog(self) -> str:
        return f"{self.base}/catalog"

    @property
    def index(self) -> str:
        return f"{self.catalog}/index.html"

    @property
    def publisher(self) -> str:
        return f"{self.catalog}#publisher"

    @property
    def contact(self) -> str:
        return f"{self.catalog}#contact"

    @property
    def feed(self) -> str:
        return f"{self.catalog}/feed.atom"

    @property
    def iceberg(self) -> str:
        return f"{self.base}/iceberg"

    @property
    def delta_sharing(self) -> str:
        return f"{self.base}/delta-sharing"

    def mart(self, mart: str, major: int) -> str:
        return f"{self.catalog}/{mart}/v{major}"

    def page(self, mart: str, major: int) -> str:
        return f"{self.mart(mart, major)}.html"

    def release(self, mart: str, major: int, release: str) -> str:
        return f"{self.mart(mart, major)}/releases/{release}"

    def offer(self, mart: str, major: int) -> str:
        return f"{self.mart(mart, major)}/offer.jsonld"

    def files(self, mart: str, major: int) -> str:
        """The folder of the newest release at the door of plain files."""
        return f"{self.base}/marts/{mart}/v{major}/latest"

    def pinned_files(self, mart: str, major: int, release: str) -> str:
        return f"{self.base}/marts/{mart}/v{major}/releases/{release}"

    def export(self, mart: str, major: int, form: str) -> str:
        """All of the newest release in one file."""
        return f"{self.files(mart, major)}/rows.{form}"

    def input(self, dataset: str) -> str:
        """A provider's dataset; described in the catalogue, and not given out."""
        return f"{self.catalog}/inputs/{dataset}"

    def provider(self, provider: str) -> str:
        return f"{self.catalog}/providers/{provider}"
