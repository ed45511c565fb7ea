"""A real server on four temporary directories, and what every check needs to talk to it."""

import hashlib
import hmac
import http.client
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Not a setting of the server, which would refuse it.
BINARY = pathlib.Path(os.environ.pop("SARSEN_BINARY", TARGET / "release/sarsen"))
TOOLS = pathlib.Path(sys.executable).parent
USER, PASSWORD, REGION = "client-suite", "client-suite-secret", "us-east-1"
KIB, MIB = 1 << 10, 1 << 20
START_SECONDS = 30
NO_RETRIES = {"retries": {"max_attempts": 0}}

CHECKS = []


def check(function):
    """Registers a check. One with a parameter gets the shared server, one without starts its own."""
    CHECKS.append(function)
    return function


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {short(got)}, want {short(want)}")


def short(value):
    text = repr(value)
    return text if len(text) < 400 else f"{text[:400]}… ({len(text)} characters)"


def body(seed, size):
    """Bytes that depend on `seed` alone, so that an oracle need not keep them."""
    return random.Random(f"{seed}/{size}").randbytes(size)


def refused(code, call, *arguments, **named):
    """Runs a boto3 call that must fail with exactly this code; returns the answer."""
    try:
        call(*arguments, **named)
    except ClientError as error:
        equal(error.response["Error"]["Code"], code, f"{call.__name__} {named}")
        return error.response
    raise AssertionError(f"{call.__name__} {short(named)}: accepted, want {code}")


def soon(what, holds, seconds=20):
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server process with its four drives below one temporary home."""

    def __init__(self, drives=4, flags=(), variables=None):
        self.flags, self.variables = flags, variables or {}
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="sarsen-clients-"))
        self.drives = [self.home / f"drive{number}" for number in range(1, drives + 1)]
        for drive in self.drives:
            drive.mkdir()
        self.port = free_port()
        self.log = self.home / "server.log"
        self.process = None
        self.buckets = 0

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        self.kill()
        log = self.log.read_text(errors="replace")
        if kind:
            print(f"--- end of {self.log}\n{log[-3000:]}---", flush=True)
        shutil.rmtree(self.home, ignore_errors=True)
        if not kind and "panicked at" in log:
            raise AssertionError(f"the server panicked: {log[log.index('panicked at'):][:500]}")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def endpoint(self):
        return f"http://{self.address}"

    def start(self):
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith(("SARSEN_", "MINIO_", "AWS_"))}
        # SARSEN_DEV takes drives in memory too, where the temporary directory lies there.
        environment = {**inherited, "HOME": str(self.home), "SARSEN_DEV": "on",
                       "SARSEN_ROOT_USER": USER, "SARSEN_ROOT_PASSWORD": PASSWORD, **self.variables}
        command = [BINARY, "server", "--address", self.address, *self.flags, *self.drives]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the server left: {self.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready in {START_SECONDS} s: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def is_ready(self):
        try:
            return self.plain("GET", "/minio/health/ready")[0] == 200
        except OSError:
            return False

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        equal(self.process.wait(30), 0, "exit code after SIGTERM")

    def metric(self, name):
        """The value of a metric; the server was started with public ones."""
        return self.sample("cluster", name + "{")

    def drive_metric(self, name, drive):
        """The value of a metric of one drive, likewise."""
        return self.sample("node", f'{name}{{drive="{drive}",')

    def sample(self, page, start):
        page = self.plain("GET", f"/minio/v2/metrics/{page}")[2].decode()
        values = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(start)]
        equal(len(values), 1, f"samples of {start}")
        return float(values[0])

    def client(self, secret=PASSWORD, user=USER, **options):
        options = {"retries": {"max_attempts": 1}, "s3": {"addressing_style": "path"},
                   "max_pool_connections": 64, "connect_timeout": 5, "read_timeout": 60, **options}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION,
                            aws_access_key_id=user, aws_secret_access_key=secret,
                            config=Config(**options))

    def bucket(self, client=None):
        """A new empty bucket."""
        self.buckets += 1
        name = f"bucket-{self.buckets}"
        (client or self.client()).create_bucket(Bucket=name)
        return name

    def plain(self, method, target, payload=None, headers=None):
        """One request as it is: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, payload, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def signed(self, method, path, payload=b"", headers=None, query="", **how):
        """One request with a signature of our own making; `how` goes to `sign`."""
        signed = sign(method, self.address, path, query, headers or {}, payload, **how)
        target = urllib.parse.quote(path) + (f"?{query}" if query else "")
        return self.plain(method, target, payload, signed)

    def tool(self, *command, **environment):
        """Runs awscli, s5cmd or rclone against this server; returns what it printed."""
        (self.home / "rclone.conf").touch()
        config = self.home / "aws.config"
        config.write_text("[default]\ns3 =\n  addressing_style = path\n")
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION, "AWS_CONFIG_FILE": str(config),
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": self.endpoint,
            "S3_ENDPOINT_URL": self.endpoint,
            "RCLONE_CONFIG": str(self.home / "rclone.conf"), "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "Other",
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": USER, "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": PASSWORD,
            "RCLONE_CONFIG_S_REGION": REGION, "RCLONE_CONFIG_S_ENDPOINT": self.endpoint,
            "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true", **environment,
        }
        name, *arguments = map(str, command)
        done = subprocess.run([TOOLS / name, *arguments], env=variables, timeout=600,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}")
        return done.stdout


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(day, secret=PASSWORD):
    key = f"AWS4{secret}".encode()
    for step in (day, REGION, "s3", "aws4_request"):
        key = mac(key, step)
    return key


