"""Scenarios without what only Istio's proxies have: their traffic must also pass through a stock Envoy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.scenarios import Scenario

_ISTIO_TYPES = ("io.istio.", "stats.PluginConfig")


def without_istio(scenario: Scenario, directory: Path) -> Scenario:
    """The scenario with neither Istio's filters nor its metrics; its files go to `directory`."""
    manifest = dict(scenario.manifest)
    manifest["steps"] = [step for step in map(_without_metrics, manifest["steps"]) if step is not None]
    for spec in manifest["proxies"].values():
        # The placeholders are plain YAML: they are filled in later.
        config = yaml.safe_load((scenario.directory / spec["static"]).read_text(encoding="utf-8"))
        (directory / spec["static"]).write_text(yaml.safe_dump(_without_filters(config)), encoding="utf-8")
    return dataclasses.replace(scenario, directory=directory, manifest=manifest)


def _without_metrics(step: dict[str, Any]) -> dict[str, Any] | None:
    if step["action"] != "stats":
        return step
    metrics = [metric for metric in step["metrics"] if not metric["name"].startswith("istio_")]
    return {**step, "metrics": metrics} if metrics else None


def _without_filters(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_filters(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_filters(each) for each in value if not _is_istio(each)]
    return value


def _is_istio(item: Any) -> bool:
    typed = item.get("typed_config", {}) if isinstance(item, dict) else {}
    type_url = typed.get("type_url", "").removeprefix("type.googleapis.com/")
    return bool(type_url.startswith(_ISTIO_TYPES))
