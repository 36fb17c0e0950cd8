"""Which values the chart takes, and in which words it refuses others; that each is documented."""

import json
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.support import chart_tools as chart
from tools import chart_readme, chart_settings

VALUES = (chart.CHART / "values.yaml").read_text(encoding="utf-8")
SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))


def test_helm_finds_nothing_to_complain_about() -> None:
    for name in ("", "small", "large", "local"):
        words = chart.profile(name) if name else ()
        done = chart.run("helm", "lint", "--strict", str(chart.CHART), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[WARNING]" not in done.stdout
        assert "[ERROR]" not in done.stdout


_REFUSED = {
    "a misspelt value": ({"ray__worker__gpu": 1}, "'gpu' not allowed"),
    "a misspelt section": ({"rays": {}}, "'rays' not allowed"),
    "a choice": ({"image__pullPolicy": "Sometimes"}, "'Always', 'IfNotPresent', 'Never'"),
    "a number as text": ({"ray__worker__gpus": "two"}, "want integer"),
    "a negative number": ({"ray__worker__minReplicas": -1}, "minimum"),
    "a size": ({"ray__worker__memory": "lots"}, '"lots" is no size; write it as'),
    "bytes, where gigabytes are meant": ({"ray__worker__memory": 32}, "would be bytes"),
    "processors": ({"ray__head__resources__limits__cpu": "2x"}, "write it as 500m or 2"),
    "a request above its limit": (
        {"ray__head__resources__limits__memory": "1Gi"},
        "ray.head.resources.limits.memory (1Gi); raise the limit",
    ),
    "objects larger than the pod": ({"controller__sharedMemory": "9Gi"}, "lower it"),
    "too little for a job": (
        {"ray__worker__memory": "7Gi"},
        "leaves 256 MiB for each of ray.worker.slots (4)",
    ),
    "a setting that does not exist": (
        {"controller__settings": {"run": {"minuts": 5}}},
        "additional properties 'minuts' not allowed",
    ),
    "a setting out of range": (
        {"controller__settings": {"held_out": {"keep": 3}}},
        "maximum: got 3, want 1",
    ),
    "a key in a ConfigMap": (
        {"controller__settings": {"model": {"api_key": "sk-1"}}},
        "name it in controller.existingSecret",
    ),
    "a role's key in a ConfigMap": (
        {"controller__settings": {"model": {"coder": {"api_key": "sk-1"}}}},
        "put EVOCODEC_MODEL__CODER__API_KEY into a secret",
    ),
    "data beside the volume": (
        {"controller__settings": {"workspace": "/tmp/runs"}},
        "the volume is at /data",
    ),
    "a port that no policy opens": (
        {"model__base_url": "http://vllm.models:8000/v1", "model__model": "m"},
        "is at port 8000, and networkPolicy.outside.ports",
    ),
    "a port of a role's endpoint that no policy opens": (
        {"controller__settings": {"model": {"coder": {"base_url": "http://big.models:8000/v1"}}}},
        "controller.settings.model.coder.base_url is at port 8000",
    ),
    "git by ssh": ({"champions__remote": "git@git.example.com:lab.git"}, "image has no ssh"),
    "TLS half set": ({"ray__tls__existingSecret": "ca"}, "set ray.tls.enabled=true"),
    "a token unused": (
        {"ray__auth__enabled": False, "ray__auth__existingSecret": "t"},
        "set ray.auth.enabled=true",
    ),
    "a queue unused": ({"kueue__queueName": "gpus"}, "set kueue.enabled=true"),
    "a nameless class": ({"gvisor__runtimeClassName": ""}, "/gvisor/runtimeClassName"),
    "dashboards without metrics": (
        {"metrics__enabled": False, "metrics__dashboards__enabled": True},
        "would show nothing",
    ),
    "a block": ({"networkPolicy__outside__cidrs": ["all"]}, "write it as 10.0.0.0/8"),
    "an address": ({"model__base_url": "models:8000"}, "write it as https://host/path"),
    "a digest": ({"image__sandbox__digest": "latest"}, "or set the tag instead"),
    "a privileged port": ({"metrics__port": 80}, "minimum: got 80"),
    "a number of workers": ({"ray__worker__minReplicas": 9}, "raise maxReplicas"),
    "no workers": ({"ray__worker__maxReplicas": 0}, "set it to 1 or more"),
    "no workers ever": ({"ray__autoscaling__enabled": False}, "set ray.worker.minReplicas to 1"),
    "too many slots": ({"ray__worker__slots": 32}, "raise cpus or lower slots"),
    "the same port twice": ({"ray__ports__gcs": 8265}, "are both 8265"),
    "a port of workers": ({"ray__ports__metrics": 10500}, "choose another"),
    "ports backwards": ({"ray__ports__workerMin": 20000}, "exchange them"),
    "the old name of the store": (
        {"stores__bucket": "videos"},
        "stores.bucket is now called as the setting is: set store.bucket",
    ),
    "the old name of a backend": (
        {"stores__backend": "aws"},
        "set store.backend (sqlite for embedded, dynamodb for aws)",
    ),
    "the old name of an endpoint": (
        {"model__baseUrl": "https://m.example.com/v1"},
        "model.baseUrl is now called as the setting is: set model.base_url",
    ),
    "the old name of a model": (
        {"model__name": "m"},
        "model.name is now called as the setting is: set model.model",
    ),
    "half of AWS": ({"store__backend": "dynamodb"}, "needs store.bucket and store.region"),
    "a bucket unused": ({"store__bucket": "videos"}, "set store.backend=dynamodb"),
    "nothing kept": ({"controller__persistence__enabled": False}, "would lose every run"),
    "versions not kept": (
        {
            "controller__persistence__enabled": False,
            "store__backend": "dynamodb",
            "store__region": "eu-west-1",
            "store__bucket": "videos",
        },
        "set champions.remote to a git URL",
    ),
    "no account": ({"serviceAccount__create": False}, "needs serviceAccount.name"),
    "a nameless model": ({"model__base_url": "https://m.example.com/v1"}, "without model.model"),
    "a homeless model": ({"model__model": "m"}, "set model.base_url, or vllm.enabled"),
    "vLLM without model": ({"vllm__enabled": True}, "needs vllm.model"),
    "two endpoints": (
        {
            "vllm__enabled": True,
            "vllm__model": "m",
            "model__base_url": "https://m.example.com/v1",
            "model__model": "m",
        },
        "there is one endpoint",
    ),
    "KEDA without vLLM": ({"vllm__keda__enabled": True}, "scales vLLM, which is off"),
    "copies on one volume": (
        {"vllm__enabled": True, "vllm__model": "m", "vllm__replicas": 2},
        "set vllm.cache.enabled=false",
    ),
    "Kueue without queue": ({"kueue__enabled": True}, "needs kueue.queueName"),
    "Kueue and a scaler": (
        {"kueue__enabled": True, "kueue__queueName": "gpus"},
        "or kueue.elastic=true",
    ),
    "an empty external secret": ({"externalSecret__enabled": True}, "EVOCODEC_MODEL__API_KEY"),
    "two runtime classes": (
        {"gvisor__enabled": True, "ray__worker__runtimeClassName": "nvidia"},
        "unset it",
    ),
    "alerts without metrics": (
        {"metrics__enabled": False, "metrics__prometheusRule__enabled": True},
        "set metrics.enabled=true",
    ),
    "a long name": ({"fullnameOverride": "a" * 41}, "more than 40 characters"),
}


@pytest.mark.parametrize(("values", "words"), _REFUSED.values(), ids=_REFUSED.keys())
def test_nonsense_is_refused_in_words_that_help(values: dict[str, object], words: str) -> None:
    assert words in chart.refusal(*chart.settings(**values))


def test_every_value_is_documented() -> None:
    tree = yaml.safe_load(VALUES)
    purposes = dict(chart_readme.documented(VALUES))

    def bare(node: object, path: str) -> list[str]:
        if path and purposes.get(path):
            documented_inside = any(
                name.startswith(f"{path}.") and purpose for name, purpose in purposes.items()
            )
            if not documented_inside:
                return []
        if isinstance(node, dict) and node:
            return [
                found
                for key, child in node.items()
                for found in bare(child, f"{path}.{key}" if path else key)
            ]
        return [] if purposes.get(path) else [path]

    assert bare(tree, "") == []


def test_the_table_of_the_readme_is_current() -> None:
    old = (chart.CHART / "README.md").read_text(encoding="utf-8")
    assert chart_readme.readme(old, VALUES) == old, "python -m tools.chart_readme"


def is_renamed(schema: chart.Object) -> bool:
    return str(schema.get("description", "")).startswith("Called ")


def test_the_schema_knows_every_value_and_no_other() -> None:
    def compare(node: object, schema: chart.Object, path: str) -> None:
        if "properties" not in schema or path == ".controller.settings":
            return
        assert schema["additionalProperties"] is False or path.endswith(("requests", "limits")), (
            path
        )
        assert isinstance(node, dict), path
        # Old names are known to the schema alone, so that a template can say the new ones.
        renamed = {name for name, each in schema["properties"].items() if is_renamed(each)}
        known = set(schema["properties"]) - renamed - ({"global"} if not path else set())
        assert set(node) == known, path
        for key, child in node.items():
            compare(child, schema["properties"][key], f"{path}.{key}")

    compare(yaml.safe_load(VALUES), SCHEMA, "")


def test_the_schema_knows_the_settings_of_the_program() -> None:
    text = (chart.CHART / "values.schema.json").read_text(encoding="utf-8")
    assert chart_settings.schema(text) == text, "python -m tools.chart_settings"


def test_an_endpoint_behind_an_opened_port_is_taken() -> None:
    words = chart.settings(
        model__base_url="http://vllm.models:8000/v1",
        model__model="m",
        networkPolicy__outside__ports=[443, 8000],
    )
    assert chart.render(*words)


def test_the_version_is_that_of_the_program() -> None:
    import evocodec

    found = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert found["appVersion"] == evocodec.__version__


def test_rays_version_is_that_of_the_images() -> None:
    lock = (chart.ROOT / "sandbox-image" / "requirements.lock").read_text(encoding="utf-8")
    assert f"\nray=={yaml.safe_load(VALUES)['ray']['version']} " in lock


def test_the_notes_say_what_to_do_next() -> None:
    done = chart.run("helm", "install", "lab", str(chart.CHART), "--dry-run=client", "-n", "evo")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    for step in ("kubectl label namespace evo", "evocodec cluster check", "helm test lab", "logs"):
        assert step in notes
    assert "No model is set" in notes
    assert "helm upgrade --force-conflicts" in notes


def test_a_packaged_chart_explains_itself_and_carries_what_it_renders(tmp_path: Path) -> None:
    done = chart.run("helm", "package", str(chart.CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    assert "## Values" in chart.run("helm", "show", "readme", str(package)).stdout
    words = (*chart.profile("large"), "--kube-version", "1.35.0")
    texts = [
        chart.run("helm", "template", "lab", str(where), *words) for where in (package, chart.CHART)
    ]
    kinds = [sorted(each["kind"] for each in chart.load(done.stdout)) for done in texts]
    assert kinds[0] == kinds[1] != []
    with tarfile.open(package) as tar:
        assert not [
            name for name in tar.getnames() if "kustomization" in name or "test.yaml" in name
        ]
