"""Drives that fail: full, hung, read-only, gone, swapped, cloned. On XFS and ext4 images behind loop
devices, so these checks need root and xfsprogs; what a drive's faults must lead to is asked of the server."""

import contextlib
import os
import re
import subprocess

from botocore.exceptions import ClientError

from harness import KIB, MIB, NO_RETRIES, Server, body, check, equal, refused, soon



def run(command):
    done = subprocess.run(["bash", "-ec", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}")


def mount(drive, image=None, options="loop"):
    run(f"mount -o {options} {image or f'{drive}.img'} {drive}")


@contextlib.contextmanager
def disks(mounted, size="320M", make="mkfs.xfs -qf"):
    """A server whose first drives are file systems of their own; it is not started yet."""
    server = Server()
    try:
        for drive in server.drives[:mounted]:
            run(f"truncate -s {size} {drive}.img; {make} {drive}.img >/dev/null")
            mount(drive)
        yield server
    finally:
        for drive in server.drives:
            subprocess.run(["bash", "-c", f"xfs_freeze -u {drive}; umount -l {drive}"], stderr=subprocess.DEVNULL)
        server.kill()


def status_of(call, **named):
    try:
        return call(**named)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def logged(server, text):
    return text in server.log.read_text()


def fill(drive):
    """Leaves no byte."""
    run(f"fallocate -l 1T {drive}/fill 2>/dev/null || true; for unit in 1M 64K 4K; do dd if=/dev/zero bs=$unit of={drive}/fill-$unit 2>/dev/null || true; done")


def readable(s3, bucket, keys, what):
    for key, data in keys.items():
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data, True, f"{what}: {key}")


def store(s3, bucket, prefix, count=6):
    """Small and large objects; their bytes by key."""
    keys = {f"{prefix}/{number}": body(f"{prefix}{number}", 300 * KIB if number % 2 else 5000) for number in range(count)}
    for key, data in keys.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data)
    return keys


def shards(drive):
    return sum(len(files) for _, _, files in os.walk(drive / "shards"))


@check
def one_full_drive_is_passed_over_and_comes_back():
    with disks(1) as server, server:
        s3, full = server.client(**NO_RETRIES), server.drives[0]
        bucket = server.bucket(s3)
        keys = store(s3, bucket, "before")
        fill(full)
        soon("the full drive is told", lambda: store(s3, bucket, "tick", 2) and logged(server, "full=true"))
        keys |= store(s3, bucket, "full")
        readable(s3, bucket, keys, "a drive is full")
        equal(server.plain("GET", "/minio/health/cluster")[0], 200, "the cluster can be written")
        equal(status_of(s3.delete_object, Bucket=bucket, Key="before/1"), 204, "a deletion")
        del keys["before/1"]
        run(f"rm {full}/fill*")
        soon("space is told", lambda: logged(server, "full=false"))
        before = shards(full)
        keys |= store(s3, bucket, "after")
        equal(shards(full) > before, True, "it takes bytes again")
        readable(s3, bucket, keys, "space again")


@check
def full_drives_take_deletions_and_nothing_new():
    with disks(4) as server, server:
        s3 = server.client(**NO_RETRIES)
        bucket = server.bucket(s3)
        keys = store(s3, bucket, "before", 10)
        for drive in server.drives:
            fill(drive)
        soon("they are full", lambda: status_of(s3.put_object, Bucket=bucket, Key="new", Body=b"x" * MIB) == 507)
        refused("XMinioStorageFull", s3.put_object, Bucket=bucket, Key="new", Body=b"x" * MIB)
        # Small objects are refused too, before the space that deletions need is used up.
        soon("nothing small goes in", lambda: status_of(s3.put_object, Bucket=bucket, Key="small", Body=b"x" * 60000) == 507)
        readable(s3, bucket, keys, "full")
        refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="new")
        for key in list(keys)[:4]:
            equal(status_of(s3.delete_object, Bucket=bucket, Key=key), 204, f"deletion of {key}")
            refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=key)
            del keys[key]
        for drive in server.drives:
            run(f"rm {drive}/fill*")
        soon("they take bytes again", lambda: status_of(s3.put_object, Bucket=bucket, Key="new", Body=b"y" * MIB) == 200)
        server.stop()
        server.start()
        readable(server.client(), bucket, {**keys, "new": b"y" * MIB}, "after a restart")


def cut(drive):
    """What a power cut leaves of a mounted drive."""
    run(f"xfs_io -x -c 'shutdown' {drive}")


@check
def full_drives_start_again_and_again():
    """Filled by PUTs and then to the last byte, killed and cut: each start serves what is stored and takes deletions."""
    with disks(4, "640M") as server, server:
        s3 = server.client(**NO_RETRIES)
        bucket, keys = server.bucket(s3), {}

        def fill_up(size):
            refusals = 0
            while refusals < 20:
                key = f"{size}/{len(keys)}"
                data = body(key, size)
                status = status_of(s3.put_object, Bucket=bucket, Key=key, Body=data)
                refusals = 0 if status == 200 else refusals + 1
                if status == 200:
                    keys[key] = data
                else:
                    equal(status, 507, key)

        fill_up(8 * MIB)
        fill_up(100 * KIB)
        fill_up(5000)
        for drive in server.drives:
            fill(drive)
            run(f"sync -f {drive}")
        for start in range(12):
            if start % 3 == 2:
                for drive in server.drives:
                    cut(drive)
            server.kill()
            for drive in server.drives if start % 3 == 2 else []:
                run(f"umount {drive}")
                mount(drive)
                # Some that the file system had set aside comes back with the mount.
                fill(drive)
            server.start()
            s3 = server.client(**NO_RETRIES)
            refused("XMinioStorageFull", s3.put_object, Bucket=bucket, Key="new", Body=b"x" * MIB)
            key = list(keys)[start]
            equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read() == keys[key], True, f"start {start}: {key}")
            # In the log: no byte of the disk comes back.
            key = list(keys)[-1]
            equal(status_of(s3.delete_object, Bucket=bucket, Key=key), 204, f"start {start}: deletion of {key}")
            refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=key)
            del keys[key]
        readable(s3, bucket, keys, "full")
        for drive in server.drives:
            run(f"rm {drive}/fill*")
        for key in list(keys)[:20]:
            equal(status_of(s3.delete_object, Bucket=bucket, Key=key), 204, f"deletion of {key}")
            del keys[key]
        soon("they take bytes again", lambda: status_of(s3.put_object, Bucket=bucket, Key="new", Body=b"y" * MIB) == 200)
        readable(s3, bucket, {**keys, "new": b"y" * MIB}, "space again")


