"""What the chart's objects do: read by Evocodec's settings, Ray's own programs, a second Helm."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from evocodec.config import Settings, load_settings
from tests.integration.test_chart_pods import AWS, EVERYTHING, MATRIX, matrix
from tests.support import chart_tools as chart


def _settings(words: tuple[str, ...], folder: Path) -> Settings:
    found = chart.only(chart.render(*words), "ConfigMap", "-settings")
    path = folder / "evocodec.toml"
    path.write_text(found["data"]["evocodec.toml"], encoding="utf-8")
    return load_settings(file=path)


@matrix
def test_evocodec_reads_the_settings_that_are_rendered(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    found = _settings(words, tmp_path)
    assert str(found.workspace) == "/data"
    assert found.ray.address == "lab-evocodec-head-svc.evo.svc.cluster.local:6379"
    assert found.sandbox.mode == "pod"
    cluster = chart.only(chart.render(*words), "RayCluster")
    [worker] = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    gpus = int(worker["resources"]["limits"].get("nvidia.com/gpu", 0))
    slots = json.loads(_flag(worker["command"], "--resources"))["sandbox"]
    assert found.ray.gpus_per_task * slots == pytest.approx(gpus)


def test_settings_of_the_user_win_over_those_of_the_chart(tmp_path: Path) -> None:
    words = chart.settings(
        model__base_url="https://m.example.com/v1",
        model__model="coder-large",
        champions__remote="https://git.example.com/lab/codecs.git",
        controller__settings={
            "run": {"minutes": 20, "seed": 7},
            "ray": {"retries": 5},
            "evaluation": {"clips": ["s3://videos/a.mp4@0-48:320x180"]},
        },
    )
    found = _settings(words, tmp_path)
    assert (found.run.minutes, found.run.seed, found.ray.retries) == (20, 7, 5)
    assert found.evaluation.clips == ("s3://videos/a.mp4@0-48:320x180",)
    assert (found.model.model, found.model.base_url) == ("coder-large", "https://m.example.com/v1")
    assert found.champions.remote == "https://git.example.com/lab/codecs.git"
    assert found.ray.address


@pytest.mark.parametrize(
    ("values", "slots"),
    [
        ({"ray__worker__maxReplicas": 50, "ray__worker__slots": 6}, 300),
        ({"ray__autoscaling__enabled": False, "ray__worker__minReplicas": 3}, 12),
        ({"controller__settings": {"run": {"slots": 40}}}, 40),
    ],
    ids=["scaled", "fixed", "given"],
)
def test_as_many_candidates_are_measured_as_the_largest_cluster_has_room_for(
    values: dict[str, object], slots: int, tmp_path: Path
) -> None:
    words = chart.settings(**values)
    assert _settings(words, tmp_path).run.slots == slots
    done = chart.run("helm", "install", "lab", str(chart.CHART), "--dry-run=client", *words)
    assert f" {slots} candidates at once" in done.stdout.partition("NOTES:")[2], done.stderr


@pytest.mark.parametrize(
    ("memory", "shared", "slots", "each"),
    [("32Gi", "4Gi", 4, 2048), ("8Gi", "512Mi", 4, 1408), ("6000M", "1.5Gi", 2, 1069)],
)
def test_jobs_get_no_more_memory_than_their_worker_has(
    memory: str, shared: str, slots: int, each: int, tmp_path: Path
) -> None:
    words = chart.settings(
        ray__worker__memory=memory, ray__worker__sharedMemory=shared, ray__worker__slots=slots
    )
    assert _settings(words, tmp_path).sandbox.memory_mib == each


def test_a_model_server_in_the_cluster_is_the_endpoint(tmp_path: Path) -> None:
    found = _settings(EVERYTHING, tmp_path)
    objects = chart.render(*EVERYTHING)
    service = chart.only(objects, "Service", "-vllm")
    server = chart.only(objects, "Deployment", "-vllm")["spec"]["template"]["spec"]["containers"][0]
    host = (
        f"{service['metadata']['name']}.evo.svc.cluster.local:{service['spec']['ports'][0]['port']}"
    )
    assert found.model.base_url == f"http://{host}/v1"
    assert found.model.model == server["args"][0]


def test_a_change_of_settings_restarts_the_controller_and_nothing_else_does() -> None:
    def digest(*words: str) -> str:
        pod = chart.only(chart.render(*words), "StatefulSet")["spec"]["template"]
        return str(pod["metadata"]["annotations"]["checksum/settings"])

    assert digest() != digest(*chart.settings(controller__settings={"run": {"seed": 2}}))
    assert digest() == digest(*chart.settings(ray__worker__memory="48Gi"))


def _flag(command: list[str], name: str) -> str:
    [value] = [word.partition("=")[2] for word in command if word.startswith(f"{name}=")]
    return value


@matrix
def test_ray_understands_how_it_is_started(words: tuple[str, ...]) -> None:
    from ray.scripts import scripts

    seen = set()
    for name, pod in chart.pods(chart.render(*words)):
        for container in chart.containers(pod):
            command = [*container["command"], *container.get("args", [])]
            if command[0] != "/opt/evocodec/bin/ray":
                continue
            program = scripts.cli.commands[command[1]]
            context = program.make_context(command[1], list(command[2:]))
            seen.add((chart.component(pod), command[1]))
            if command[1] == "start":
                assert context.params["block"], name
                assert context.params["head"] == (chart.component(pod) == "head"), name
                assert json.loads(context.params["resources"] or "{}") == (
                    {"sandbox": context.params["resources"] and _slots(words)}
                    if chart.component(pod) == "worker"
                    else {}
                )
                declared = {port["containerPort"] for port in container["ports"]}
                assert context.params["dashboard_agent_listen_port"] in declared, name
                assert context.params["metrics_export_port"] in declared, name
    started = {(part, "start") for part in ("head", "worker", "controller", "test-run")}
    assert started <= seen


def _slots(words: tuple[str, ...]) -> int:
    group = chart.only(chart.render(*words), "RayCluster")["spec"]["workerGroupSpecs"][0]
    return int(json.loads(json.loads(group["rayStartParams"]["resources"]))["sandbox"])


def test_rays_autoscaler_sees_a_group_that_grows_from_nothing_for_sandboxes_on_gpus() -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    cluster = copy.deepcopy(chart.only(chart.render(), "RayCluster"))
    cluster["metadata"]["namespace"] = "evo"
    found = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    types = found["available_node_types"]
    [name] = [each for each in types if each != found["head_node_type"]]
    workers = types[name]
    assert (workers["min_workers"], workers["max_workers"]) == (0, 4)
    memory = 32 * 1024**3
    wanted = {"CPU": 8, "GPU": 1, "sandbox": 4, "memory": memory}
    assert {key: workers["resources"][key] for key in wanted} == wanted
    assert types[found["head_node_type"]]["resources"]["CPU"] == 0
    assert found["idle_timeout_minutes"] == pytest.approx(5)


def test_an_upgrade_does_not_say_how_many_workers_run_while_the_autoscaler_does() -> None:
    group = chart.only(chart.render(), "RayCluster")["spec"]["workerGroupSpecs"][0]
    assert "replicas" not in group
    fixed = chart.only(chart.render(*chart.profile("local")), "RayCluster")["spec"]
    assert fixed["workerGroupSpecs"][0]["replicas"] == 1


@pytest.mark.parametrize("words", [(), MATRIX["local"]], ids=["default", "local"])
def test_evocodec_understands_the_commands_of_its_pods(words: tuple[str, ...]) -> None:
    from typer.testing import CliRunner

    from evocodec.cli.main import application

    seen = []
    for _, pod in chart.pods(chart.render(*words)):
        command = pod["spec"]["containers"][0]["command"]
        if command[0] == "/opt/evocodec/bin/evocodec":
            # An option that does not exist is refused before help is given.
            done = CliRunner().invoke(application(), [*command[1:], "--help"])
            assert done.exit_code == 0, done.output
            seen.append(next(word for word in command[1:] if not word.startswith("-")))
    assert sorted(seen) == ["redteam", "run"]


# Fields that Kubernetes refuses to change, per kind.
_IMMUTABLE = {
    "StatefulSet": ("serviceName", "selector", "volumeClaimTemplates", "podManagementPolicy"),
    "Deployment": ("selector",),
    "Service": ("clusterIP", "selector"),
    "PersistentVolumeClaim": ("accessModes", "storageClassName", "volumeMode"),
    "RoleBinding": ("roleRef",),
    "RuntimeClass": ("handler",),
}


def _immutable(objects: list[chart.Object]) -> dict[str, object]:
    found = {}
    for each in objects:
        for field in _IMMUTABLE.get(each["kind"], ()):
            holder = each if field in {"roleRef", "handler"} else each["spec"]
            value = holder.get(field)
            found[f"{each['kind']}/{each['metadata']['name']}.{field}"] = copy.deepcopy(value)
    return found


@matrix
def test_an_upgrade_touches_nothing_that_cannot_be_changed(words: tuple[str, ...]) -> None:
    before, after = _immutable(chart.render()), _immutable(chart.render(*words))
    both = before.keys() & after.keys()
    assert any(key.startswith("StatefulSet") for key in both)
    assert {key: before[key] for key in both} == {key: after[key] for key in both}


def test_a_newer_chart_selects_the_same_pods(tmp_path: Path) -> None:
    newer = tmp_path / "evocodec"
    shutil.copytree(chart.CHART, newer)
    about = yaml.safe_load((newer / "Chart.yaml").read_text(encoding="utf-8"))
    about |= {"version": "9.9.9", "appVersion": "9.9.9"}
    (newer / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    done = chart.run("helm", "template", "lab", str(newer), "--namespace", "evo")
    assert done.returncode == 0, done.stderr
    assert "9.9.9" in done.stdout
    assert _immutable(chart.load(done.stdout)) == _immutable(chart.render())


@matrix
def test_what_holds_data_outlives_the_release(words: tuple[str, ...]) -> None:
    objects = chart.render(*words)
    kept = [each for each in objects if each["kind"] in {"PersistentVolumeClaim", "Secret"}]
    for each in kept:
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        # A random or versioned name would not be found again.
        assert each["metadata"]["name"].startswith("lab-evocodec-")
    stateful = chart.only(objects, "StatefulSet")
    assert stateful["spec"]["replicas"] == 1
    [data] = [
        volume
        for volume in stateful["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "data"
    ]
    claims = [each["metadata"]["name"] for each in kept if each["kind"] == "PersistentVolumeClaim"]
    if words is not AWS:
        assert data["persistentVolumeClaim"]["claimName"] in claims


def test_a_claim_that_exists_is_used_and_none_made() -> None:
    objects = chart.render(*chart.settings(controller__persistence__existingClaim="mine"))
    assert not [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    volumes = chart.only(objects, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}} in volumes


def test_the_local_profile_needs_neither_gpu_nor_cloud_nor_operator_of_prometheus() -> None:
    objects = chart.render(*chart.profile("local"))
    assert "nvidia" not in json.dumps(
        [pod["spec"].get("containers") for _, pod in chart.pods(objects)]
    )
    groups = {each["apiVersion"].rpartition("/")[0] for each in objects}
    assert not any("monitoring" in group or "external" in group for group in groups)


def test_gvisor_walls_in_workers_and_the_attacks_on_them_but_not_the_controller() -> None:
    objects = chart.render(*chart.settings(gvisor__enabled=True))
    assert chart.only(objects, "RuntimeClass")["handler"] == "runsc"
    classes = {
        chart.component(pod): pod["spec"].get("runtimeClassName") for _, pod in chart.pods(objects)
    }
    assert classes["worker"] == classes["test-redteam"] == "gvisor"
    assert classes["controller"] is None
    assert classes["head"] is None


def test_alerts_and_dashboards_pass_through_with_their_own_braces(tmp_path: Path) -> None:
    copied = tmp_path / "evocodec"
    shutil.copytree(chart.CHART, copied)
    rule = {"alert": "A", "expr": "up == 0", "annotations": {"summary": "{{ $labels.job }} down"}}
    rules = {"groups": [{"name": "g", "rules": [rule]}]}
    (copied / "alerts").mkdir(exist_ok=True)
    (copied / "alerts" / "evocodec.rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    shutil.rmtree(copied / "dashboards", ignore_errors=True)
    (copied / "dashboards").mkdir()
    board = json.dumps({"title": "Run", "legend": "{{ outcome }}"}, indent=1)
    (copied / "dashboards" / "run.json").write_text(board, encoding="utf-8")
    done = chart.run("helm", "template", "lab", str(copied), *chart.profile("large"))
    objects = chart.load(done.stdout)
    assert chart.only(objects, "PrometheusRule")["spec"] == rules
    found = chart.only(objects, "ConfigMap", "-dashboard-run")
    assert json.loads(found["data"]["run.json"]) == json.loads(board)
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_what_monitors_scrape_are_ports_that_pods_name() -> None:
    objects = chart.render(*EVERYTHING)
    named = {
        (chart.component(pod), port["name"])
        for _, pod in chart.pods(objects)
        for container in chart.containers(pod)
        for port in container.get("ports", [])
    }
    assert {("controller", "metrics"), ("head", "metrics"), ("worker", "metrics")} <= named
    for service in (each for each in objects if each["kind"] == "Service"):
        part = service["spec"]["selector"]["app.kubernetes.io/component"]
        for port in service["spec"]["ports"]:
            assert (part, port["targetPort"]) in named


def _script(name: str, folder: Path) -> Path:
    scripts = chart.only(chart.render(), "ConfigMap", "-scripts")["data"]
    path = folder / name
    path.write_text(scripts[name], encoding="utf-8")
    return path


def _stub(folder: Path, body: str) -> Path:
    path = folder / "stub"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("status", "resumes"),
    [
        ("sys.exit(2)", False),
        ("""print('{"outcome": "finished"}')""", False),
        ("""print('{"outcome": "interrupted"}')""", True),
        ("""print('{"outcome": ""}')""", True),
        ("""print('{"outcome": "endpoint_gone"}')""", True),
    ],
)
def test_a_restart_goes_on_with_what_was_interrupted(
    status: str, resumes: bool, tmp_path: Path
) -> None:
    body = f"if 'status' in sys.argv:\n    {status}\nelse:\n    print(' '.join(sys.argv[1:]))"
    environment = os.environ | {"EVOCODEC_PROGRAM": str(_stub(tmp_path, body))}
    done = subprocess.run(
        [sys.executable, str(_script("begin.py", tmp_path)), "--config=x.toml"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.strip() == "--config=x.toml run --plain" + (" --resume" if resumes else "")


def test_workers_wait_until_the_head_answers_whatever_shell_script_they_are_given(
    tmp_path: Path,
) -> None:
    flag = tmp_path / "asked"
    body = (
        f"import pathlib\nflag = pathlib.Path({str(flag)!r})\n"
        "if flag.exists():\n    print(sys.argv[1:]); sys.exit(0)\n"
        "flag.touch(); sys.stderr.write('nobody is there'); sys.exit(1)"
    )
    environment = os.environ | {
        "RAY_PROGRAM": str(_stub(tmp_path, body)),
        "WAIT_SECONDS": "0.01",
    }
    script = "while ! ray health-check --address head.evo.svc:7000 > /dev/null; do sleep 5; done"
    done = subprocess.run(
        [sys.executable, str(_script("bash.py", tmp_path)), "-c", "--", script],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.splitlines() == [
        "waiting for head.evo.svc:7000: nobody is there",
        "Ray's head answers at head.evo.svc:7000",
    ]


def test_the_stand_in_for_a_shell_starts_what_ray_starts_and_nothing_else(tmp_path: Path) -> None:
    from ray._private.runtime_env.context import RuntimeEnvContext

    shell = _script("bash.py", tmp_path).rename(tmp_path / "bash")
    shell.write_text(
        shell.read_text(encoding="utf-8").replace("/opt/evocodec/bin/python", sys.executable)
    )
    shell.chmod(0o755)
    context = RuntimeEnvContext(env_vars={"A": "b"}, py_executable=sys.executable)
    start = (
        "import sys; from ray._private.runtime_env.context import RuntimeEnvContext as C; "
        "from ray.core.generated.common_pb2 import Language; "
        "C.deserialize(sys.argv[1]).exec_worker(['-c', sys.argv[2], 'two words'], Language.PYTHON)"
    )
    show = "import os, sys; print(sys.argv[1:], os.environ['A'])"
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", start, context.serialize(), show],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.strip() == "['two words'] b"
    other = subprocess.run(
        [str(shell), "-c", "echo hello"], capture_output=True, text=True, check=False
    )
    assert (other.returncode, other.stdout) == (126, "")


def test_each_pod_makes_itself_a_certificate_that_the_others_trust(tmp_path: Path) -> None:
    import base64
    import ipaddress

    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.x509 import verification

    secret = chart.only(chart.render(*chart.profile("large")), "Secret", "-ray-authority")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(base64.b64decode(secret["data"][name]))
    target = tmp_path / "made"
    target.mkdir()
    head = "lab-evocodec-head-svc.evo.svc.cluster.local"
    environment = os.environ | {
        "AUTHORITY": str(tmp_path),
        "TARGET": str(target),
        "POD_IP": "10.9.8.7",
        "NAMES": f"{head},localhost",
        "DAYS": "30",
    }
    subprocess.run(
        [sys.executable, str(_script("certificate.py", tmp_path))], check=True, env=environment
    )
    authority = x509.load_pem_x509_certificate((target / "ca.crt").read_bytes())
    leaf = x509.load_pem_x509_certificate((target / "tls.crt").read_bytes())
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [head, "localhost"]
    assert ipaddress.ip_address("10.9.8.7") in names.get_values_for_type(x509.IPAddress)
    assert (target / "tls.key").stat().st_mode & 0o077 == 0
    assert verification.Store([authority])


def test_the_matrix_has_every_kind_that_the_chart_can_make() -> None:
    kinds = {each["kind"] for words in MATRIX.values() for each in chart.render(*words)}
    assert kinds >= {
        "ExternalSecret",
        "PodDisruptionBudget",
        "PodMonitor",
        "PriorityClass",
        "RayCluster",
        "RuntimeClass",
        "ScaledObject",
        "ServiceMonitor",
    }
