"""The runbook has a section for every alert: docs/operations.md."""

import re

import yaml

from configs.settings import PROJECT_ROOT

OPERATIONS = (PROJECT_ROOT / "docs" / "operations.md").read_text()


def anchor(heading: str) -> str:
    """Return the anchor of a heading in the form that GitHub gives it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() -> None:
    rules = yaml.safe_load((PROJECT_ROOT / "configs" / "monitoring" / "alerts.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    runbook = OPERATIONS.partition("\n## Runbook\n")[2]
    sections = re.findall(r"^### (.*)$", runbook, flags=re.MULTILINE)
    assert sections == [alert["alert"] for alert in alerts]
    for alert in alerts:
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{anchor(alert['alert'])}"
