"""What ``evocodec cluster check --json`` calls things."""

from evocodec.cli.commands.cluster import report_payload
from evocodec.cluster.report import ClusterReport
from evocodec.domain.check import Check


def test_the_json_says_pass_where_a_check_is_ok() -> None:
    checks = (Check("version", "ok", "1.36"), Check("dns", "fail", "no answer", "look at coredns"))
    payload = report_payload(ClusterReport("https://cluster", "codecs", checks))
    assert payload == {
        "ok": False,
        "server": "https://cluster",
        "namespace": "codecs",
        "counts": {"pass": 1, "warn": 0, "fail": 1, "skip": 0},
        "findings": [
            {"name": "version", "state": "pass", "detail": "1.36", "fix": ""},
            {"name": "dns", "state": "fail", "detail": "no answer", "fix": "look at coredns"},
        ],
    }
