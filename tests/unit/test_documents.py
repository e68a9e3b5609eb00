"""What the documents say is so: links, modules, the picture of the floors, commands and examples."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from config.bootstrap import Source, parse_bootstrap
from config.workload import Identity, Inbound, Outbound, Workload, parse_workload
from config.workload_bootstrap import expand
from sidecar.cli import main as command_line
from sidecar.main.options import parse_options
from stats.istio import STANDARD_METRICS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "tests").glob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def _ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_ids(DOCUMENTS))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_modules_named_in_the_architecture_exist() -> None:
    known = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("[a-z]*/**/*")]
    known += [f"{path}/" for path in known]
    named = re.findall(r"`([a-z][\w/]*(?:\.py|/))`", ARCHITECTURE)
    assert len(named) > 40
    assert [
        name for name in named if "NAME" not in name and not any(path.endswith(f"/{name}") for path in known)
    ] == []


def test_the_picture_of_the_floors_is_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (floors,) = [each for each in contracts["contracts"] if each["name"] == "The floors of the sidecar"]
    _, _, picture = ARCHITECTURE.partition("is exhaustive.\n\n")
    drawn = [line.strip() for line in picture.partition("\n\n")[0].splitlines() if "---" not in line]
    assert [re.split(r"\s{2,}", line)[0] for line in drawn] == floors["layers"]


def test_the_bootstrap_on_the_tracing_page_is_accepted() -> None:
    page = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")
    example, provider = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    parsed = parse_bootstrap([Source("tracing.yaml", example)])
    assert parsed.warnings == ()
    manager = yaml.safe_load(example)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    manager["typed_config"]["tracing"].update(yaml.safe_load(provider))
    content = yaml.safe_load(example)
    content["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0] = manager
    content["static_resources"]["clusters"][1]["name"] = "zipkin"
    assert parse_bootstrap([Source("zipkin.json", json.dumps(content))]).bootstrap.listeners


# README


def _readme_workload() -> str:
    (example,) = [text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "workload:" in text]
    return example


def test_the_workload_in_the_readme_is_accepted() -> None:
    workload = parse_workload(Source("catalog.yaml", _readme_workload()))
    assert parse_bootstrap([Source("expanded", json.dumps(expand(workload)))]).bootstrap.listeners


def test_the_workload_in_the_readme_has_every_key() -> None:
    fields = [
        field.name for kind in (Workload, Identity, Inbound, Outbound) for field in dataclasses.fields(kind)
    ]
    assert [name for name in fields if not re.search(rf"\b{name}:", _readme_workload())] == []


def test_commands_in_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line(["--help"])
    known = capsys.readouterr().out
    named = set(re.findall(r"(?:^    |`|/)sidecar ([a-z]+)", README, re.MULTILINE))
    assert named >= {"run", "validate", "expand", "health"}
    assert [name for name in named if not re.search(rf"^ +{name} ", known, re.MULTILINE)] == []


def test_options_in_the_readme_exist() -> None:
    assert parse_options(["-c", "bootstrap.yaml", "--log-level", "info"]).log_level == "info"
    assert parse_options(["-c", "x", "--mode", "validate", "--drain-time-s", "5"]).drain_time_s == 5


def test_targets_of_make_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE)
    assert named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


# Metrics


def test_the_metrics_page_lists_istios_metrics_and_labels() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    metrics = re.findall(r"^\| `istio_(\w+)` \|.*\| ([\w`, ]+) \|$", page, re.MULTILINE)
    groups = dict(re.findall(r"^\| (peer|HTTP|TCP) \| (.*) \|$", page, re.MULTILINE))
    labels = {name: tuple(re.findall(r"`(\w+)`", text)) for name, text in groups.items()}
    listed = {
        metric: tuple(label for group in shown.split(", ") for label in labels[group])
        for metric, shown in metrics
        if metric != "build"
    }
    assert listed == STANDARD_METRICS
