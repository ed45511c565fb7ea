"""Drives taken away and bytes flipped: what was stored is read, or an error is told, never wrong bytes."""

import random
import shutil
from botocore.exceptions import ClientError

from harness import KIB, MIB, NO_RETRIES, Server, body, check, equal, sha256

SIZES = [0, 1, 4 * KIB, 100 * KIB, 128 * KIB + 1, MIB, 2 * MIB + 333]


def fill(server, count=60):
    """Stores objects of all sizes, some overwritten, some deleted; returns what must be read."""
    s3, want = server.client(), {}
    bucket = server.bucket(s3)
    for number in range(count):
        key = f"dir/{number:03}"
        for round_number in range(1 + number % 2):
            data = body(f"{key}/{round_number}", SIZES[number % len(SIZES)])
            s3.put_object(Bucket=bucket, Key=key, Body=data)
        want[key] = sha256(data)
        if number % 10 == 9:
            s3.delete_object(Bucket=bucket, Key=key)
            want[key] = None
    return bucket, want


def verify(server, bucket, want, what, **options):
    """Every object, every absence and the list."""
    s3 = server.client(**options)
    for key, digest in want.items():
        try:
            got = sha256(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            equal(error.response["Error"]["Code"], "NoSuchKey", f"{what}: {key}")
            got = None
        equal(got, digest, f"{what}: {key}")
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    equal(listed, sorted(key for key, digest in want.items() if digest), f"{what}: list")


@check
def a_restart_forgets_nothing():
    with Server() as server:
        bucket, want = fill(server)
        server.stop()
        server.start()
        verify(server, bucket, want, "after SIGTERM")
        server.kill()
        server.start()
        verify(server, bucket, want, "after kill -9")


@check
def one_and_two_drives_removed_while_running():
    with Server() as server:
        bucket, want = fill(server)
        shutil.rmtree(server.drives[1])
        verify(server, bucket, want, "one drive removed")
        s3 = server.client()
        for number in range(20):
            data = body(f"late {number}", SIZES[number % len(SIZES)])
            s3.put_object(Bucket=bucket, Key=f"late/{number:03}", Body=data)
            want[f"late/{number:03}"] = sha256(data)
        verify(server, bucket, want, "written with one drive removed")
        shutil.rmtree(server.drives[3])
        verify(server, bucket, want, "two drives removed")


@check
def a_drive_removed_while_stopped():
    with Server() as server:
        bucket, want = fill(server)
        server.stop()
        # A start needs a majority of the drives: it writes to the ledger.
        shutil.rmtree(server.drives[2])
        server.start()
        verify(server, bucket, want, "one drive removed")


@check
def writes_without_their_quorum_are_not_acknowledged():
    with Server() as server:
        bucket, want = fill(server, 10)
        s3 = server.client(**NO_RETRIES)
        # A list that meets an undecided key fails, so these keys have a bucket of their own.
        undecided = server.bucket(s3)
        for drive in server.drives[:2]:
            shutil.rmtree(drive)
        for size in (10, MIB):
            try:
                s3.put_object(Bucket=undecided, Key="refused", Body=body("refused", size))
            except ClientError as error:
                equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 503, f"{error}")
            else:
                raise AssertionError(f"{size} bytes: acknowledged by two drives of four")
        verify(server, bucket, want, "what was there before")


def flip(drive, dice, per_file):
    """Flips a bit of random bytes in every file of a drive."""
    flipped = 0
    for path in sorted(path for path in drive.rglob("*") if path.is_file()):
        data = bytearray(path.read_bytes())
        for _ in range(min(per_file, len(data))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            flipped += 1
        path.write_bytes(data)
    return flipped


@check
def flipped_bytes_of_one_drive_are_never_served():
    for seed in range(4):
        with Server() as server:
            bucket, want = fill(server, 40)
            server.kill() if seed % 2 else server.stop()
            drive, dice = server.drives[seed], random.Random(seed)
            if not flip(drive, dice, per_file=3 + 20 * seed):
                raise AssertionError(f"{drive} has no bytes to flip")
            server.start()
            verify(server, bucket, want, f"flips of seed {seed}")
            server.client().put_object(Bucket=bucket, Key="dir/new", Body=b"new")
            want["dir/new"] = sha256(b"new")
            verify(server, bucket, want, f"a write after flips of seed {seed}")


@check
def flipped_shards_are_served_around_while_running():
    with Server() as server:
        bucket, want = fill(server, 40)
        dice = random.Random(1)
        files = [path for drive in server.drives[:2] for path in (drive / "shards").rglob("*") if path.is_file()]
        if not files:
            raise AssertionError("no shard files to flip")
        for path in files:
            with open(path, "r+b") as file:
                place = dice.randrange(path.stat().st_size)
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 0x10]))
        verify(server, bucket, want, "a flip in each shard file of two drives")
