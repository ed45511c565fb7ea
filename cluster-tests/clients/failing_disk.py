"""A disk that fails on demand: a file system that holds one file, `disk`, to be put behind a loop device.

    failing_disk.py MOUNTPOINT IMAGE FAULT

IMAGE is where the bytes are. FAULT is a file that says what is wrong now, read with every request:

    slow SECONDS      each read, write and sync takes that much longer
    reads FROM TO     reads of these bytes fail, FROM and TO counted from the disk's front
    writes FROM TO    writes of them fail

and anything else for a disk in order. A disk that hangs is a process that is stopped (SIGSTOP). It speaks
the kernel's protocol (linux/fuse.h, version 7.31) itself, and so needs root and nothing else.
"""

import ctypes
import errno
import os
import struct
import sys
import threading
import time

ROOT, DISK = 1, 2
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE = 1, 2, 3, 4, 14, 15, 16
STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, RELEASEDIR = 17, 18, 20, 25, 26, 27, 29
INTERRUPT, DESTROY, BATCH_FORGET = 36, 38, 42
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
DIRECT_IO = 1
WRITE_MAX = 1 << 20
THREADS = 16
LIFE = struct.pack("<QII", 3600, 0, 0)


class Disk:
    def __init__(self, device, image, fault):
        self.device, self.image = device, os.open(image, os.O_RDWR)
        self.size, self.fault = os.fstat(self.image).st_size, os.open(fault, os.O_RDONLY)

    def serve(self):
        while True:
            try:
                request = os.read(self.device, WRITE_MAX + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            _, op, unique, node = struct.unpack_from("<IIQQ", request)
            try:
                answer = self.answer(op, node, request[40:])
            except OSError as error:
                answer = -error.errno
            if answer is None:
                continue
            code, data = (answer, b"") if isinstance(answer, int) else (0, answer)
            try:
                os.write(self.device, struct.pack("<IiQ", 16 + len(data), code, unique) + data)
            except FileNotFoundError:
                pass  # Whoever asked was interrupted.

    def answer(self, op, node, rest):
        """What a request gets: bytes, a negative error number, or nothing."""
        if op in (READ, WRITE):
            _, offset, size = struct.unpack_from("<QQI", rest)
            self.fail("reads" if op == READ else "writes", offset, size)
            if op == READ:
                return os.pread(self.image, size, offset)
            return struct.pack("<II", os.pwrite(self.image, rest[40:40 + size], offset), 0)
        if op == FSYNC:
            self.fail("syncs", 0, 0)
            return b""
        if op == INIT:
            _, _, ahead = struct.unpack_from("<III", rest)
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, ahead, BIG_WRITES | MAX_PAGES, 64, 48, WRITE_MAX, 1, WRITE_MAX >> 12, 0, 0)
        if op == LOOKUP:
            if rest.rstrip(b"\0") != b"disk":
                return -errno.ENOENT
            return struct.pack("<QQQQII", DISK, 0, 3600, 3600, 0, 0) + self.attributes(DISK)
        if op in (GETATTR, SETATTR):
            return LIFE + self.attributes(node)
        if op in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, DIRECT_IO if op == OPEN else 0, 0)
        if op in (RELEASE, RELEASEDIR, FLUSH):
            return b""
        if op == STATFS:
            return struct.pack("<QQQQQIII28x", self.size >> 12, 0, 0, 2, 0, 4096, 255, 4096)
        if op in (FORGET, BATCH_FORGET, INTERRUPT, DESTROY):
            return None
        return -errno.ENOSYS

    def fail(self, what, offset, size):
        kind, *numbers = os.pread(self.fault, 100, 0).decode().split() or [""]
        if kind == "slow":
            time.sleep(float(numbers[0]))
        elif kind == what and offset < int(numbers[1]) and offset + size > int(numbers[0]):
            raise OSError(errno.EIO, "as told")

    def attributes(self, node):
        mode, size = (0o100600, self.size) if node == DISK else (0o40700, 0)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size >> 9, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def main():
    mountpoint, image, fault = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={WRITE_MAX}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"failing", os.fsencode(mountpoint), b"fuse", 6, options.encode()):
        sys.exit(f"{mountpoint}: {os.strerror(ctypes.get_errno())}")
    disk = Disk(device, image, fault)
    print("ready", flush=True)
    for thread in [threading.Thread(target=disk.serve) for _ in range(THREADS)]:
        thread.start()


main()
