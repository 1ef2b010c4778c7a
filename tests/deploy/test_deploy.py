"""The files of deploy/, each judged by the program that reads it, as far as it can be had."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from streamer.config import check_security, check_source, load
from tests.paths import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = ("daemon.yaml", "service.yaml", "network-policy.yaml")
KUBERNETES = "1.30"
INSTALLED = "/opt/streamer/bin/streamer"


def check(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program that must succeed; what it says on stderr."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def installed(program: str) -> str:
    """A program of the test's environment, else of the machine."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which(program, path=places)
    assert found is not None, f"{program} is not installed; see CONTRIBUTING.md"
    return found


def as_installed(unit: Path, folder: Path) -> Path:
    """The unit with a program that is there in place of the installed one."""
    program = folder / "streamer"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    text = unit.read_text(encoding="utf-8")
    assert INSTALLED in text
    copy = folder / unit.name
    copy.write_text(text.replace(INSTALLED, str(program)), encoding="utf-8")
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
class TestUnits:
    def test_systemd_knows_every_directive(self, unit: Path, tmp_path: Path) -> None:
        assert check("systemd-analyze", "verify", "--man=no", as_installed(unit, tmp_path)) == ""

    def test_an_unknown_directive_would_be_found(self, unit: Path, tmp_path: Path) -> None:
        wrong = as_installed(unit, tmp_path)
        wrong.write_text(wrong.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8")
        assert "ProtectHouse" in check("systemd-analyze", "verify", "--man=no", wrong)

    def test_the_exposure_is_at_most_2(self, unit: Path) -> None:
        check("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)

    def test_the_command_line_is_one_of_ours(self, unit: Path) -> None:
        (line,) = re.findall(r"^ExecStart=\S+ (\w+) (.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        helped = subprocess.run(
            [sys.executable, "-m", "streamer", line[0], "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in re.findall(r"--[\w-]+", line[1]):
            assert option in helped


def test_numba_may_make_machine_code_in_the_daemon() -> None:
    text = (DEPLOY / "systemd/streamer.service").read_text(encoding="utf-8")
    assert "\nMemoryDenyWriteExecute=" not in text


@pytest.mark.parametrize("name", ["gpu", "proposals"])
def test_with_a_drop_in_the_exposure_is_still_at_most_2(tmp_path: Path, name: str) -> None:
    unit = as_installed(DEPLOY / "systemd/streamer.service", tmp_path)
    drop_in = (DEPLOY / f"systemd/streamer-{name}.conf").read_text(encoding="utf-8")
    unit.write_text(unit.read_text(encoding="utf-8") + drop_in, encoding="utf-8")
    assert check("systemd-analyze", "verify", "--man=no", unit) == ""
    check("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).touch()
    check("systemd-sysusers", f"--root={tmp_path}", DEPLOY / "systemd/streamer.sysusers")
    assert re.search(r"^streamer:x:\d+:\d+:", (tmp_path / "etc/passwd").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(r"^beamline:x:\d+:streamer$", (tmp_path / "etc/group").read_text(encoding="utf-8"), re.MULTILINE)
    check("systemd-tmpfiles", f"--root={tmp_path}", "--create", DEPLOY / "systemd/streamer.tmpfiles")
    assert (tmp_path / "data/beamline").stat().st_mode & 0o7777 == 0o2750
    assert (tmp_path / "etc/streamer").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    "path",
    [*sorted((DEPLOY / "examples").glob("*.toml")), DEPLOY / "kubernetes/base/streamer.toml"],
    ids=lambda p: p.stem,
)
def test_configurations_are_good(path: Path) -> None:
    config = load(path, {})
    check_security(config)
    config.positions.check(native=config.source.dialect == "native")
    check_source(config.source)


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    """With certificates of the test's own, since nginx reads them."""
    key, certificate = tmp_path / "streamer.key", tmp_path / "streamer.crt"
    how = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test"]
    check("openssl", *how, "-keyout", key, "-out", certificate)
    (tmp_path / "streamer.htpasswd").touch()
    site = (DEPLOY / "nginx/streamer.conf").read_text(encoding="utf-8")
    (tmp_path / "site.conf").write_text(re.sub(r"/etc/nginx/(tls/)?", f"{tmp_path}/", site), encoding="utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}include {tmp_path}/site.conf;\n}}\n",
        encoding="utf-8",
    )
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    said = check(nginx, "-t", "-q", "-e", "stderr", "-c", main, "-p", tmp_path)
    assert "emerg" not in said


def test_compose_follows_its_schema_and_names_what_is_there() -> None:
    path = DEPLOY / "compose/compose.yaml"
    check(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    assert set(services) == {"daemon", "beamline", "web", "prometheus", "grafana"}
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    build = services["daemon"]["build"]
    context = path.parent / build["context"]
    places = [path.parent / place for place in mounted if place.startswith(".")] + [context / build["dockerfile"]]
    assert [place for place in places if not place.exists()] == []
    assert all(not service["image"].endswith(":latest") for service in services.values())


def test_the_container_copies_what_there_is_and_runs_as_nobody() -> None:
    text = (DEPLOY / "container/Containerfile").read_text(encoding="utf-8")
    copied = [words for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for words in line.split()]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    allowed = (DEPLOY / "container/containerignore").read_text(encoding="utf-8").splitlines()
    assert [name for name in copied if f"!{name}" not in allowed] == []
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_the_image_has_the_versions_of_the_lock() -> None:
    """pip refuses a constraint with a hash for what is installed from a folder."""
    text = (DEPLOY / "container/Containerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^RUN (sed .*? requirements\.lock) > ", text, re.MULTILINE)
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    versions = [Requirement(line) for line in done.stdout.splitlines()]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert len(versions) == len(re.findall(r"^[^ #\n].*==", lock, re.MULTILINE))
    assert {"numpy", "numba", "pyzmq", "h5py"} <= {one.name for one in versions}
    assert all(str(one.specifier).startswith("==") for one in versions)


def test_hadolint_finds_nothing_in_the_container() -> None:
    check(installed("hadolint"), DEPLOY / "container/Containerfile")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    wrong = tmp_path / "Containerfile"
    wrong.write_text((DEPLOY / "container/Containerfile").read_text(encoding="utf-8") + "USER root\n", encoding="utf-8")
    done = subprocess.run([installed("hadolint"), wrong], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "DL3002" in done.stdout


class TestKubernetes:
    base = DEPLOY / "kubernetes/base"
    gpu = DEPLOY / "kubernetes/overlays/gpu"

    @pytest.mark.parametrize("name", MANIFESTS)
    def test_a_manifest_follows_the_schema(self, name: str) -> None:
        check(sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, self.base / name)

    def test_kustomization_names_the_files(self) -> None:
        base = yaml.safe_load((self.base / "kustomization.yaml").read_text(encoding="utf-8"))
        assert set(base["resources"]) == set(MANIFESTS)
        assert base["configMapGenerator"][0]["files"] == ["streamer.toml"]
        gpu = yaml.safe_load((self.gpu / "kustomization.yaml").read_text(encoding="utf-8"))
        assert (self.gpu / gpu["resources"][0]).resolve() == self.base
        assert [patch["path"] for patch in gpu["patches"]] == ["gpu.yaml"]

    @pytest.mark.parametrize("overlay", ["base", "overlays/gpu"])
    def test_kustomize_builds_what_the_schema_allows(self, overlay: str, tmp_path: Path) -> None:
        built = self.built(overlay)
        path = tmp_path / "all.yaml"
        path.write_text(yaml.safe_dump_all(built), encoding="utf-8")
        check(sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, path)
        assert [one["kind"] for one in built] == ["ConfigMap", "Service", "StatefulSet", "NetworkPolicy"]

    def test_the_overlay_gives_the_daemon_a_gpu(self) -> None:
        (daemon,) = (one for one in self.built("overlays/gpu") if one["kind"] == "StatefulSet")
        (container,) = daemon["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"memory": "24Gi", "nvidia.com/gpu": "1"}
        assert container["image"]

    @staticmethod
    def built(overlay: str) -> list[Any]:
        """What kustomize makes of a folder."""
        command = [installed("kubectl"), "kustomize", DEPLOY / "kubernetes" / overlay]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return list(yaml.safe_load_all(done.stdout))

    def test_the_daemon_may_do_nothing_but_its_work(self) -> None:
        pod = yaml.safe_load((self.base / "daemon.yaml").read_text(encoding="utf-8"))["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("path", sorted((DEPLOY / "grafana").rglob("*.yaml")), ids=lambda path: path.parent.name)
def test_grafana_finds_source_and_dashboards(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["apiVersion"] == 1
    compose = (DEPLOY / "compose/compose.yaml").read_text(encoding="utf-8")
    for source in content.get("datasources", []):
        assert source["type"] == "prometheus"
        assert f"{source['url'].removeprefix('$')}:" in compose, "the address comes from the environment"
    for provider in content.get("providers", []):
        assert f"../../dashboards:{provider['options']['path']}:ro" in compose