def sign(method, host, path, query, headers, payload, secret=PASSWORD, user=USER,
         content=None, age=timedelta()):
    """Headers of a request signed by version 4, written apart from any SDK.

    `content` is what x-amz-content-sha256 says, `age` how long ago the request was signed.
    """
    stamp = (datetime.now(timezone.utc) - age).strftime("%Y%m%dT%H%M%SZ")
    content = content or sha256(payload)
    headers = {**{name.lower(): value for name, value in headers.items()},
               "host": host, "x-amz-date": stamp, "x-amz-content-sha256": content}
    names = sorted(headers)
    fields = sorted(tuple(pair.partition("=")[::2]) for pair in query.split("&") if pair)
    canonical = "\n".join([
        method, urllib.parse.quote(path), "&".join(f"{name}={value}" for name, value in fields),
        *(f"{name}:{headers[name].strip()}" for name in names), "", ";".join(names), content])
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode())}"
    signature = mac(signing_key(stamp[:8], secret), text).hex()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={user}/{scope}, "
                                f"SignedHeaders={';'.join(names)}, Signature={signature}")
    return headers


def tree(home, files, seed):
    """Writes a tree of `files` files of 0 B to 200 KiB; returns path -> bytes."""
    dice = random.Random(seed)
    written = {}
    for number in range(files):
        size = dice.choice([0, 1, 100, 4 * KIB, 4 * KIB + 1, 20 * KIB])
        if number % 50 == 0:
            size = 200 * KIB + number
        name = f"dir {number % 7}/{'deep/' * (number % 3)}file-{number:04}.bin"
        if number % 97 == 0:
            name = f"unicode-ü-日本/{number}+&=@.txt"
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written[name] = body(f"{seed}{number}", size)
        path.write_bytes(written[name])
    return written


def read_tree(home):
    return {str(path.relative_to(home)): path.read_bytes()
            for path in home.rglob("*") if path.is_file()}


def same_tree(got, want, what):
    equal(sorted(got), sorted(want), f"{what}: names")
    for name, data in want.items():
        if got[name] != data:
            raise AssertionError(f"{what}: {name} differs ({len(got[name])} of {len(data)} bytes)")
