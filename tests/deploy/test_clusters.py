"""What starts shards on clusters: scripts for Slurm, a pool for KubeRay. Slurm itself is not at hand, Ray is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.cli.rig.processes import ANYWHERE
from streamer.client import Link
from streamer.flow.wire.daemon import GetStatus
from tests.deploy.test_deploy import DEPLOY, KUBERNETES, check, installed

SCRIPTS = sorted((DEPLOY / "slurm").glob("*.sbatch"))

STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": "echo 127.0.0.1",
    "streamer": f'exec {sys.executable} -m streamer "$@"',
    "ray": f'exec {Path(sys.executable).parent / "ray"} "$@"',
}
"""Of Slurm's programs what one node needs of them; ours and Ray's own are the real ones."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
class TestSlurmScripts:
    def test_bash_and_shellcheck_find_nothing(self, script: Path) -> None:
        check("bash", "-n", script)
        check(installed("shellcheck"), script)

    def test_shellcheck_would_find_something(self, script: Path, tmp_path: Path) -> None:
        wrong = tmp_path / script.name
        wrong.write_text(script.read_text(encoding="utf-8") + "echo $folder\n", encoding="utf-8")
        done = subprocess.run([installed("shellcheck"), wrong], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "SC2086" in done.stdout

    def test_the_job_is_told_before_its_time_is_over(self, script: Path) -> None:
        options = dict(
            line.removeprefix("#SBATCH --").split("=", 1)
            for line in script.read_text(encoding="utf-8").splitlines()
            if line.startswith("#SBATCH --") and "=" in line
        )
        assert {"qos", "time", "signal", "output"} <= set(options)
        assert int(options["signal"].split("@")[1]) >= 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """A job of one node that runs, and the endpoint of its daemon."""
    places = tmp_path / "bin"
    places.mkdir()
    for name, text in STAND_INS.items():
        (places / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
        (places / name).chmod(0o755)
    control = f"tcp://127.0.0.1:{free_port()}"
    config = tmp_path / "streamer.toml"
    config.write_text(
        f'[source]\nendpoint = "{ANYWHERE}"\nbind = true\n[control]\nendpoint = "{control}"\nevents = "{ANYWHERE}"\n'
        f'[preview]\nendpoint = "{ANYWHERE}"\n[metrics]\nenabled = false\n[ring]\nmemory_mb = 32\n'
        f'[writer]\ndirectory = "{tmp_path / "data"}"\nreserve_mb = 0\n'
        "[compute]\nshards = 2\nspares = 0\n[reconstruction]\nthreads = 1\n",
        encoding="utf-8",
    )
    environment = {
        **os.environ,
        "PATH": f"{places}{os.pathsep}{os.environ['PATH']}",
        "STREAMER_CONFIG": str(config),
        "STREAMER_CONTROL": control,
        "STREAMER_DRAIN_S": "20",
        "RAY_PORT": str(free_port()),
        "SLURM_JOB_NODELIST": "node[1]",
        "SLURM_CPUS_PER_TASK": "4",
        "TMPDIR": str(tmp_path),
    }
    with (tmp_path / "job.log").open("wb") as log:
        running = subprocess.Popen(
            ["bash", DEPLOY / "slurm/streamer.sbatch"], stdout=log, stderr=log, env=environment, start_new_session=True
        )
    yield running, control, tmp_path
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_job_has_a_cluster_with_a_token_and_ends_after_the_scan_in_hand(job: Any) -> None:
    running, control, folder = job
    deadline = time.monotonic() + 120
    while True:
        assert running.poll() is None, (folder / "job.log").read_text()
        try:
            with Link(control, "the daemon", timeout_s=2) as link:
                assert link.ask(GetStatus()).state == "idle"
            break
        except Exception:
            assert time.monotonic() < deadline, (folder / "job.log").read_text()
            time.sleep(0.2)
    os.kill(running.pid, signal.SIGUSR1)  # to the batch script alone, as --signal=B: has it
    assert running.wait(60) == 0, (folder / "job.log").read_text()
    assert "the daemon ends after the scan in hand" in (folder / "job.log").read_text()
    assert not list(folder.glob("tmp.*")), "the token of the job is removed with it"


class TestKubeRay:
    cluster = yaml.safe_load((DEPLOY / "kubernetes/ray/cluster.yaml").read_text(encoding="utf-8"))["spec"]

    @pytest.mark.parametrize("group", ["head", "gpu"])
    def test_its_pods_follow_the_schema(self, group: str, tmp_path: Path) -> None:
        path = tmp_path / "pod.yaml"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": group}, "spec": self.pod(group)}
        path.write_text(yaml.safe_dump(pod), encoding="utf-8")
        check(sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES, path)

    def pod(self, group: str) -> Any:
        workers = {worker["groupName"]: worker for worker in self.cluster["workerGroupSpecs"]}
        return ({"head": self.cluster["headGroupSpec"], **workers})[group]["template"]["spec"]

    def test_nobody_enters_without_a_token(self) -> None:
        assert self.cluster["authOptions"] == {"mode": "token"}
        assert tuple(map(int, self.cluster["rayVersion"].split("."))) >= (2, 52)

    def test_it_is_the_ray_of_the_lock(self) -> None:
        lock = (DEPLOY.parent / "requirements.lock").read_text(encoding="utf-8")
        assert f"\nray=={self.cluster['rayVersion']} " in lock

    def test_shards_have_a_gpu_each_at_the_nodes_network_and_the_daemons_folder(self) -> None:
        pod = self.pod("gpu")
        (container,) = pod["containers"]
        assert pod["hostNetwork"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/dev/shm"}
        assert {"name": "RAY_worker_niceness", "value": "0"} in container["env"]
        assert self.cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
