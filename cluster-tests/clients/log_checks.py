"""What the server says of itself: logs without secrets, ids that lead to requests, metrics that are true."""

import base64
import hashlib
import hmac
import json
import re
import shutil
import subprocess
import time

from harness import BINARY, MIB, NO_RETRIES, PASSWORD, USER, Server, body, check, equal, free_port, sign


def lines(server):
    """The log's lines as JSON; the banner is not of it."""
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


@check
def logs_are_json_and_hold_no_secret():
    with Server(flags=["--json", "--quiet"], variables={"SARSEN_LOG": "trace"}) as server:
        s3 = server.client(signature_version="s3v4")
        bucket = server.bucket(s3)
        s3.put_object(Bucket=bucket, Key="k", Body=b"the body itself")
        url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, 60)
        equal(server.plain("GET", url.removeprefix(server.endpoint))[0], 200, "presigned")
        signed = sign("GET", server.address, f"/{bucket}", "", {}, b"")
        equal(server.plain("GET", f"/{bucket}", headers=signed)[0], 200, "signed")
        server.plain("GET", f"/{bucket}", headers={**signed, "authorization": f"AWS4-HMAC-SHA256 Credential={PASSWORD}"})
        server.plain("GET", "/minio/v2/metrics/cluster", headers={"authorization": "Bearer a-token-of-somebody"})
        server.stop()
        text = server.log.read_text()
        if len(lines(server)) != len(text.splitlines()):
            raise AssertionError("with --json and --quiet every line is JSON")
        levels = {line["level"] for line in lines(server)}
        equal("TRACE" in levels, True, f"everything was logged: {levels}")
        secrets = {"the password": PASSWORD, "a signature": signed["authorization"].rpartition("=")[2], "a presigned signature": url.rpartition("=")[2],
                   "a token": "a-token-of-somebody", "a body": "the body itself", "the password in base64": base64.b64encode(PASSWORD.encode()).decode()}
        for what, secret in secrets.items():
            equal(secret in text, False, f"{what} is in the log")


@check
def an_answers_id_leads_to_its_log_lines():
    with Server(flags=["--json"], variables={"SARSEN_LOG": "info"}) as server:
        s3 = server.client(**NO_RETRIES)
        bucket = server.bucket(s3)
        for drive in server.drives[:2]:
            shutil.rmtree(drive)
        status, headers, text = server.signed("PUT", f"/{bucket}/k", body("id", MIB))
        equal(status, 503, f"two drives of four are gone: {text}")
        told = [line for line in lines(server) if line.get("span", {}).get("request_id") == headers["x-amz-request-id"]]
        equal([line["message"] for line in told if line["level"] == "WARN"][-1:], ["a request was not served"], "the line of this request")


def token(user=USER, secret=PASSWORD, seconds=60):
    """A bearer token as `mc admin prometheus generate` makes it."""
    def part(value):
        return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=")
    text = part({"alg": "HS512", "typ": "JWT"}) + b"." + part({"exp": int(time.time()) + seconds, "sub": user, "iss": "prometheus"})
    return (text + b"." + part(hmac.new(secret.encode(), text, hashlib.sha512).digest())).decode()


def metrics(server, section="cluster"):
    status, headers, text = server.plain("GET", f"/minio/v2/metrics/{section}", headers={"authorization": f"Bearer {token()}"})
    equal((status, headers["content-type"].split(";")[0]), (200, "text/plain"), section)
    found = re.findall(r"^(\w+)(?:\{(.*?)\})? (\S+)$", text.decode(), re.MULTILINE)
    return {(name, re.sub(r',?server="[^"]*"', "", labels)): float(value) for name, labels, value in found}


@check
def metrics_say_what_is_there_and_what_is_lost():
    with Server() as server:
        for wrong in (token(secret="wrong"), token(user="nobody"), token(seconds=-60), "x.y.z"):
            equal(server.plain("GET", "/minio/v2/metrics/cluster", headers={"authorization": f"Bearer {wrong}"})[0], 403, wrong)
        s3 = server.client()
        server.bucket(s3), server.bucket(s3)
        s3.put_object(Bucket="bucket-1", Key="k", Body=b"x" * 1000)
        page = metrics(server)
        want = {"minio_cluster_bucket_total": 2, "minio_cluster_drive_total": 4, "minio_cluster_drive_online_total": 4,
                "minio_cluster_drive_offline_total": 0, "minio_cluster_health_status": 1, "minio_cluster_nodes_online_total": 1}
        equal({name: page[name, ""] for name in want}, want, "all is well")
        equal(page["minio_s3_requests_total", 'api="putobject"'], 1, "requests")
        equal(page["minio_cluster_capacity_usable_total_bytes", ""] * 2, page["minio_cluster_capacity_raw_total_bytes", ""], "half is parity")
        server.stop()
        shutil.rmtree(server.drives[3])
        server.start()
        page = metrics(server)
        equal([page[f"minio_cluster_drive_{what}", ""] for what in ("total", "online_total", "offline_total")], [4, 3, 1], "a drive lost while stopped")
        one_set = 'pool="0",set="0"'
        equal([page[f"minio_cluster_health_erasure_set_{what}", one_set] for what in ("online_drives", "read_quorum", "write_quorum", "status")],
              [3, 2, 3, 1], "its set")
        node = metrics(server, "node")
        equal([node["sarsen_node_drive_online", f'drive="{drive}"'] for drive in server.drives], [1, 1, 1, 0], "drive by drive")
        equal(node["minio_node_process_resident_memory_bytes", ""] > MIB, True, "memory")


@check
def credentials_that_were_made_are_shown_once_and_kept():
    with Server(variables={"SARSEN_ROOT_USER": "", "SARSEN_ROOT_PASSWORD": "", "SARSEN_DEV": "off"}) as server:
        text = server.log.read_text()
        user, password = (re.search(rf"^{name} +(\S+)$", text, re.MULTILINE)[1] for name in ("Root user", "Root password"))
        equal(text.count(password), 1, "the password is shown once")
        bucket = server.bucket(server.client(user=user, secret=password))
        server.stop()
        server.start()
        equal(server.log.read_text().count(password), 1, "and never again")
        found = server.client(user=user, secret=password).list_buckets()["Buckets"]
        equal([item["Name"] for item in found], [bucket], "it is kept")


@check
def a_second_server_on_the_same_drives_is_refused():
    with Server() as server:
        command = [BINARY, "server", "--quiet", "--address", f"127.0.0.1:{free_port()}", *server.drives]
        done = subprocess.run(command, env={"HOME": str(server.home), "SARSEN_DEV": "on", "SARSEN_LOG": "off"},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        first = server.drives[0]
        line = f"sarsen: set 0: 0 of 4 drives can be used, and reading needs 2 ({first}: in use by another process)\n"
        equal((done.returncode, done.stdout, done.stderr), (1, "", line), "the second server")
        equal(server.client().list_buckets()["Buckets"], [], "the first goes on")
