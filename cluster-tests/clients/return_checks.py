"""Drives that go and come back, or are replaced, under a live server: it takes them back without a restart. On file
systems of their own, so these need root."""

import os
import shutil
import subprocess

from failing_disk_checks import ORDER, on_failing_disk, online, segment
from fault_checks import disks, logged, mount, readable, run, store
from harness import NO_RETRIES, check, equal, soon
from repair_checks import PUBLIC, census, healed

# Two looks for a drive that is gone, two for one that is back, and what opening it takes.
RETURN_SECONDS = 60


def gone(server, count=1):
    soon(f"{count} offline", lambda: online(server) == len(server.drives) - count, RETURN_SECONDS)


def back(server, what):
    soon(what, lambda: online(server) == len(server.drives), RETURN_SECONDS)
    equal(server.plain("GET", "/minio/health/cluster")[0], 200, f"{what}: the cluster can be written")


def returns(server):
    """How often each drive was taken back, or another one in its place."""
    return [server.drive_metric("sarsen_node_drive_returns_total", drive) for drive in server.drives]


def unmounted(drive):
    return subprocess.run(["umount", drive], stderr=subprocess.DEVNULL).returncode == 0


@check
def a_drive_whose_file_system_failed_is_taken_back_once_it_is_mounted_again():
    with disks(1) as server:
        server.variables = PUBLIC
        with server:
            s3, drive = server.client(**NO_RETRIES), server.drives[0]
            bucket = server.bucket(s3)
            keys = store(s3, bucket, "before")
            run(f"xfs_io -x -c shutdown {drive}")
            keys |= store(s3, bucket, "failed")
            gone(server)
            soon("its mount is free: it can be repaired", lambda: unmounted(drive), RETURN_SECONDS)
            keys |= store(s3, bucket, "unmounted")
            soon("its mount is missed", lambda: logged(server, "its mount is missing"))
            equal(os.listdir(drive), [], "what is written below its mount")
            equal(returns(server), [0, 0, 0, 0], "drives taken back before")
            mount(drive)
            back(server, "the drive is back")
            equal(returns(server), [1, 0, 0, 0], "drives taken back")
            keys |= store(s3, bucket, "after")
            healed(server)
            equal(logged(server, "drive is damaged"), False, "it lost something")
            for other in server.drives[2:]:
                shutil.rmtree(other)
            gone(server, 2)
            readable(s3, bucket, keys, "half of all shards are on the drive that came back")


@check
def a_new_disk_is_rebuilt_in_the_place_of_one_that_is_gone():
    with disks(4) as server:
        server.variables = PUBLIC
        with server:
            s3 = server.client(**NO_RETRIES)
            bucket = server.bucket(s3)
            keys = store(s3, bucket, "before")
            for number, drive in enumerate(server.drives[:2]):
                run(f"umount -l {drive}")
                gone(server)
                keys |= store(s3, bucket, f"gone{number}")
                equal(os.listdir(drive), [], "what is written below its mount")
                run(f"truncate -s 320M {drive}.new; mkfs.xfs -qf {drive}.new")
                mount(drive, f"{drive}.new")
                back(server, "the new disk is taken")
                keys |= store(s3, bucket, f"new{number}")
                healed(server)
            equal(returns(server), [1, 1, 0, 0], "drives taken")
            for other in server.drives[2:]:
                run(f"umount -l {other}")
            gone(server, 2)
            readable(s3, bucket, keys, "all is on the new disks")
            for other in server.drives[2:]:
                mount(other)
            back(server, "the others are back")
            healed(server)
            server.stop()
            census(server)


@check
def a_drive_that_was_not_there_at_the_start_is_taken_when_it_comes():
    with disks(4) as server:
        server.variables = PUBLIC
        with server:
            s3, late = server.client(), server.drives[2]
            bucket = server.bucket(s3)
            keys = store(s3, bucket, "before")
            server.stop()
            run(f"umount {late}")
            server.start()
            keys |= store(server.client(), bucket, "without")
            equal(online(server), 3, "drives at the start")
            mount(late)
            back(server, "it is mounted")
            equal(returns(server), [0, 0, 1, 0], "drives taken back")
            healed(server)
            server.stop()
            census(server)


@check
def a_disk_that_fails_again_and_again_is_left_alone_until_it_takes_writes():
    with on_failing_disk() as (server, disk, s3, bucket, keys):
        disk.fail_writes(segment(server.drives[0]))
        keys |= store(s3, bucket, "failed")
        gone(server)
        soon("it is tried in vain", lambda: logged(server, "a drive is offline"), RETURN_SECONDS)
        keys |= store(s3, bucket, "offline")
        equal((online(server), logged(server, "a drive is taken back")), (3, False), "it is not taken back")
        disk.set(ORDER)
        back(server, "the disk is in order")
        keys |= store(s3, bucket, "after")
        healed(server)
        readable(s3, bucket, keys, "a disk failed for a while")
        server.stop()
        census(server)
