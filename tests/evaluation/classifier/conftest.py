"""A data set of three tones, and where what is learnt from it is kept."""

import pytest
import torch
from tones import make_dataset

from harness.evaluation.classifier.settings import settings_of

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def quick():
    """Settings under which three tones are told apart in a second or two."""
    return settings_of({"name": "small", "width": 4, "epochs": 10, "batch_size": 12, "learning_rate": 0.02})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of this module's own, so that its tests can share what was trained."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("HARNESS_CACHE", str(folder))
        yield folder


@pytest.fixture
def dataset():
    return make_dataset
