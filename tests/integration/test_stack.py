"""The embedded stack itself: its servers, its files, and that it leaves nothing behind."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import boto3
import psutil
import pytest
import redis
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy.embedded import get_json
from deploy.handle import ROOT, StackHandle
from deploy.ports import listen
from deploy.servers import sockets
from deploy.supervisor import StackError
from tests.waiting import PATIENCE_S, until

ONE_FAMILY = {"IMAGEMILL_FAMILIES": "translator"}


def s3_client(info, **config):
    return boto3.client(
        "s3",
        endpoint_url=info["s3_endpoint"],
        region_name="us-east-1",
        aws_access_key_id=info["s3_access_key"],
        aws_secret_access_key=info["s3_secret_key"],
        config=Config(retries={"total_max_attempts": 10}, **config),
    )


def lives(process):
    """Whether it runs; what was killed and not yet reaped by its new parent does not."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def processes_of(folder):
    """Every live process with the folder in its command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or not lives(process):
                continue
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def assert_all_gone(folder):
    """Nothing of the stack runs; what was killed is given a moment to be gone."""
    until(lambda: not processes_of(folder), f"left behind: {processes_of(folder)}")


def sockets_left(info):
    """Those of SeaweedFS in /tmp; they are removed."""
    left = [path for path in sockets(urlsplit(info["s3_endpoint"]).port) if path.exists()]
    for path in left:
        path.unlink()
    return left


@contextmanager
def started(folder, env=None, servers_only=False):
    with StackHandle(folder, env, servers_only) as handle:
        yield handle
    assert_all_gone(folder)


# The servers


@pytest.mark.parametrize(("name", "fsync"), [("ledger", "always"), ("broker", "everysec")])
def test_the_redis_servers_are_configured(servers, name, fsync):
    with redis.Redis.from_url(servers.info[f"{name}_url"]) as client:
        assert client.ping()
        config = client.config_get("append*", "maxmemory-policy", "save", "bind")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == fsync
    assert config["maxmemory-policy"] == "noeviction"
    assert config["bind"] == "127.0.0.1"
    assert config["save"] == ""


@pytest.mark.parametrize("name", ["ledger", "broker"])
def test_redis_asks_for_the_password(servers, name):
    address = servers.info[f"{name}_url"].split("@")[1]
    with (
        redis.Redis.from_url(f"redis://{address}") as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_s3_stores_and_serves(servers):
    client = s3_client(servers.info)
    bucket = servers.info["s3_bucket"]
    client.put_object(Bucket=bucket, Key="a/b.txt", Body=b"hello")
    assert client.get_object(Bucket=bucket, Key="a/b.txt")["Body"].read() == b"hello"


def test_s3_refuses_what_is_not_signed_or_signed_wrongly(servers):
    bucket = servers.info["s3_bucket"]
    s3_client(servers.info).put_object(Bucket=bucket, Key="secret", Body=b"x")
    for client in (
        s3_client(servers.info, signature_version=UNSIGNED),
        s3_client({**servers.info, "s3_secret_key": "wrong"}),
    ):
        with pytest.raises(ClientError) as refused:
            client.get_object(Bucket=bucket, Key="secret")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        with pytest.raises(ClientError):
            client.put_object(Bucket=bucket, Key="secret", Body=b"y")


def test_no_port_serves_objects_without_keys(servers):
    """SeaweedFS's inner servers would, were they not told otherwise."""
    bucket = servers.info["s3_bucket"]
    s3_client(servers.info).put_object(Bucket=bucket, Key="inner", Body=b"well hidden")
    weed = psutil.Process(servers.pids["s3"])
    ports = {c.laddr.port for c in weed.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert len(ports) > 3
    for port in ports:
        for path in (f"/buckets/{bucket}/inner", f"/{bucket}/inner"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
                    assert b"well hidden" not in answer.read()
            except OSError:
                pass


def test_every_port_is_on_loopback(servers):
    for pid in servers.pids.values():
        for connection in psutil.Process(pid).net_connections("tcp"):
            assert connection.laddr.ip == "127.0.0.1", connection


def test_no_secret_stands_on_a_command_line(servers):
    info = servers.info
    secrets = (info["s3_secret_key"], info["ledger_url"].split("@")[0].split(":")[-1])
    for pid in servers.pids.values():
        line = " ".join(psutil.Process(pid).cmdline())
        assert not any(secret in line for secret in secrets)


def test_the_files_for_those_who_join(servers):
    info = servers.info
    assert list(info) == [
        "api_url",
        "api_key",
        "ledger_url",
        "broker_url",
        "s3_endpoint",
        "s3_bucket",
        "s3_access_key",
        "s3_secret_key",
        "pids",
    ]
    assert info["api_key"] is None
    command = ["sh", "-c", ". ./stack.env && env"]
    printed = subprocess.run(command, cwd=servers.data_dir, capture_output=True, check=True).stdout
    sourced = dict(line.split("=", 1) for line in printed.decode().splitlines() if "=" in line)
    for name in list(info)[2:-1]:
        assert sourced[f"IMAGEMILL_{name.upper()}"] == info[name]
    for name in ("stack.json", "stack.env"):
        assert stat.S_IMODE((servers.data_dir / name).stat().st_mode) == 0o600


# Starting and stopping; the servers alone where the rest would make no difference


def test_a_second_stack_on_the_same_folder_is_refused(servers):
    second = StackHandle(servers.data_dir, servers_only=True)
    second._output = servers.data_dir / "second.log"
    second.start()
    with pytest.raises(StackError, match="another stack runs on") as refused:
        second.wait_ready()
    assert len(str(refused.value).splitlines()) == 1
    assert second.process.returncode == 1
    assert servers.pids  # the first one's files are still there


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path):
    with listen(0) as listener:
        port = listener.getsockname()[1]
        stack = StackHandle(tmp_path, {"IMAGEMILL_PORT": str(port)})
        stack.start()
        with pytest.raises(StackError, match=f"IMAGEMILL_PORT: port {port}") as refused:
            stack.wait_ready()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["ledger", "broker", "s3"])
