import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts import Split
from harness.training.batches import TrainingBatches
from harness.training.seeds import derive_seed, seed_everything

few = settings(max_examples=25, deadline=None)


def numbered(clips: int, length: int, lengths=None) -> Split:
    """Token = 1 + clip * length + position, so that every token says where it is from."""
    tokens = 1 + np.arange(clips * length, dtype=np.int32).reshape(clips, length)
    lengths = np.full(clips, length) if lengths is None else np.asarray(lengths)
    return Split(tokens=tokens, lengths=lengths.astype(np.int64))


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@few
@given(clips=st.integers(1, 12), batch=st.integers(1, 7), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_epoch_visits_every_clip_once_and_batches_keep_their_size(clips, batch, epochs, seed):
    batches = TrainingBatches(numbered(clips, 4), batch_size=batch, crop=None, seed=seed)
    count = -(-clips * epochs // batch)
    drawn = [batches[n][0] for n in range(count)]
    assert all(tokens.shape == (batch, 4) for tokens in drawn)
    visited = (torch.cat(drawn)[:, 0] // 4)[: clips * epochs].view(epochs, clips)
    assert torch.equal(visited.sort(dim=1).values, torch.arange(clips).expand(epochs, -1))


@few
@given(lengths=sizes, crop=st.integers(2, 12), seed=st.integers(0, 99))
def test_crops_lie_inside_the_true_clip_are_full_where_they_can_be_and_padded_with_zeros(lengths, crop, seed):
    split = numbered(len(lengths), 9, lengths)
    tokens, found = TrainingBatches(split, batch_size=len(lengths), crop=crop, seed=seed)[0]
    assert tokens.shape[1] == min(crop, 9)
    for row, length in zip(tokens.tolist(), found.tolist(), strict=True):
        clip, start = divmod(row[0] - 1, 9)
        assert length == min(crop, lengths[clip])
        assert row[:length] == split.tokens[clip, start : start + length].tolist()
        assert start + length <= lengths[clip]
        assert not any(row[length:])


def test_every_start_of_a_crop_is_drawn_about_equally_often():
    split = numbered(1, 8)
    batches = TrainingBatches(split, batch_size=3000, crop=4, seed=1)
    starts = np.bincount(batches[0][0][:, 0].numpy() - 1)
    assert len(starts) == 5 and starts.min() > 500


@few
@given(seed=st.integers(0, 9), order=st.permutations(range(9)))
def test_a_batch_is_the_same_whenever_it_is_asked_for(seed, order):
    split = numbered(5, 6)
    first = TrainingBatches(split, batch_size=2, crop=3, seed=seed)
    again = TrainingBatches(split, batch_size=2, crop=3, seed=seed)
    expected = [first[n][0] for n in range(9)]
    for n in order:
        assert torch.equal(again[n][0], expected[n])


def test_the_order_depends_on_the_seed_alone_not_on_what_a_model_draws():
    split = numbered(50, 6)
    seed_everything("initialisation", 3)
    one = TrainingBatches(split, batch_size=50, crop=3, seed=3)[2][0]
    seed_everything("initialisation", 4)
    torch.randn(1000)
    assert torch.equal(one, TrainingBatches(split, batch_size=50, crop=3, seed=3)[2][0])
    assert not torch.equal(one, TrainingBatches(split, batch_size=50, crop=3, seed=4)[2][0])


def test_the_order_does_not_depend_on_the_batch_size():
    split = numbered(10, 6)
    small = TrainingBatches(split, batch_size=2, crop=3, seed=0)
    large = TrainingBatches(split, batch_size=6, crop=3, seed=0)
    assert torch.equal(torch.cat([small[n][0] for n in range(6)]), torch.cat([large[n][0] for n in range(2)]))


def test_a_memory_mapped_split_is_read_row_by_row(tmp_path):
    path = tmp_path / "tokens.npy"
    np.save(path, numbered(20, 50).tokens)
    read = []

    class Watched:
        def __init__(self):
            self.map = np.load(path, mmap_mode="r", allow_pickle=False)
            self.shape, self.dtype = self.map.shape, self.map.dtype

        def __getitem__(self, index):
            rows = self.map[index]
            read.append(rows.size)
            return rows

    split = Split(tokens=Watched(), lengths=np.full(20, 50))
    TrainingBatches(split, batch_size=3, crop=5, seed=0)[0]
    assert read == [5, 5, 5]


def test_purposes_and_numbers_have_seeds_of_their_own():
    seeds = {derive_seed(p, n) for p in ("data", "initialisation", "training") for n in range(50)}
    assert len(seeds) == 150 and all(0 <= s < 2**63 for s in seeds)
    assert derive_seed("data", 1, 23) != derive_seed("data", 12, 3)
    assert derive_seed("data", 0) == 398612900817863660, "a change here changes every result"
