"""A private apt: Debian source archives and ``.deb`` files without touching the host's own apt.

Each (suite, kind) pair has a root of its own in the cache, with its own lists and settings, so a
step downloads only the indices that it needs. The host's apt tells the mirror and the proxy;
its sources, architectures and state stay as they are. Every file is checked against a SHA-256:
the pinned one, or the one in the index that apt verified with Debian's key.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from toolchain import children
from toolchain.errors import MissingToolError, SourceError
from toolchain.fetch import unpack
from toolchain.fetch.archive import check_sha256, take_cached
from toolchain.hardware.facts import DebArch
from toolchain.hints import apt_line
from toolchain.progress import Progress, Silent, Stage
from toolchain.storage.cache import cache_dir, digest, hold, locked, sha256_file
from toolchain.storage.scratch import scratch_folder

MIRROR_VARIABLE = "TILESKIP_DEBIAN_MIRROR"
INDEX_LIFETIME_S = 24 * 3600
_APT_S = 600.0
"""Seconds in which apt has to tell something."""
_ATTEMPTS = 3
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_FETCH_FAILED = re.compile(r"^(?:E: |W: (?=Failed to fetch|Some index files))(.+)$", re.M)
_VERSION = re.compile(r"[A-Za-z0-9.+:~-]+")


class AptRoot:
    """Fetches from Debian's archive into ``<cache>/archives``.

    Args:
        progress: where downloads are announced.
        sources: a folder of archives that the user gives; looked into first, by file name. With
            it, an archive that is not there is still asked of apt if apt exists.

    Raises:
        SourceError: from every method, when a file cannot be had or is not the expected one.
        MissingToolError: from every method that needs apt on a machine without it.
    """

    def __init__(self, progress: Progress | None = None, *, sources: Path | None = None) -> None:
        self._progress: Progress = progress or Silent()
        self._given = sources
        self._fresh: set[tuple[str, str]] = set()

    # --- source archives ---------------------------------------------------------------------

    def fetch_source(
        self, package: str, version: str, filename: str, sha256: str, *, suite: str = "trixie"
    ) -> Path:
        """The upstream tarball of a Debian source package.

        Any revision of the package will do whose tarball has this name and hash, for suites
        such as sid move on.

        Args:
            package: source package name, ``xnnpack``.
            version: the Debian version that was pinned.
            filename: the tarball's name in the archive.
            sha256: its pinned hash.
            suite: the Debian suite that has it.

        Returns:
            The checked archive in the cache.
        """
        cached = take_cached(filename, sha256, self._given)
        if cached:
            return cached
        root = self._root(suite, "source")
        shown = _run_apt(root, "apt-cache", "showsrc", "--only-source", package, check=False)
        found = _source_versions(shown, filename, sha256)
        if not found:
            known = ", ".join(re.findall(r"^Version: (.+)$", shown, re.M)) or "none"
            raise SourceError(
                f"{filename}: no version of source package '{package}' in {suite} has this file "
                f"with SHA-256 {sha256} (wanted {version}; there: {known})",
                hint="get the archive elsewhere and name its folder with --sources DIR",
            )
        chosen = version if version in found else found[0]
        command = ("apt-get", "source", "--download-only", "--tar-only", f"{package}={chosen}")
        return self._download(root, command, filename, sha256)

    # --- binary packages ---------------------------------------------------------------------

    def fetch_debs(
        self,
        packages: Sequence[str],
        *,
        arch: DebArch,
        suite: str,
        pins: Mapping[str, str] | None = None,
    ) -> list[Path]:
        """Binary packages, named ``name`` or ``name=version``; no dependency is added.

        Args:
            packages: what to fetch; the result has the same order.
            arch: their architecture; packages for all architectures are found under either.
            suite: the Debian suite to take them from.
            pins: file name to SHA-256. A pinned file in the cache needs no index, so no network.

        Returns:
            The checked ``.deb`` files in the cache.
        """
        by_package = {name.split("_", 1)[0]: (name, pin) for name, pin in (pins or {}).items()}
        return [
            self._fetch_deb(item, arch, suite, by_package.get(item.split("=", 1)[0]))
            for item in packages
        ]

    def _fetch_deb(self, item: str, arch: DebArch, suite: str, pin: tuple[str, str] | None) -> Path:
        if pin:
            cached = take_cached(*pin, self._given)
            if cached:
                return cached
        name, _, version = item.partition("=")
        if not _PACKAGE_NAME.fullmatch(name) or (version and not _VERSION.fullmatch(version)):
            raise SourceError(f"'{item}' is not a Debian package name")
        root = self._root(suite, arch)
        shown = _run_apt(root, "apt-cache", "show", "--no-all-versions", item, check=False)
        filename, listed = _field(shown, "Filename"), _field(shown, "SHA256")
        if not filename or not listed:
            raise SourceError(
                f"package '{item}' for {arch} is not in Debian {suite}",
                hint=f"delete {root.parent} if Debian has moved on, to fetch its index again",
            )
        base = Path(filename).name
        if pin and pin != (base, listed):
            raise SourceError(
                f"{pin[0]}: Debian {suite} now has {base} with SHA-256 {listed}, "
                f"pinned is {pin[1]}",
                hint="get the pinned file elsewhere and name its folder with --sources DIR",
            )
        cached = take_cached(base, listed, self._given)
        if cached:
            return cached
        return self._download(root, ("apt-get", "download", item), base, listed)

    # --- the machinery -----------------------------------------------------------------------

    def _root(self, suite: str, kind: str) -> Path:
        """The ``apt.conf`` of the root for one suite and kind, its index at most a day old."""
        _require_apt()
        mirror = debian_mirror()
        key = f"{suite}-{kind}-{digest(mirror)[:8]}"
        folder = cache_dir() / "apt" / key
        conf = folder / "apt.conf"
        if (suite, kind) in self._fresh:
            return conf
        folder.mkdir(parents=True, exist_ok=True)
        hold(folder)
        stamp = folder / "updated"
        with locked(f"apt-{key}"):
            if not stamp.is_file() or time.time() - stamp.stat().st_mtime > INDEX_LIFETIME_S:
                _write_root(folder, mirror, suite, kind)
                self._update(conf, stamp, f"Debian {suite} {kind} index")
        self._fresh.add((suite, kind))
        return conf

    def _update(self, conf: Path, stamp: Path, title: str) -> None:
        with self._progress.stage(title, total=100) as stage:
            result = _with_status(conf, ("apt-get", "update"), stage, None)
            # apt-get update ends with 0 and a warning when an index could not be fetched.
            fault = _FETCH_FAILED.search(result.stderr)
            failed = result.returncode != 0 or fault is not None
        if not failed:
            stamp.touch()
        elif stamp.is_file():
            self._progress.note(f"{title} could not be renewed; the one of before is used")
        else:
            raise SourceError(
                f"{title} could not be fetched: {fault[1] if fault else result.stderr.strip()}",
                hint=f"check the network, or set {MIRROR_VARIABLE} to another Debian mirror",
            )

    def _download(self, conf: Path, command: Sequence[str], filename: str, sha256: str) -> Path:
        archives = cache_dir() / "archives"
        archives.mkdir(exist_ok=True)
        target = archives / filename
        problem = ""
        with locked(f"archive-{digest(filename)[:16]}"):
            if hold(target) and sha256_file(target) == sha256:
                return target  # another process was faster
            for attempt in range(_ATTEMPTS):
                if attempt:
                    time.sleep(2.0 * attempt)
                with (
                    scratch_folder(archives / "fetch") as scratch,
                    self._progress.stage(f"fetch {filename}", total=100) as stage,
                ):
                    result = _with_status(conf, command, stage, scratch)
                    got = next((p for p in scratch.iterdir() if p.is_file()), None)
                    if result.returncode == 0 and got:
                        check_sha256(got, sha256, name=filename)
                        got.replace(target)
                        hold(target)
                        return target
                    fault = _FETCH_FAILED.search(result.stderr)
                    problem = fault[1] if fault else f"{command[0]} fetched nothing"
        raise SourceError(
            f"{filename} could not be fetched: {problem}",
            hint="check the network, or get the file elsewhere and name its folder "
            "with --sources DIR",
        )


def require_tools() -> None:
    """Check that all that fetches and unpacks is on this machine; nothing is fetched.

    Raises:
        MissingToolError: apt, ``dpkg-deb`` or the keys of Debian's archive are not.
    """
    _require_apt()
    _dpkg_deb()
    _keyring()


def _require_apt() -> None:
    for tool in ("apt-get", "apt-cache", "apt-config"):
        if not shutil.which(tool):
            raise MissingToolError(
                f"{tool} is not here, so nothing can be fetched from Debian",
                hint="name a folder that holds the archives with --sources DIR",
            )


def _dpkg_deb() -> str:
    tool = shutil.which("dpkg-deb")
    if not tool:
        raise MissingToolError(
            "dpkg-deb is not here, so .deb files cannot be unpacked", hint="install dpkg"
        )
    return tool


def _keyring() -> Path:
    keyring = next((path for path in _KEYRINGS if path.is_file()), None)
    if keyring is None:
        raise MissingToolError(
            "the keys of Debian's archive are not here", hint=apt_line("debian-archive-keyring")
        )
    return keyring


def debian_mirror(*, limit: float = _APT_S) -> str:
    """The Debian mirror to use: ``$TILESKIP_DEBIAN_MIRROR``, or the one that the host's apt uses.

    Args:
        limit: seconds that apt may take to tell it.

    Raises:
        SourceError: the host is no Debian and the variable is not set, or apt does not tell.
    """
    chosen = os.environ.get(MIRROR_VARIABLE)
    if chosen:
        if not re.fullmatch(r"(https?|file):/[^\s\[\]]+", chosen):
            raise SourceError(
                f"{MIRROR_VARIABLE} is '{chosen}', which is no http(s) or file address"
            )
        return chosen.rstrip("/")
    # apt reads both styles of source lists itself, so none is parsed here.
    listed = _run_host("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)",
                       "Created-By: Packages", limit=limit)  # fmt: skip
    for line in listed.splitlines():
        address, _, origin = line.partition(" ")
        uri = address.rstrip("/")
        debian = origin == "Debian" or uri.endswith("/debian")
        if debian and "security" not in uri and uri.startswith(("http:", "https:", "file:")):
            return uri
    raise SourceError(
        "the host's apt names no Debian mirror",
        hint=f"set {MIRROR_VARIABLE} to the address of one, or use --sources DIR",
    )


def unpack_deb(deb: Path, dest: Path, *, without: Collection[str] = ()) -> None:
    """Unpack the files of a ``.deb`` into a folder; paths that leave it are refused.

    Args:
        deb: the package.
        dest: made if it is not there.
        without: names of files to leave out, ``./usr/bin/x``.

    Raises:
        SourceError: not a ``.deb``, a damaged one, or one with a path that is not safe.
        OSError: the disk is full.
        MissingToolError: there is no ``dpkg-deb``.
    """
    tool = _dpkg_deb()
    dest.mkdir(parents=True, exist_ok=True)
    with (
        subprocess.Popen(
            [tool, "--fsys-tarfile", str(deb)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as process,
        children.Watchdog(children.WORK_S, lambda: children.kill_group(process)),
    ):
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 (pipes were asked for)
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                unpack.extract(archive, dest, lambda one: None if one.name in without else one)
            while process.stdout.read(1 << 16):
                pass  # the end of the archive is padding
        except Exception as error:
            children.kill_group(process)
            raise unpack.failure(deb.name, error) from error
        except BaseException:
            children.kill_group(process)
            raise
        said = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise SourceError(f"{deb.name} cannot be unpacked: {_last_line(said)}")


def _write_root(folder: Path, mirror: str, suite: str, kind: str) -> None:
    keyring = _keyring()
    for name in ("etc/preferences.d", "etc/apt.conf.d", "state/lists/partial",
                 "cache/archives/partial"):  # fmt: skip
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "state/status").touch()
    line = "deb-src" if kind == "source" else "deb"
    options = f"signed-by={keyring}" + ("" if kind == "source" else f" arch={kind}")
    (folder / "etc/sources.list").write_text(f"{line} [{options}] {mirror} {suite} main\n")
    arch = "amd64" if kind == "source" else kind
    settings = {
        "Dir": folder,
        "Dir::Etc": "etc",
        "Dir::State": "state",
        "Dir::State::status": folder / "state/status",
        "Dir::Cache": "cache",
        "Dir::Log": "state",
        "APT::Architecture": arch,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::Check-Valid-Until": "false",  # every file is pinned by its hash anyway
        "Acquire::AllowReleaseInfoChange": "true",
    }
    lines = [f'{key} "{value}";' for key, value in settings.items()]
    lines.append(f'APT::Architectures {{ "{arch}"; }};')
    lines += [line for line in _host_proxies() if line.endswith(";")]
    (folder / "apt.conf").write_text("\n".join(lines) + "\n")


def _host_proxies() -> list[str]:
    dump = _run_host("apt-config", "dump", "Acquire::http", "Acquire::https")
    return [line for line in dump.splitlines() if re.match(r'Acquire::https?::\S+ ".+";$', line)]


def _environment(conf: Path) -> dict[str, str]:
    return {**os.environ, "APT_CONFIG": str(conf), "LC_ALL": "C.UTF-8"}


def _run_host(*command: str, limit: float = _APT_S) -> str:
    """What the host's own apt, untouched, prints."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    result = children.run(command, limit=limit, fault=SourceError, env=environment)
    return _output(command, result)