def test_a_server_that_dies_is_started_again_with_its_data(servers, name):
    info = servers.info
    s3_client(info).put_object(Bucket=info["s3_bucket"], Key="kept", Body=b"still here")
    with redis.Redis.from_url(info["ledger_url"]) as client:
        client.set("kept", "still here")
    os.kill(info["pids"][name], signal.SIGKILL)
    again = f"{name} is up again"
    until(lambda: any(again in line for line in servers.printed()), again)
    assert servers.pids[name] != info["pids"][name]
    assert {**servers.info, "pids": {}} == {**info, "pids": {}}
    with redis.Redis.from_url(info["ledger_url"]) as client:
        assert client.get("kept") == b"still here"
    kept = s3_client(info).get_object(Bucket=info["s3_bucket"], Key="kept")
    assert kept["Body"].read() == b"still here"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_data_survive_the_stack_and_nothing_else_does(tmp_path, end):
    with StackHandle(tmp_path, servers_only=True) as first:
        before = first.info
        s3_client(before).put_object(Bucket=before["s3_bucket"], Key="kept", Body=b"still here")
        with redis.Redis.from_url(before["ledger_url"]) as client:
            client.set("kept", "still here")
        assert len(processes_of(tmp_path)) == 4
        status = first.stop(end)
        assert status == (-end if end == signal.SIGKILL else 0)
    assert_all_gone(tmp_path)
    killed = end == signal.SIGKILL  # what it cannot remove then
    assert (tmp_path / "stack.json").exists() == killed
    assert bool(sockets_left(before)) == killed
    with started(tmp_path, servers_only=True) as second:
        info = second.info
        assert info["s3_secret_key"] == before["s3_secret_key"]
        kept = s3_client(info).get_object(Bucket=info["s3_bucket"], Key="kept")
        assert kept["Body"].read() == b"still here"
        s3_client(info).put_object(Bucket=info["s3_bucket"], Key="more", Body=b"more")
        with redis.Redis.from_url(info["ledger_url"]) as client:
            assert client.get("kept") == b"still here"


