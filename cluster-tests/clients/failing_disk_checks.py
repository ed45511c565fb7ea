"""Disks that fail under a live server: sectors that cannot be read, syncs that fail, file systems that turn read-only,
disks that hang or are slow. Behind loop devices, on a disk that fails on demand or on ext4, so these need root."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from fault_checks import disks, logged, mount, readable, run, status_of, store
from flip_checks import SCRUBBED, scrubbed, used
from harness import KIB, MIB, NO_RETRIES, Server, body, check, equal, soon
from repair_checks import PUBLIC, census, healed

ORDER = "in order"


class FailingDisk:
    """The disk below a server's first drive, of which `failing_disk.py` tells."""

    def __init__(self, home, drive):
        self.home, self.drive = home, drive
        self.mounted, self.image = home / "disk", home / "disk.img"
        self.process = self.device = self.fault = None

    def __enter__(self):
        self.mounted.mkdir()
        run(f"truncate -s 320M {self.image}")
        self.fault = open(self.home / "fault", "w")
        self.set(ORDER)
        command = [sys.executable, pathlib.Path(__file__).with_name("failing_disk.py"), self.mounted, self.image, self.fault.name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        equal(self.process.stdout.readline(), "ready\n", "the disk")
        self.device = subprocess.check_output(["losetup", "-f", "--show", self.mounted / "disk"], text=True).strip()
        run(f"mkfs.xfs -qf {self.device}")
        self.mount()
        return self

    def __exit__(self, *_):
        self.go_on()
        self.set(ORDER)
        for command in (f"umount -l {self.drive}", f"losetup -d {self.device}", f"umount -l {self.mounted}"):
            subprocess.run(["bash", "-c", command], stderr=subprocess.DEVNULL)
        self.process.kill()
        self.process.wait()
        self.fault.close()

    def mount(self):
        run(f"mount {self.device} {self.drive}")

    def remount(self):
        """Nothing stays in memory of what the disk holds."""
        run(f"umount {self.drive}")
        self.mount()

    def set(self, fault):
        # In place: the disk has the file open.
        self.fault.seek(0)
        self.fault.write(fault.ljust(80))
        self.fault.flush()

    def fail_writes(self, path):
        """Whatever is written to a file of one extent fails."""
        at = self.where(path)
        self.set(f"writes {at} {at + 64 * MIB}")

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def where(self, path):
        """Where on the disk a file of one extent lies, from its first byte on."""
        listed = subprocess.check_output(["xfs_io", "-r", "-c", "bmap", path], text=True)
        extents = [line for line in listed.splitlines()[1:] if "hole" not in line]
        equal(len(extents) >= 1, True, f"extents of {path}: {listed}")
        return 512 * int(re.search(r": (\d+)\.\.", extents[0])[1])


class Victim(Server):
    """A server whose first drive is on a disk that fails on demand."""

    disk = None

    def kill(self):
        # A process ends when its last read does.
        if self.disk:
            self.disk.go_on()
        super().kill()


@contextlib.contextmanager
def on_failing_disk(variables=PUBLIC):
    """Such a server, its disk, a client, its bucket, and the bytes by key of what is stored there."""
    server = Victim(variables=variables)
    with FailingDisk(server.home, server.drives[0]) as server.disk:
        try:
            with server:
                s3 = server.client(**NO_RETRIES)
                bucket = server.bucket(s3)
                yield server, server.disk, s3, bucket, store(s3, bucket, "before")
        finally:
            server.kill()


def forget(path):
    """Has the next read of a file go to its disk, unless somebody reads it just now."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def shard_files(drive):
    return [path for path in (drive / "shards").rglob("*") if path.is_file()]


def segment(drive):
    """The segment of a drive's log that is written to."""
    return max((path for path in (drive / "index/log").glob("*.log") if used(path) > 4 * KIB), key=lambda path: path.name)


def online(server):
    return server.metric("minio_cluster_drive_online_total")


def whole(server, bucket, keys, what):
    """Everything is made whole, as the server and the census say, and is there after a restart."""
    healed(server)
    readable(server.client(), bucket, keys, what)
    server.stop()
    census(server)
    server.start()
    readable(server.client(), bucket, keys, f"{what}, and after a restart")


@check
def what_a_disk_cannot_read_is_served_around_and_written_elsewhere():
    with on_failing_disk(SCRUBBED) as (server, disk, s3, bucket, keys):
        drive = server.drives[0]
        healed(server)
        log = segment(drive)
        # One shard file in the middle, or every row so far.
        file = shard_files(drive)[0]
        for path, size in ((file, 8 * KIB), (log, used(log) - 4 * KIB)):
            mended, at = server.metric("minio_heal_objects_heal_total"), disk.where(path) + 4 * KIB
            disk.set(f"reads {at} {at + size}")
            forget(path)
            readable(s3, bucket, keys, f"{path} cannot be read")
            soon("it is counted", lambda: forget(path) or server.metric("minio_heal_objects_heal_total") > mended)
            if path == file:
                soon("a new file takes its place", lambda: not path.exists())
            scrubbed(server)
        errors = server.drive_metric("minio_node_drive_errors_availability", drive)
        equal((online(server), errors > 0), (4, True), "drives that answer, and the disk's errors")
        # With two others away, all depends on what was written elsewhere: nothing is mended below it.
        for other in server.drives[2:]:
            shutil.rmtree(other)
        readable(s3, bucket, keys, "what could not be read is on its drive again")


@check
def a_batch_whose_sync_failed_is_not_believed_by_the_next_start():
    with on_failing_disk() as (server, disk, s3, bucket, keys):
        disk.fail_writes(segment(server.drives[0]))
        keys |= store(s3, bucket, "unsynced")
        soon("the drive is out of service", lambda: online(server) == 3)
        server.kill()
        disk.set(ORDER)
        # The same mount: its memory may show what the disk never got.
        server.start()
        s3 = server.client(**NO_RETRIES)
        keys |= store(s3, bucket, "after")
        readable(s3, bucket, keys, "opened again")
        healed(server)
        server.kill()
        disk.remount()
        server.start()
        equal(logged(server, "drive is damaged"), False, "the log has a hole")
        whole(server, bucket, keys, "a sync failed")


@check
def a_disk_that_hangs_holds_nobody_up_and_gets_what_it_missed():
    with on_failing_disk() as (server, disk, s3, bucket, keys):
        disk.hang()
        # What is held back until the disk is known to hang is not waited for.
        began = time.monotonic()
        keys |= store(s3, bucket, "hung")
        readable(s3, bucket, keys, "a disk hangs")
        if time.monotonic() - began > 5:
            raise AssertionError(f"with a disk that hangs it took {time.monotonic() - began:.1f} s")
        soon("it is offline", lambda: store(s3, bucket, "tick") and online(server) == 3)
        equal(server.plain("GET", "/minio/health/cluster")[0], 200, "the cluster can be written")
        keys |= store(s3, bucket, "offline", 20)
        readable(s3, bucket, keys, "the disk is passed over")
        threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
        if threads > 100:
            raise AssertionError(f"{threads} threads")
        disk.go_on()
        soon("it is back", lambda: online(server) == 4 and logged(server, "drive answers again"))
        whole(server, bucket, keys, "the disk is back")


@check
def a_slow_disk_slows_nobody_down():
    with on_failing_disk() as (server, disk, s3, bucket, keys):
        large = body("large", 12 * MIB)
        disk.set("slow 0.2")
        for path in [*shard_files(server.drives[0]), segment(server.drives[0])]:
            forget(path)
        # Here it is found out.
        s3.put_object(Bucket=bucket, Key="large", Body=large)
        equal(s3.get_object(Bucket=bucket, Key="large")["Body"].read() == large, True, "large")
        times = []
        for number in range(8):
            began = time.monotonic()
            keys |= store(s3, bucket, f"slow{number}", 2)
            times.append(time.monotonic() - began)
        readable(s3, bucket, keys, "a disk is slow")
        began = time.monotonic()
        equal(s3.get_object(Bucket=bucket, Key="large")["Body"].read() == large, True, "large")
        times.append(time.monotonic() - began)
        # Each would take a second and more where it waits for a sync of that disk.
        if sorted(times)[len(times) // 2] > 0.3:
            raise AssertionError(f"with a disk that is slow: {[round(taken, 2) for taken in times]} s")
        disk.set(ORDER)
        keys["large"] = large
        whole(server, bucket, keys, "the disk is as fast as the others")


@check
def a_file_system_that_turns_read_only_is_read_on():
    with disks(1, "256M", "mkfs.ext4 -q -e remount-ro") as server:
        server.variables = PUBLIC
        with server:
            s3, drive = server.client(**NO_RETRIES), server.drives[0]
            bucket = server.bucket(s3)
            keys = store(s3, bucket, "before")
            device = os.path.basename(subprocess.check_output(["findmnt", "-no", "SOURCE", drive], text=True).strip())
            # What ext4 does when it finds itself damaged, though files are open for writing.
            pathlib.Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("as told")
            later = store(s3, bucket, "read-only")
            soon("it is told", lambda: logged(server, "drive is read-only now"))
            equal(status_of(s3.delete_object, Bucket=bucket, Key="before/0"), 204, "a deletion")
            del keys["before/0"]
            readable(s3, bucket, keys | later, "one file system is read-only")
            server.stop()
            server.start()
            equal(logged(server, "a drive is read-only"), True, "known at the start too")
            # With two others away, half of the shards are read from it.
            others = [(other, other.with_suffix(".away")) for other in server.drives[2:]]
            for other, away in others:
                other.rename(away)
            readable(server.client(**NO_RETRIES), bucket, keys, "it is read")
            server.stop()
            for other, away in others:
                away.rename(other)
            run(f"umount {drive}; e2fsck -fy {drive}.img >/dev/null || [ $? = 1 ]")
            mount(drive)
            server.start()
            whole(server, bucket, keys | later, "the file system is repaired")