def _run_apt(conf: Path, *command: str, check: bool = True) -> str:
    result = children.run(command, limit=_APT_S, fault=SourceError, env=_environment(conf))
    return _output(command, result) if check else result.stdout


def _output(command: Sequence[str], result: subprocess.CompletedProcess[str]) -> str:
    if result.returncode:
        said = _last_line(result.stderr) or f"exit code {result.returncode}"
        raise SourceError(f"{' '.join(command)} failed: {said}")
    return result.stdout


def _with_status(
    conf: Path, command: Sequence[str], stage: Stage, cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    """Run apt and move the bar by what it writes to its status file descriptor (percent)."""
    reader, writer = os.pipe()
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(
                [*command, "-q", "-o", f"APT::Status-Fd={writer}"],
                env=_environment(conf), cwd=cwd or conf.parent, pass_fds=(writer,),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                process_group=0,
            )  # fmt: skip
            os.close(writer)
            writer = -1
            done = 0.0
            try:
                with (
                    os.fdopen(reader, encoding="utf-8", errors="replace") as status,
                    children.Watchdog(_APT_S, lambda: children.kill_group(process)) as watchdog,
                ):
                    reader = -1
                    for line in status:
                        watchdog.alive()
                        part = line.split(":")
                        if part[0] == "dlstatus" and len(part) > 2:
                            percent = min(float(part[2]), 100.0)
                            if percent > done:
                                stage.advance(percent - done)
                                done = percent
                    process.wait()
            except BaseException:
                children.kill_group(process)
                raise
            if watchdog.bit:
                raise children.time_up(command[0], _APT_S, SourceError, silent=True)
            if process.returncode == 0:
                stage.advance(100.0 - done)
            errors.seek(0)
            return subprocess.CompletedProcess(
                process.args, process.returncode, stderr=errors.read()
            )
    finally:
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)


def _source_versions(showsrc: str, filename: str, sha256: str) -> list[str]:
    """The versions whose stanza lists ``filename`` with this hash."""
    wanted = re.compile(rf"^ {re.escape(sha256)} \d+ {re.escape(filename)}$", re.M)
    stanzas = showsrc.split("\n\n")
    return [_field(text, "Version") for text in stanzas if wanted.search(text)]


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", stanza, re.M)
    return found[1].strip() if found else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
