"""What ``deploy profile`` keeps of a run besides ``--output``: a folder of files, a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.options import wrong_use
from toolchain.cli.output import note

if TYPE_CHECKING:  # pydantic is slow to import, and help needs none of it
    from toolchain.failures import Failures
    from toolchain.profile.document import Profile


@dataclass(frozen=True)
class Kept:
    """What was asked for.

    Args:
        save: the folder for files of the run.
        history: the file that a line is added to; the user's own one if ``None``.
        no_history: whether none is.

    Raises:
        typer.BadParameter: a history is asked for, and none.
    """

    save: Path | None
    history: Path | None
    no_history: bool

    def __post_init__(self) -> None:
        if self.history is not None and self.no_history:
            raise wrong_use("--no-history", "and --history are one too many; leave one away")

    def check(self, *, inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
        """Look at the places before anything is measured.

        Args:
            inputs: files that the command reads.
            outputs: other files that it writes.

        Raises:
            OutputError: one cannot be written.
        """
        from toolchain.errors import OutputError
        from toolchain.profile import history
        from toolchain.profile.export import saved_run
        from toolchain.storage.files import same_place

        beside = list(outputs)
        if self.history is not None:
            history.check_path(self.history, inputs=inputs)
            if any(same_place(self.history, other) for other in outputs):
                raise OutputError(
                    f"{self.history}: is to be replaced by another result of this command",
                    hint="give one of the two another name",
                )
            beside.append(self.history)
        if self.save is not None:
            saved_run.check_save(self.save, outputs=beside)

    def write(self, measured: Profile, models: Sequence[Path], failures: Failures) -> None:
        """Write them; what cannot be written is told when all is done.

        Args:
            measured: the profile. One whose work was ended before its end is in no history.
            models: the files that it is of.
            failures: is told of what cannot be written.
        """
        with failures.kept():  # an interrupt: what was measured is shown all the same
            folder = self._save(measured, models, failures)
            if not self.no_history and failures.stopped is None:
                self._append(measured, folder, failures)

    def _save(self, measured: Profile, models: Sequence[Path], failures: Failures) -> Path | None:
        from toolchain.profile.export import saved_run

        if self.save is None:
            return None
        with failures.of_output(self.save):
            saved = saved_run.save(self.save, measured, models)
            for line in saved.notes:
                note(line, style="yellow")
            return saved.folder
        return None

    def _append(self, measured: Profile, folder: Path | None, failures: Failures) -> None:
        from toolchain.errors import DeployError
        from toolchain.profile import history

        if self.history is not None:
            with failures.of_output(self.history):
                history.append(self.history, measured, folder)
            return
        try:
            history.append(history.default_path(), measured, folder)
        except DeployError as error:  # nobody asked for this one
            note(f"history: {error.what}; --no-history writes none", style="yellow")
