"""Bits flipped at random in any files of as many drives as there is parity: what was stored is read, nothing but that, and
all is whole again in the end. SARSEN_FLIPS says how many, SARSEN_FLIP_SEED repeats a run."""

import concurrent.futures
import os
import random
import time

from damage_checks import fill, verify
from harness import MIB, NO_RETRIES, Server, body, check, equal, sha256, soon
from repair_checks import HEAL_SECONDS, PUBLIC, census, healed

FLIPS = int(os.environ.get("SARSEN_FLIPS", 500))
SEED = os.environ.get("SARSEN_FLIP_SEED") or str(time.time_ns() % 10**9)
SERVERS = 8
PARITY = 2
# A flip or two finds what hides behind the damage of many.
PER_ROUND = [1, 2, 5, 20, 50, 100]
SCRUBBED = {**PUBLIC, "SARSEN_HEAL_BITROTSCAN": "on"}
IDENTITY = "sarsen.json"


class Stock:
    """What a server holds."""

    def __init__(self, server):
        self.server, self.written = server, 0
        self.bucket, self.want = fill(server, 30)
        s3 = server.client()
        self.versioned, self.versions = server.bucket(s3), {}
        s3.put_bucket_versioning(Bucket=self.versioned, VersioningConfiguration={"Status": "Enabled"})
        for number, size in enumerate((10, 70_000, 300_000)):
            data = body(f"version {number}", size)
            version = s3.put_object(Bucket=self.versioned, Key="key", Body=data)["VersionId"]
            self.versions[version] = sha256(data)
        s3.delete_object(Bucket=self.versioned, Key="key")
        self.put_in_parts(s3)

    def put_in_parts(self, s3):
        where, parts = {"Bucket": self.bucket, "Key": "dir/parts"}, []
        where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
        data = body("parts", 6 * MIB + 77)
        for number, piece in enumerate((data[:5 * MIB], data[5 * MIB:]), 1):
            etag = s3.upload_part(**where, PartNumber=number, Body=piece)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        self.want["dir/parts"] = sha256(data)

    def write_more(self):
        """New objects and overwrites, so that there is something in the log's tail again."""
        s3 = self.server.client()
        for size in (300, 50_000, 200_000):
            key, data = f"dir/more-{self.written % 7}", body(f"more {self.written}", size)
            s3.put_object(Bucket=self.bucket, Key=key, Body=data)
            self.want[key], self.written = sha256(data), self.written + 1

    def check(self, what):
        verify(self.server, self.bucket, self.want, what, **NO_RETRIES)
        s3 = self.server.client(**NO_RETRIES)
        listed = s3.list_object_versions(Bucket=self.versioned)
        equal({item["VersionId"] for item in listed["Versions"]}, set(self.versions), f"{what}: versions")
        equal(len(listed["DeleteMarkers"]), 1, f"{what}: markers")
        for version, digest in self.versions.items():
            got = s3.get_object(Bucket=self.versioned, Key="key", VersionId=version)["Body"].read()
            equal(sha256(got), digest, f"{what}: version {version}")


def used(path):
    """How many bytes of a file come before the zeros at its end; most of a log's segment is a hole that takes long to read.
    None of one that the server, which runs, replaced meanwhile."""
    try:
        with open(path, "rb") as file:
            end = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
            file.seek(0)
            return len(file.read(end).rstrip(b"\0"))
    except FileNotFoundError:
        return 0


def flip(drives, dice, count):
    """Flips bits, half of them in files and half in bytes that are as likely as any. One copy of a drive's identity stays:
    without any it is nobody's drive. Says where."""
    files = []
    for drive in drives:
        spared = dice.choice([drive / IDENTITY, drive / "index" / IDENTITY])
        found = [path for path in drive.rglob("*") if path.is_file() and path != spared]
        files += [(path, size) for path, size in ((path, used(path)) for path in found) if size]
    sizes = [size for _, size in files]
    done = []
    for number in range(count):
        path, size = dice.choices(files, sizes)[0] if number % 2 else dice.choice(files)
        at, bit = dice.randrange(size), dice.randrange(8)
        try:
            with open(path, "r+b") as file:
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << bit]))
        except FileNotFoundError:
            continue
        done.append(f"{path}:{at}.{bit}")
    return done


def scrubbed(server):
    """Waits until what the drives hold was read twice from now on: once to be repaired."""
    before = server.metric("sarsen_scrubs_total")
    soon("scrubbed", lambda: server.metric("sarsen_scrubs_total") >= before + 3, HEAL_SECONDS)
    healed(server)


def one_round(server, stock, dice, drives, count):
    how = dice.choice(["live", "stop", "kill"])
    drives = dice.sample(server.drives, drives)
    stock.write_more()
    # The last batch of a log, if it is damaged, looks like one that was never whole. Of it as of any other the drive's
    # peers know, once there is one behind it.
    time.sleep(1.5)
    if how != "live":
        getattr(server, how)()
    flipped = flip(drives, dice, count)
    try:
        if how == "live":
            stock.check("while it runs")
            scrubbed(server)
            server.stop()
        server.start()
        stock.check("after a start")
        scrubbed(server)
        stock.check("repaired")
        server.stop()
        census(server)
    except Exception as error:
        where = "\n".join(flipped[:20])
        raise AssertionError(f"{how}, {len(flipped)} flips, among them\n{where}\n{error}") from error
    server.start()
    return len(flipped)


def many_rounds(number, count):
    dice, done = random.Random(f"{SEED}/{number}"), 0
    with Server(variables=SCRUBBED) as server:
        stock = Stock(server)
        while done < count:
            flips = min(dice.choice(PER_ROUND), count - done)
            done += one_round(server, stock, dice, dice.randint(1, PARITY), flips)
    return done


@check
def random_flips_on_drives_within_parity_are_served_around_and_repaired():
    print(f"SARSEN_FLIP_SEED={SEED} SARSEN_FLIPS={FLIPS}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(SERVERS) as pool:
        shares = [(FLIPS + number) // SERVERS for number in range(SERVERS)]
        equal(sum(pool.map(many_rounds, range(SERVERS), shares)), FLIPS, "flips")
