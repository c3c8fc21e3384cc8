"""What the documentation says of the software is held to the software."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import getmembers, isclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel, TypeAdapter

from lakehouse.cli import app
from lakehouse.contracts import extension, extract_http, extract_stores, forms, mart, odcs
from lakehouse.contracts import policy as policies
from lakehouse.contracts.extract import ExtractArguments
from lakehouse.contracts.mart import read_marts
from lakehouse.contracts.policy import AggregatePolicy, DpPolicy, SuppressPolicy
from lakehouse.exchange import SHARED_BUCKETS
from lakehouse.landing.receipt import ADVICE, Sender, build_receipt
from lakehouse.landing.row_rules import LIMITS
from lakehouse.privacy.dp import noise_of
from lakehouse.release import manifest
from lakehouse.settings import PROJECT, Settings
from tests.documents import DOCS, GUIDES, PAGES, blocks, commands

SETTINGS = DOCS / "settings.md"
DEPENDENCIES = DOCS / "decisions" / "0001-dependencies.md"
ENGINEER, PROVIDER, CONSUMER, REVIEWER = (
    DOCS / f"guide-{reader}.md" for reader in ("data-engineer", "provider", "consumer", "reviewer")
)
CONNECTORS = DOCS / "connectors.md"
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# Commands in text blocks, which no test runs: they run until they are stopped, or need what a test has not.
NOT_RUN = ("make ", "exchange airflow", "exchange serve", "EXCHANGE_EXTRACTS=live exchange run", "EXCHANGE_LAKE=s3://")

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CALL = re.compile(r"\bexchange ([a-z-]+)((?: [^|;&#]*)?)")


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _coded(page: Path) -> set[str]:
    """What stands between backticks in a page, and each word of it."""
    found = CODE.findall(re.sub(r"```.*?```", "", _read(page), flags=re.DOTALL))
    return {word for text in found for word in [text, *re.split(r"[\s:,{}\[\]]+", text)]}


def _models(module: ModuleType) -> Iterator[type[BaseModel]]:
    for name, model in getmembers(module, isclass):
        if issubclass(model, BaseModel) and model.__module__ == module.__name__ and not name.startswith("_"):
            yield model


def _fields(*models: type[BaseModel]) -> set[str]:
    return {name.removesuffix("_") for model in models for name in model.model_fields}


# Settings and dependencies


def test_the_table_of_settings_is_the_settings_class() -> None:
    def shown(default: Any) -> str:
        if default == PROJECT:
            return "the checkout"
        return "none" if default in (None, "") else f"`{str(default).lower() if default is True else default}`"

    rows = [
        f"| `EXCHANGE_{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert [line for line in _read(SETTINGS).splitlines() if line.startswith("| `EXCHANGE_")] == rows


def test_every_setting_that_is_named_exists() -> None:
    known = {f"EXCHANGE_{name.upper()}" for name in Settings.model_fields} | {"EXCHANGE_CREDENTIAL"}
    for page in PAGES:
        assert set(re.findall(r"EXCHANGE_[A-Z0-9_]*[A-Z0-9]", _read(page))) <= known, page.name


def test_every_dependency_has_its_reason_and_none_else() -> None:
    wanted = re.findall(r"^([a-z0-9-]+)", (PROJECT / "requirements.in").read_text(), re.MULTILINE)
    named = re.findall(r"^\| `([a-z0-9-]+)` \| \S.*\|$", _read(DEPENDENCIES), re.MULTILINE)
    assert len(wanted) > 20
    assert sorted(named) == sorted(wanted)


def test_requirements_are_pinned_to_the_letter() -> None:
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    pinned: dict[str, str] = {}
    for line in lines:
        found = re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==([^\s;]+)(?: ; .*)?", line)
        assert found, f"not pinned: {line!r}"
        pinned[found[1]] = found[2]
    asked = re.findall(r"^([a-z0-9-]+)\S*?(?:==(\S+))?$", (PROJECT / "requirements.in").read_text(), re.MULTILINE)
    for name, version in asked:
        assert pinned.get(name) == (version or pinned.get(name, "missing")), name


# Links, commands, paths


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(_read(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _calls(page: Path) -> Iterator[tuple[str, str]]:
    """Each `exchange <verb>` of a page, in code and in blocks, with what stands behind it."""
    typed = [
        line for block in blocks(page) if block.language in ("console", "text") for line in block.text.splitlines()
    ]
    typed = [line.removeprefix("$ ") for line in typed if line.startswith("$ ")]
    inline = CODE.findall(re.sub(r"```.*?```", "", _read(page), flags=re.DOTALL))
    for text in [*typed, *inline]:
        yield from CALL.findall(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    for verb, rest in _calls(page):
        assert verb in VERBS, f"{page.name}: there is no `exchange {verb}`"
        command = VERBS[verb]
        for word in rest.split() if hasattr(command, "commands") else ():  # as `exchange recipients add`
            assert word in command.commands, f"{page.name}: there is no `exchange {verb} {word}`"
            command = command.commands[word]
            break
        known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]} | {"--help"}
        # What follows `exchange airflow` is a command of Airflow's own.
        unknown = set(re.findall(r"(?<=\s)--[a-z-]+", rest)) - known if verb != "airflow" else set()
        assert not unknown, f"{page.name}: `exchange {verb}` has no {', '.join(sorted(unknown))}"


def test_every_command_is_in_a_guide() -> None:
    named = {verb for page in GUIDES for verb, _ in _calls(page)}
    assert named == set(VERBS)


def test_blocks_can_be_run_and_what_is_not_run_is_known() -> None:
    kinds: dict[str, int] = {}
    for page in PAGES:
        for block in blocks(page):
            kinds[block.language] = kinds.get(block.language, 0) + 1
            if block.language == "console":
                assert list(commands(block)), block.place
                assert page in GUIDES, f"{block.place}: only the guides' commands are run"
            if block.language == "text":
                typed = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
                assert all(line.startswith(NOT_RUN) for line in typed), f"{block.place}: mark it console"
    assert kinds["console"] > 10
    assert kinds["python"] > 5


def test_no_path_of_this_machine_is_in_any_file() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    here = {str(PROJECT), str(PROJECT.parent / "shared"), sys.prefix, f"{Path.home()}/"}
    # A file may well name a folder such as /exchange; only paths of two steps or more are this machine's alone.
    here = {path for path in here if path.count("/") > 1}
    files = [PROJECT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 100
    for file in files:
        content = file.read_bytes() if file.is_file() else b""
        if b"\0" not in content:
            found = [path for path in here if re.search(rb"(?<![\w.])" + re.escape(path).encode(), content)]
            assert not found, f"{file.relative_to(PROJECT)} names {found}"


# Tables of the guides


@pytest.mark.parametrize(
    ("module", "page"),
    [
        (extension, ENGINEER),
        (forms, ENGINEER),
        (mart, ENGINEER),
        (policies, ENGINEER),
        (extract_http, CONNECTORS),
        (extract_stores, CONNECTORS),
    ],
    ids=lambda given: given.__name__.rsplit(".", 1)[-1] if isinstance(given, ModuleType) else given.stem,
)
def test_the_contract_reference_names_every_key(module: ModuleType, page: Path) -> None:
    fields = _fields(*_models(module)) - {"connector"}
    assert len(fields) > 10
    assert fields <= _coded(page), fields - _coded(page)


def test_every_example_of_an_extract_is_valid() -> None:
    examples = [yaml.safe_load(block.text) for block in blocks(CONNECTORS) if block.language == "yaml"]
    models = TypeAdapter[ExtractArguments](ExtractArguments)
    found = {models.validate_python(example["extract"]).connector for example in examples}
    assert found == set(re.findall(r"^## (\w+_?\w*)$", _read(CONNECTORS), re.MULTILINE)) - {"Credentials"}


def test_the_contract_reference_names_the_standards_keys_that_are_read() -> None:
    fields = _fields(odcs.Contract, odcs.Column, odcs.TypeOptions, odcs.Quality)
    classes = {kind.value for kind in odcs.PrivacyClass}
    assert fields | classes <= _coded(ENGINEER), (fields | classes) - _coded(ENGINEER)


def test_the_consumers_guide_names_every_key_of_the_manifest() -> None:
    fields = _fields(manifest.Manifest, manifest.File, manifest.Input, manifest.Column)
    assert fields <= _coded(CONSUMER), fields - _coded(CONSUMER)


def test_the_providers_guide_names_every_key_of_the_receipt() -> None:
    delivery = {"delivery": "d", "file": "f", "received_at": datetime.now(UTC), "sha256": "s", "bytes": 1}
    receipt = build_receipt(
        sender=Sender(provider="p", dataset="d", contract_version="1.0.0"),
        delivery=delivery, status="accepted", message="", next_step="",
    )  # fmt: skip
    wanted = receipt.keys() | receipt["partitions"].keys()
    assert wanted <= _coded(PROVIDER), wanted - _coded(PROVIDER)


def test_the_providers_guide_explains_every_rule() -> None:
    sources = {path.name: _read(path) for path in (PROJECT / "lakehouse" / "landing").glob("*.py")}
    sources.pop("sniff.py")  # reads samples for drafts, not deliveries
    whole = {rule for text in sources.values() for rule in re.findall(r'DeliveryRefused\(\s*"([a-z_]+)"', text)}
    rows = set(re.findall(r'yield (?:rule\()?\(?"([a-z_]+)"', sources["row_rules.py"]))
    rows |= {rule for _, _, rule, _ in LIMITS} | ADVICE.keys()
    rows |= {f"not_{kind}" for kind in ("an_integer", "a_number", "a_boolean", "a_date", "a_timestamp", "a_geometry")}
    assert len(whole) > 10
    assert len(rows) > 15
    explained = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", _read(PROVIDER), re.MULTILINE))))
    assert whole | rows <= explained, (whole | rows) - explained


def test_the_reviewers_guide_states_each_private_marts_policy() -> None:
    stated = set(re.findall(r"^\| `\w+` \| household \|.*$", _read(REVIEWER), re.MULTILINE))
    rows = set()
    for name, described in read_marts(Settings().marts_path).items():
        policy = described.exchange.privacy
        if isinstance(policy, AggregatePolicy):
            k = " | ".join(str(policy.k[grain]) for grain in ("hour", "day", "month"))
            rows.add(
                f"| `{name}` | {policy.unit} | {k} | {policy.cap.value} {policy.cap.unit} | "
                f"{policy.max_share_percent} % | {policy.p_percent} % | {policy.release.final_after_days} days |"
            )
    assert len(rows) == 2
    assert stated == rows


def test_the_reviewers_guide_states_each_table_with_totals() -> None:
    stated = set(re.findall(r"^\| `\w+` \| \d+ \| \w+ \| ± .*$", _read(REVIEWER), re.MULTILINE))
    rows = set()
    for name, described in read_marts(Settings().marts_path).items():
        policy = described.exchange.privacy
        if isinstance(policy, SuppressPolicy):
            beside = ", ".join(f"`{sibling.mart}`" for sibling in policy.beside) or "none"
            rows.add(
                f"| `{name}` | {policy.k} | {policy.unit} | ± {policy.protection_percent} % | {policy.period} | {beside} |"
            )
    assert len(rows) == 1
    assert stated == rows


def test_the_reviewers_guide_states_each_policy_with_noise() -> None:
    stated = set(re.findall(r"^\| `\w+` \| discrete_.*$", _read(REVIEWER), re.MULTILINE))
    rows = set()
    for name, described in read_marts(Settings().marts_path).items():
        policy = described.exchange.privacy
        if isinstance(policy, DpPolicy):
            budget = policy.budget
            rows.add(
                f"| `{name}` | {policy.mechanism} | {policy.unit} | {policy.cap.value} {policy.cap.unit} | "
                f"{budget.rho} | {budget.year_rho} | {budget.lifetime_rho} | ± {noise_of(policy).half_width()} | "
                f"{policy.release.final_after_days} days |"
            )
    assert len(rows) == 1
    assert stated == rows


def test_the_readme_names_the_rooms_buckets_marts_and_guides() -> None:
    text = _read(PROJECT / "README.md")
    rooms = [path.parent.name for path in (PROJECT / "lakehouse").glob("*/__init__.py")]
    marts = list(read_marts(Settings().marts_path))
    guides = [f"docs/{page.name}" for page in GUIDES]
    missing = [name for name in [*rooms, *SHARED_BUCKETS, *marts, *guides] if name not in text]
    assert len(rooms) > 8
    assert len(guides) == 4
    assert not missing


def test_the_readmes_first_screen_shows_the_two_commands() -> None:
    first = "\n".join(_read(PROJECT / "README.md").splitlines()[:40])
    assert "make run" in first
    assert "make test" in first
