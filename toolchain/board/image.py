"""The emulated board's image: a Debian kernel, and an initramfs with little but an SSH server.

There is one for each server: dropbear, which small boards have, and OpenSSH, which others have.

Everything comes from Debian's arm64 packages. The keys are made together with the image, so that
the board's host key is known before it boots for the first time.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import RootModel

from toolchain import children, progress
from toolchain.board import keys
from toolchain.board.cpio import CpioWriter
from toolchain.board.keys import KeyPair
from toolchain.errors import EmulatorError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.storage import cache

_SUITE = "bookworm"
_KERNEL = "linux-image-cloud-arm64"
_PACKAGES = (
    "busybox-static",
    "libc6",
    "libcrypt1",
    "libgcc-s1",
    "libgmp10",
    "libstdc++6",
    "openssh-sftp-server",
    "util-linux",
    "zlib1g",
)
_MODULES = ("virtio_mmio", "virtio_net")
_PROGRAMS = (
    "usr/bin/busybox",
    "usr/bin/flock",  # Debian's BusyBox has none
    "usr/lib/openssh/sftp-server",
)
_LIBRARIES = ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu")
_LIBRARY_TARGET = "usr/lib/aarch64-linux-gnu"


Server = Literal["dropbear", "openssh"]


@dataclass(frozen=True)
class _ServerParts:
    """What an SSH server needs."""

    packages: tuple[str, ...]
    program: str
    line: str
    """Its command in the board's inittab."""
    key: Callable[[KeyPair], bytes]
    """The host key as it reads it."""
    etc: Mapping[str, str]
    """Its files in the board's /etc."""


_SSHD_CONFIG = """\
HostKey /etc/ssh/host_key
AuthorizedKeysFile /root/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
"""
_SERVERS: Mapping[Server, _ServerParts] = {
    "dropbear": _ServerParts(
        packages=("dropbear-bin", "libtomcrypt1", "libtommath1"),
        program="usr/sbin/dropbear",
        line="/usr/sbin/dropbear -F -E -s -r /etc/ssh/host_key",
        key=lambda pair: pair.dropbear_private,
        etc={},
    ),
    "openssh": _ServerParts(
        packages=(
            "libaudit1",
            "libcap-ng0",
            "libcap2",
            "libcom-err2",
            "libgcrypt20",
            "libgpg-error0",
            "libgssapi-krb5-2",
            "libk5crypto3",
            "libkeyutils1",
            "libkrb5-3",
            "libkrb5support0",
            "liblz4-1",
            "liblzma5",
            "libnsl2",
            "libpam0g",
            "libpcre2-8-0",
            "libselinux1",
            "libssl3",
            "libsystemd0",
            "libtirpc3",
            "libwrap0",
            "libzstd1",
            "openssh-server",
        ),
        program="usr/sbin/sshd",
        line="/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config",
        key=lambda pair: pair.openssh_private,
        etc={"ssh/sshd_config": _SSHD_CONFIG},
    ),
}
# What the board's /etc says. The address is the one that QEMU's user network expects.
_INITTAB = """\
::sysinit:/etc/rc
::respawn:{server}
::shutdown:/bin/umount -a -r
"""
_RC = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin
busybox mount -t proc proc /proc
busybox --install -s /usr/bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777,size=25% tmp /tmp
mount -t tmpfs -o mode=700,size=60% home /root
mkdir -p -m 755 /run/sshd
mkdir -m 700 /root/.ssh
cp /etc/ssh/authorized_keys /root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order
hostname tileskip
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
# User programs may count their own instructions.
echo -1 > /proc/sys/kernel/perf_event_paranoid
"""
_ETC = {
    "passwd": "root:*:0:0:root:/root:/bin/sh\nsshd:*:100:65534::/run/sshd:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "shells": "/bin/sh\n",
    "profile": "export PATH=/usr/sbin:/usr/bin\n",
    "os-release": 'NAME="Tileskip emulated board"\nID=tileskip\n',
}


@dataclass(frozen=True)
class Image:
    """A finished image, in one folder of the cache."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """The uncompressed kernel."""
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        """The initramfs; mode 0600, for it holds the board's private host key."""
        return self.folder / "initrd"

    @property
    def user_key(self) -> Path:
        """The private key that logs in as root; mode 0600."""
        return self.folder / "user_key"

    @property
    def host_key(self) -> str:
        """The board's public host key, ``ssh-ed25519 AAAA...``.

        Raises:
            EmulatorError: the image is damaged.
        """
        return self._text("host_key.pub").strip()

    @property
    def packages(self) -> list[str]:
        """The file names of the Debian packages that it was made from.

        Raises:
            EmulatorError: the image is damaged.
        """
        text = self._text("packages.json")
        return parse_json(_Names, text, EmulatorError, str(self.folder), hint=self._anew).root

    @property
    def _anew(self) -> str:
        return f"delete {self.folder}, and it is made anew"

    def _text(self, name: str) -> str:
        return read_text(
            self.folder / name, EmulatorError, kind="part of the image: it is", hint=self._anew
        )


class _Names(RootModel[list[str]]):
    pass