def test_a_second_request_to_stop_does_not_wait(tmp_path):
    with StackHandle(tmp_path, servers_only=True) as stack:
        os.kill(stack.pids["ledger"], signal.SIGSTOP)  # it will not end by itself
        stack.process.terminate()
        time.sleep(1)  # two at once would count as one
        started_at = time.monotonic()
        stack.stop()
        assert time.monotonic() - started_at < 8  # it would have been given 10 s
    assert_all_gone(tmp_path)


# The whole stack


def test_every_part_runs(stack):
    assert set(stack.pids) == {
        "ledger",
        "broker",
        "s3",
        "web",
        "batches",
        "reaper",
        "worker-captioner",
        "worker-vqa",
        "worker-ocr",
        "worker-translator",
        "worker-diffuser",
        "worker-compositor",
        "worker-panorama",
        "worker-panorama_trainer",
    }
    assert f"ready {stack.api_url}" in stack.printed()
    with urllib.request.urlopen(f"{stack.api_url}/readyz") as answer:
        assert answer.status == 200


def test_the_api_comes_back_at_its_address(stack):
    before = stack.pids["web"]
    os.kill(before, signal.SIGKILL)
    # A request meanwhile waits for the new process: the socket stays open.
    until(lambda: get_json(f"{stack.api_url}/healthz"), "healthz")
    until(lambda: stack.pids.get("web", before) != before, "a new pid in stack.json")


def test_a_long_wait_ends_when_the_api_is_stopped(stack):
    before = stack.pids["web"]
    slow = {"kind": "generate", "input": {"prompt": "a red circle", "steps": 1000}}
    request = urllib.request.Request(
        f"{stack.api_url}/v1/jobs",
        json.dumps(slow).encode(),
        {"Content-Type": "application/json", "Prefer": "wait=60"},
    )
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(lambda: json.load(urllib.request.urlopen(request)))
        running = f"{stack.api_url}/v1/jobs?status=running"
        until(lambda: get_json(running).get("data"), "a running job")
        os.kill(before, signal.SIGTERM)
        job = answer.result(PATIENCE_S)
    assert job["status"] in ("queued", "running"), job
    until(lambda: stack.pids.get("web", before) != before, "a new pid in stack.json")
    cancel = urllib.request.Request(f"{stack.api_url}/v1/jobs/{job['id']}/cancel", method="POST")
    urllib.request.urlopen(cancel).close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])  # SIGTERM: with two stacks
def test_nothing_is_left_of_a_whole_stack(tmp_path, end):
    with StackHandle(tmp_path, ONE_FAMILY) as stack:
        (worker,) = get_json(f"{stack.api_url}/v1/workers")["data"]
        pids = [*stack.pids.values(), worker["model_pid"]]
        parts = [psutil.Process(pid) for pid in pids]
        parts += psutil.Process(stack.pids["web"]).children()
        assert len(parts) >= 9
        assert {*parts} < {*processes_of(tmp_path)}
        info = stack.info
        stack.stop(end)
    assert_all_gone(tmp_path)
    assert bool(sockets_left(info)) == (end == signal.SIGKILL)
    until(lambda: not any(map(lives, parts)), f"left behind: {parts}")


def test_make_up_ends_with_a_signal_to_make(tmp_path):
    """As `make up` runs it: a recipe between the terminal and the stack."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(
        f"up:\n\t@cd {ROOT} && exec {sys.executable} -m deploy.embedded --servers\n"
    )
    data = tmp_path / "data"
    command = [shutil.which("make") or "make", "-f", str(makefile), "up"]
    # The tests may run under a make of their own, which must not make this one talkative.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MF"))}
    env["IMAGEMILL_DATA_DIR"] = str(data)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().strip() == "ready"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    assert_all_gone(data)


def test_two_stacks_side_by_side(stack, tmp_path):
    with started(tmp_path, ONE_FAMILY) as other:
        assert other.api_url != stack.api_url
        for one in (stack, other):
            request = urllib.request.Request(
                f"{one.api_url}/v1/jobs",
                json.dumps({"kind": "translate", "input": {"text": "a red circle"}}).encode(),
                {"Content-Type": "application/json", "Prefer": "wait=30"},
            )
            with urllib.request.urlopen(request) as answer:
                job = json.load(answer)
            assert job["status"] == "succeeded", job
        assert not set(other.pids.values()) & set(stack.pids.values())
