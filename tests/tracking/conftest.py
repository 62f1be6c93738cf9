"""A trial's folder as a training leaves it, and what trackers have made of it."""

import struct
from dataclasses import replace

import pytest

from harness.store.record import LANES, Record, write_record
from harness.suite.trial import Trial
from harness.training.history import HISTORY, HistoryRow, write_history

CONFIG = {
    "model": {"name": "tiny", "width": 4, "pooling": [2, 4]},
    "data": {"name": "digits"},
    "train": {"steps": 20, "learning_rate": 2e-3},
    "measure": [],
}


def _row(step):
    return HistoryRow(
        step=step,
        seconds=step / 10,
        tokens=16 * step,
        learning_rate=2e-3,
        nll_bits_train=5 - step / 10 if step else float("nan"),
        nll_bits_validation=5.5 - step / 10,
    )


@pytest.fixture
def trial():
    return Trial("pooling=[2,4]", 1, CONFIG)


@pytest.fixture
def leave(tmp_path, trial):
    """Write history, and a record unless the trial is still being trained; its folder."""

    def leave(steps=(0, 10, 20), record=True, status="ok", **columns):
        folder = tmp_path / "trials" / trial.folder_name
        folder.mkdir(parents=True, exist_ok=True)
        write_history(folder / HISTORY, [_row(step) for step in steps])
        if record:
            columns = {"nll_bits_test": 3.5, "device_name": "a CPU", "fid": float("nan"), **columns}
            left = Record.failure(trial, status, "" if status == "ok" else "it broke", columns=columns)
            write_record(folder / "record.json", replace(left, lanes=LANES))
        return folder

    return leave


@pytest.fixture(scope="session")
def events():
    """Of a TensorBoard folder: tag -> [(step, value)] of the scalars, and the tags of all else."""
    from tensorboardX.proto.event_pb2 import Event

    def events(folder):
        scalars, others = {}, set()
        (file,) = folder.glob("events*")
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    scalars.setdefault(value.tag, []).append((event.step, round(value.simple_value, 6)))
                else:
                    others.add(value.tag)
        return scalars, others

    return events
