"""TensorBoard: the run's folder is a run of `tensorboard --logdir`, its tags as the user names them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notifybot.clock import SYSTEM
from notifybot.events import EpochFinished, Event
from notifybot.trackers.base import TrackerContext
from notifybot.types import Param, Status

_PREFIX = "events.out.tfevents."


class TensorBoardTracker:
    """Writes an epoch's metrics as one event, at the epoch's label as step, flushed before `record` returns.

    A resumed run hides what an earlier session wrote from `purge_from` on, or from the first epoch that is replayed:
    nothing is taken out of the earlier files, but TensorBoard and its EventAccumulators show each step once.
    The hyper-parameters go into the same folder with the first epoch; `SummaryWriter.add_hparams` would make a second
    run in a sub-folder of its own. W&B's `sync_tensorboard` does not see these files, whenever it is switched on: a
    second folder would rename the user's tags, and W&B has our numbers already.
    """

    name = "tensorboard"

    def __init__(self, writer: Any, params: dict[str, Param]) -> None:
        self.writer = writer  #: the raw torch.utils.tensorboard.SummaryWriter, for histograms, graphs, images, meshes
        self._params = params
        self._session_end: Any = None
        self._closed = False

    @property
    def raw(self) -> Any:
        """The SummaryWriter."""
        return self.writer

    @classmethod
    def open(cls, context: TrackerContext) -> TensorBoardTracker:
        """Start an event file in the run's folder that TensorBoard reads after the existing ones."""
        _make_way(context.folder)
        return cls(_writer_class()(str(context.folder), purge_step=_purge_step(context)), context.params)

    def record(self, event: Event) -> None:
        """Write an epoch's metrics; other events hold no numbers."""
        if not isinstance(event, EpochFinished):
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        progress = event.progress
        if self._params and self._session_end is None:
            self._sum_up()
        values = [Summary.Value(tag=name, simple_value=each.value) for name, each in progress.metrics.items()]
        self.writer.file_writer.add_summary(Summary(value=values), progress.place, event.at.timestamp())
        self.writer.flush()

    def go_back(self, first: int) -> None:
        """Write a mark into the open files that hides their steps from `first` on, as a resumed run does."""
        self._session_end = None  # the hyper-parameters are at step 0, which may now be hidden
        self.writer.go_back(first)

    def close(self, status: Status) -> None:
        if self._closed:
            return
        self._closed = True
        # TensorBoard keeps the first ending that it reads, and an interrupted run is one that will go on.
        if self._session_end is not None and status is not Status.INTERRUPTED:
            from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE
            from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

            if status not in (Status.FINISHED, Status.STOPPED):  # torch only writes endings that are a success
                plugin = self._session_end.value[0].metadata.plugin_data
                content = HParamsPluginData.FromString(plugin.content)
                content.session_end_info.status = STATUS_FAILURE
                plugin.content = content.SerializeToString()
            self.writer.file_writer.add_summary(self._session_end)
        self.writer.close()

    def _sum_up(self) -> None:
        """Write the hyper-parameters, and no summary of the experiment.

        Of all runs below a folder TensorBoard takes one experiment's columns for the whole table; without any it shows
        every run's own (tensorboard/plugins/hparams/backend_context.py, `experiment_from_metadata`).
        """
        from torch.utils.tensorboard.summary import hparams

        _, start, self._session_end = hparams({name: _shown(value) for name, value in self._params.items()}, {})
        self.writer.file_writer.add_summary(start)


def _shown(value: object) -> Param:
    """Return a hyper-parameter for TensorBoard's table; a number that a double cannot hold becomes text."""
    if isinstance(value, int) and abs(value) > 2**53:
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _writer_class() -> Any:
    """SummaryWriter whose every file, those of `add_scalars` included, hides the steps that are written again.

    torch is imported here, so that a run without TensorBoard starts without it.
    """
    from tensorboard.compat.proto.event_pb2 import Event as Mark
    from tensorboard.compat.proto.event_pb2 import SessionLog
    from torch.utils.tensorboard import SummaryWriter, writer

    class PlainFileWriter(writer.FileWriter):  # type: ignore[misc]
        """Writes through TensorBoard's own class, even if W&B has patched it."""

        def __init__(self, log_dir: str, *options: Any) -> None:
            plain = getattr(writer, "orig_EventFileWriter", writer.EventFileWriter)
            self.event_writer = plain(str(log_dir), *options)

    class Writer(SummaryWriter):  # type: ignore[misc]
        all_writers: Any
        file_writer: Any

        def _get_file_writer(self) -> Any:
            if self.all_writers is None or self.file_writer is None:
                self.all_writers = {}
                self.file_writer = self._begin(self.log_dir, self.purge_step)
            return self.file_writer

        def add_scalars(self, main_tag: str, tag_scalar_dict: Any, *args: Any, **kwargs: Any) -> None:
            self._get_file_writer()
            for tag in tag_scalar_dict:
                folder = f"{self.log_dir}/{main_tag.replace('/', '_')}_{tag}"
                if folder not in self.all_writers:
                    _make_way(Path(folder))
                    self._begin(folder, self.purge_step if any(_event_files(Path(folder))) else 0)
            super().add_scalars(main_tag, tag_scalar_dict, *args, **kwargs)

        def _begin(self, folder: str, purge_step: int | None) -> Any:
            file = PlainFileWriter(folder, self.max_queue, self.flush_secs, self.filename_suffix)
            self.all_writers[folder] = file
            if purge_step is not None:
                file.add_event(Mark(step=purge_step, file_version="brain.Event:2"))
                self._hide(file, purge_step)
            return file

        def go_back(self, first: int) -> None:
            self._get_file_writer()
            for file in self.all_writers.values():
                self._hide(file, first)

        @staticmethod
        def _hide(file: Any, first: int) -> None:
            file.add_event(Mark(step=first, session_log=SessionLog(status=SessionLog.START)))

    return Writer


def _make_way(folder: Path) -> None:
    """See to it that a file begun now is read last: only then does it hide what earlier ones hold.

    TensorBoard reads a folder's files in the order of their names, which begin with the second they were begun in and
    go on with the process's number. So the second of the last one has to be over; and where it lies in the future,
    since another machine's clock was ahead, the file gets a name in the past.
    """
    now_s = SYSTEM.now().timestamp()
    late = sorted(each for each in _event_files(folder) if each[0] >= int(now_s))
    if late and late[-1][0] == int(now_s):
        SYSTEM.wait(threading.Event(), int(now_s) + 1 - now_s)
        return
    for place, (second, name) in enumerate(late):
        rest = name.removeprefix(f"{_PREFIX}{second:010d}")
        (folder / name).rename(folder / f"{_PREFIX}{int(now_s) - 1:010d}.{place:03d}{rest}")


def _event_files(folder: Path) -> Iterator[tuple[int, str]]:
    """The event files' seconds and names."""
    for path in folder.glob(f"{_PREFIX}*"):
        second = path.name.removeprefix(_PREFIX).partition(".")[0]
        if second.isdecimal():
            yield int(second), path.name


def _purge_step(context: TrackerContext) -> int | None:
    """The first step to be written again: replayed epochs may be in the file already, and must not be there twice.

    A run's first session says 0, although nothing is before it: TensorBoard takes the first such mark that it reads
    for the run's beginning, and only those after it for a resumption.
    """
    replayed = [event.progress.place for event in context.replay if isinstance(event, EpochFinished)]
    known = [] if context.purge_from is None else [context.purge_from]
    return min(replayed + known, default=None if any(_event_files(context.folder)) else 0)