@check
def a_drive_without_inodes_is_a_full_one():
    with disks(1, "128M", "mkfs.ext4 -q -N 600") as server, server:
        s3, drive = server.client(**NO_RETRIES), server.drives[0]
        bucket = server.bucket(s3)
        run(f"mkdir {drive}/lost+found/junk; cd {drive}/lost+found/junk; for n in $(seq 700); do : 2>/dev/null > $n || break; done")
        keys = store(s3, bucket, "few")
        soon("it is told", lambda: store(s3, bucket, "tick", 2) and logged(server, "full=true"))
        readable(s3, bucket, keys, "no inodes on one drive")


@check
def a_drive_that_hangs_at_the_start_is_offline():
    with disks(1) as server:
        with server:
            s3 = server.client()
            bucket = server.bucket(s3)
            keys = store(s3, bucket, "before")
            server.stop()
            run(f"xfs_freeze -f {server.drives[0]}")
            try:
                server.start()
                readable(server.client(), bucket, keys, "one drive hangs")
                equal(logged(server, "it does not answer"), True, "it is told")
            finally:
                run(f"xfs_freeze -u {server.drives[0]}")
            soon("it is taken back", lambda: logged(server, "a drive is taken back"), 60)


@check
def a_failed_sync_ends_a_drives_service_until_it_is_opened_anew():
    with disks(1) as server, server:
        s3, failed = server.client(**NO_RETRIES), server.drives[0]
        bucket = server.bucket(s3)
        keys = store(s3, bucket, "before")
        # From here on, every write, sync and read of the file system is an I/O error.
        run(f"xfs_io -x -c shutdown {failed}")
        keys |= store(s3, bucket, "failed")
        soon("it is told by name", lambda: re.search(rf'ERROR drive{{path={failed}}}.*drive taken out of service', server.log.read_text()))
        readable(s3, bucket, keys, "a drive fails")
        listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        equal(listed, sorted(keys), "the list is whole")
        page = server.plain("GET", "/minio/v2/metrics/cluster")
        server.stop()
        run(f"umount {failed}")
        mount(failed)
        server.start()
        readable(server.client(), bucket, keys, "the drive is back")
        equal(page[0], 403, "metrics stay closed to strangers")


@check
def a_read_only_drive_serves_reads():
    with disks(1) as server, server:
        s3 = server.client()
        bucket = server.bucket(s3)
        keys = store(s3, bucket, "before")
        server.stop()
        run(f"mount -o remount,ro {server.drives[0]}")
        server.start()
        equal(logged(server, "a drive is read-only"), True, "it is told")
        s3 = server.client()
        after = store(s3, bucket, "after")
        readable(s3, bucket, {**keys, **after}, "one drive is read-only")
        run(f"rm -r {server.drives[1]} {server.drives[2]}")
        readable(s3, bucket, keys, "it and one other are left")


@check
def a_mount_that_is_missing_or_hidden_is_never_written_through():
    with disks(4) as server, server:
        s3, away = server.client(), server.drives[2]
        bucket = server.bucket(s3)
        keys = store(s3, bucket, "before")
        server.stop()
        run(f"umount {away}")
        server.start()
        s3 = server.client()
        keys |= store(s3, bucket, "without")
        equal((os.listdir(away), logged(server, "its mount is missing")), ([], True), "the directory below it")
        readable(s3, bucket, keys, "a mount is missing")
        server.stop()
        mount(away)
        server.start()
        s3, hidden, other = server.client(), server.drives[1], server.home / "other"
        run(f"mkdir {other}; mount --bind {other} {hidden}")
        keys |= store(s3, bucket, "hidden")
        soon("it is told", lambda: logged(server, "the path leads to another directory now"))
        equal(os.listdir(other), [], "what hides it stays empty")
        readable(s3, bucket, keys, "a mount is hidden")
        run(f"umount {hidden}")


@check
def swapped_drives_are_known_and_a_clone_is_refused():
    with disks(4) as server, server:
        s3, (first, second) = server.client(), server.drives[:2]
        bucket = server.bucket(s3)
        keys = store(s3, bucket, "before")
        server.stop()
        run(f"umount {first}; umount {second}")
        mount(first, f"{second}.img")
        mount(second, f"{first}.img")
        server.start()
        s3 = server.client()
        equal(logged(server, "offline"), False, "both are known where they are")
        keys |= store(s3, bucket, "swapped")
        readable(s3, bucket, keys, "two drives are swapped")
        server.stop()
        run(f"umount {first}; umount {second}; cp {second}.img {server.home}/clone.img")
        mount(first, f"{server.home}/clone.img", "loop,nouuid")
        mount(second)
        server.start()
        equal(logged(server, f"{second} holds the drive of its seat"), True, "the clone is the one that is refused")
        readable(server.client(), bucket, keys, "a drive is cloned over another")
