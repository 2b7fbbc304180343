"""Files of any name, and pushes of one file at once: kind 13."""

from __future__ import annotations

import shutil

import numpy as np

from faults.bench import LIMIT_S, Bench, bench, chance
from faults.fault import Fault, Place
from faults.transport import met
from support.bundles import write_masked_model
from support.ssh_user import Begun
from toolchain.storage.cache import sha256_file

_PIECES = (
    " ", "  a", "'", '"', "\n", "-", "--", "$(touch owned)", "`touch owned`", ";", "&", "*", "?",
    "[x]", "\\", "%s", "\t", "é", "模型", "🙂", "~", "#", "!", "|", ">", "=", "@", ":", "\r",
    "\x1b[2J",
)  # fmt: skip


def odd_name(place: Place, number: int) -> str:
    """A model of a name that shells, terminals or options would take for something."""
    made, drawn = bench(place), chance("name", number)
    name = "".join(drawn.sample(_PIECES, drawn.randrange(1, 6))) + ".tflite"
    if number % 3 == 0:
        name = f"-{name}"
    folder = place.fresh(number)
    model = write_masked_model(folder / name, size=8, channels=2, seed=number)
    word = [str(model), f"./{name}"][number % 2]
    made.prepare("push")
    made.forget_results()
    shutil.copyfile(model, made.user.work / name)
    images = folder / "8.npy"
    np.save(images, np.zeros((2, 8, 8, 3), np.float32))
    found = []
    try:
        for command in ("push", "run", "verify", "profile"):
            words = _of(made, command, word, str(images))
            done = made.user.begin(*words).end(LIMIT_S)
            if done.returncode:
                found.append(f"{command} ended with {done.returncode}: {done.stderr[-300:]}")
            found += made.told(done.stderr + done.stdout)
        there = made.user.board / "tileskip/models" / sha256_file(model)[:16] / name
        if not there.is_file() or there.read_bytes() != model.read_bytes():
            found.append("it does not lie there under its name")
        done = made.begin("clean").end(LIMIT_S)
        if done.returncode or made.stored():
            found.append(f"clean ended with {done.returncode}, and left it: {done.stderr[-300:]}")
        found += made.told(done.stderr + done.stdout)
    finally:
        (made.user.work / name).unlink()
    made.forget_results()
    places = (made.user.board, made.user.work, made.user.home)
    if any(path.name == "owned" for one in places for path in one.rglob("*")):
        found.append("a part of the name was run")
    return "; ".join(f"{name!r}: {it}" for it in [*found, *made.after("push")])


def _of(made: Bench, command: str, model: str, images: str) -> list[str]:
    """The words of a command, for another model."""
    words = made.words(command)
    words[words.index("m.tflite")] = model
    if command == "run":
        words[words.index("x.npy")] = images
    return words


def two_pushes(place: Place, number: int) -> str:
    """Another push of the same files begins at a byte of the first; one of them may be killed."""
    made, others = bench(place), list[Begun]()
    kills = number % 3

    def another(first: Begun) -> None:
        others.append(made.user.begin(*made.words("push"), into="-other"))
        if kills == 1:
            first.kill()

    with met(made, "push", "none", "two", number, act=another) as (done, point):
        (other,) = others
        if kills == 2:
            other.kill()
        ended = other.end(LIMIT_S)
    found = []
    if kills != 1:
        found += made.success("push", done)
    if kills != 2:
        found += made.success("push", ended)
    return "; ".join(f"at {point}: {it}" for it in [*found, *made.after("push")])


FAULTS = (
    Fault("a model with an odd name", 13, 20, "unit/board/test_remote_names.py", odd_name, 400.0,
          cheap=False),
    Fault("two pushes of one file at once", 13, 18, "unit/board/test_transfer.py", two_pushes,
          400.0, cheap=False),
)  # fmt: skip