def build(report: progress.Progress, server: Server = "dropbear") -> Image:
    """The image for this recipe: from the cache, or made now (downloads 26 MB once).

    Args:
        report: is told of the stages.
        server: the SSH server on it; OpenSSH downloads 5 MB more.

    Raises:
        SourceError: a package could not be fetched or its hash is wrong.
        EmulatorError: a package does not hold what the image needs.
    """
    parts = _SERVERS[server]
    names = sorted((*_PACKAGES, *parts.packages))
    programs = (*_PROGRAMS, parts.program)
    etc = {"inittab": _INITTAB.format(server=parts.line), **_ETC, **parts.etc}
    recipe = cache.digest(
        json.dumps([_SUITE, _KERNEL, names, _MODULES, programs, _LIBRARIES, etc]), _RC
    )

    def fill(folder: Path) -> None:
        packages = AptRoot(report)
        (meta,) = packages.fetch_debs([_KERNEL], arch="arm64", suite=_SUITE)
        debs = packages.fetch_debs([_kernel_package(meta), *names], arch="arm64", suite=_SUITE)
        with report.stage("emulated board: image", total=len(debs) + 1) as stage:
            with tempfile.TemporaryDirectory(dir=folder, prefix="unpacked-") as unpacked:
                for deb in debs:
                    stage.advance(0, deb.name)
                    unpack_deb(deb, Path(unpacked))
                    stage.advance(1)
                stage.advance(0, "initramfs")
                _write(folder, Path(unpacked), programs, etc, parts.key)
                stage.advance(1, "")
            _write_text(folder / "packages.json", json.dumps(sorted(deb.name for deb in debs)))

    return Image(cache.entry("board-image", recipe[:32], fill))


def module_order(folder: Path, wanted: Iterable[str]) -> list[Path]:
    """Kernel modules in the order to load them, from each one's ``depends=`` in ``.modinfo``.

    Args:
        folder: a kernel's module tree (``lib/modules/<version>``).
        wanted: module names, with underscores (``virtio_net``).

    Raises:
        EmulatorError: a module is not in the tree.
    """
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    order: list[Path] = []

    def visit(name: str) -> None:
        path = files.get(name)
        if path is None:
            raise EmulatorError(
                f"the kernel package has no module '{name}'",
                hint="Debian's kernel has changed; please report this with the package's version",
            )
        if path in order:
            return
        found = re.search(rb"(?:^|\0)depends=([^\0]*)\0", path.read_bytes())
        for needed in (found[1].decode() if found else "").split(","):
            if needed:
                visit(needed)
        order.append(path)

    for name in wanted:
        visit(name)
    return order


def _kernel_package(meta: Path) -> str:
    # The meta package is always called the same; the kernel's own name has its version in it.
    depends = children.run(
        ["dpkg-deb", "--field", str(meta), "Depends"], limit=children.LOOK_S, fault=EmulatorError
    ).stdout.strip()
    found = re.search(r"linux-image-[0-9][\w.+-]*-cloud-arm64", depends)
    if not found:
        raise EmulatorError(
            f"{_KERNEL} does not say which kernel it stands for (Depends: {depends})",
            hint="Debian's kernel packages have changed; please report this",
        )
    return found[0]


def _write(
    folder: Path,
    unpacked: Path,
    programs: Sequence[str],
    etc: Mapping[str, str],
    key: Callable[[KeyPair], bytes],
) -> None:
    kernels = sorted((unpacked / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise EmulatorError(f"expected one kernel in the packages, found {len(kernels)}")
    kernels[0].replace(folder / "kernel")
    (folder / "kernel").chmod(0o644)
    host, user = keys.generate(), keys.generate()
    _write_text(folder / "host_key.pub", host.public + "\n")
    _write_text(folder / "user_key.pub", user.public + "\n")
    private = folder / "user_key"
    private.touch(mode=0o600)
    private.write_bytes(user.openssh_private)
    initrd = folder / "initrd"
    initrd.touch(mode=0o600)  # the host's private key is in it
    with initrd.open("wb") as stream:
        archive = CpioWriter(stream)
        _write_root(archive, unpacked, programs)
        for name, text in etc.items():
            archive.file(f"etc/{name}", text.encode())
        archive.file("etc/ssh/host_key", key(host), 0o600)
        archive.file("etc/ssh/authorized_keys", f"{user.public}\n".encode(), 0o600)
        archive.close()


def _write_root(archive: CpioWriter, unpacked: Path, programs: Sequence[str]) -> None:
    for name in ("bin", "sbin", "lib"):
        archive.symlink(name, f"usr/{name}")
    for name in ("proc", "sys", "tmp", "var", "run", "root"):
        archive.directory(name)
    archive.character_device("dev/console", 5, 1)
    archive.character_device("dev/null", 1, 3, 0o666)

    for program in programs:
        archive.file(program, _find(unpacked, program).read_bytes(), 0o755)
    archive.symlink("usr/bin/sh", "busybox")
    archive.symlink("usr/sbin/init", "../bin/busybox")
    archive.symlink("usr/lib/sftp-server", "openssh/sftp-server")

    for directory in _LIBRARIES:
        for path in sorted((unpacked / directory).glob("*.so*")):
            target = f"{_LIBRARY_TARGET}/{path.name}"
            if path.is_symlink():
                archive.symlink(target, path.readlink().name)
            else:
                archive.file(target, path.read_bytes(), 0o755)
    archive.symlink("usr/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1")

    trees = sorted((unpacked / "lib/modules").iterdir())
    modules = module_order(trees[0], _MODULES)
    for module in modules:
        archive.file(f"usr/lib/modules/{module.name}", module.read_bytes())
    archive.file("usr/lib/modules/order", "".join(f"{m.name}\n" for m in modules).encode())

    archive.file("etc/rc", _RC.encode(), 0o755)


def _find(unpacked: Path, program: str) -> Path:
    # Packages of one release differ in whether they already name /usr/bin or still /bin.
    for candidate in (program, str(PurePosixPath(program).relative_to("usr"))):
        if (unpacked / candidate).is_file():
            return unpacked / candidate
    raise EmulatorError(f"no package of the emulated board holds /{program}")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
