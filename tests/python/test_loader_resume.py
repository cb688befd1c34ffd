# SPDX-License-Identifier: Apache-2.0
"""Proves that an epoch goes on from a saved state in a new loader with each batch once, in the
order of the run that was not interrupted, and the epochs after it as well."""
import io
import itertools

import loader_data as data
import numpy as np
import pytest
import slipring.torch
import torch
import torch.utils.data as tud

Ours = slipring.torch.DataLoader


def stored(state):
    """A state as it comes back from a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def firsts(batches):
    return [int(b[0].reshape(-1)[0]) for b in batches]


SAMPLERS = {
    "sequential": lambda g: {},
    "shuffle": lambda g: dict(shuffle=True),
    "generator": lambda g: dict(shuffle=True, generator=g),
    "sampler": lambda g: dict(sampler=tud.RandomSampler(range(40), generator=g)),
    "weighted": lambda g: dict(sampler=tud.WeightedRandomSampler([1.0] * 40, 40, generator=g)),
    "distributed": lambda g: dict(sampler=tud.DistributedSampler(range(40), 2, 1, seed=3)),
}


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("workers, persistent", [(0, False), (2, False), (1, True)])
def test_resume(kind, workers, persistent):
    def loader(seed):
        generator = torch.Generator().manual_seed(seed)
        return Ours(data.Images(40), 3, num_workers=workers, persistent_workers=persistent,
                    **SAMPLERS[kind](generator))

    torch.manual_seed(11)
    whole = loader(1)
    if kind == "distributed":
        whole.sampler.set_epoch(4)
    epochs = [firsts(whole) for _ in range(3)]
    for stop_epoch, stop in ((0, 0), (0, 1), (0, 4), (1, 3), (1, len(epochs[0]))):
        torch.manual_seed(11)
        first = loader(1)
        if kind == "distributed":
            first.sampler.set_epoch(4)
        for _ in range(stop_epoch):
            list(first)
        iterator = iter(first)
        head = firsts(itertools.islice(iterator, stop))
        state = stored(first.state_dict())
        assert head == epochs[stop_epoch][:stop]
        del iterator, first
        second = loader(99)
        torch.manual_seed(500)  # the new process's own
        before = torch.get_rng_state()
        second.load_state_dict(state)
        rest = firsts(second)
        assert rest == epochs[stop_epoch][stop:], (stop_epoch, stop)
        assert torch.equal(torch.get_rng_state(), before) or workers == 0
        if kind in ("generator", "sampler") and stop_epoch == 1:
            assert firsts(second) == epochs[2]


def test_resume_twice_and_at_the_end():
    def loader():
        return Ours(data.Images(40), 3, shuffle=True, num_workers=1,
                    generator=torch.Generator().manual_seed(4))

    whole = loader()
    epochs = [firsts(whole), firsts(whole)]
    first = loader()
    assert first.state_dict() == {"version": 1}
    seen = firsts(itertools.islice(iter(first), 3))
    second = loader()
    second.load_state_dict(first.state_dict())
    seen += firsts(itertools.islice(iter(second), 4))
    third = loader()
    third.load_state_dict(second.state_dict())
    assert third.state_dict() == second.state_dict()
    seen += firsts(third)
    assert seen == epochs[0]
    fourth = loader()
    fourth.load_state_dict(third.state_dict())
    assert firsts(fourth) == epochs[1]


def test_passed_over_batches_are_not_fetched():
    loader = Ours(data.Failing(2, count=40), 4, num_workers=1)
    iterator = iter(loader)
    with pytest.raises(ValueError):
        next(iterator)
    next(iterator)
    again = Ours(data.Failing(2, count=40), 4, num_workers=1)
    again.load_state_dict(loader.state_dict())
    assert firsts(again) == list(range(8, 40, 4))


@pytest.mark.parametrize("dataset", [data.Stream, data.Counting])
@pytest.mark.parametrize("workers, persistent", [(0, False), (1, False), (3, False), (2, True)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_iterable(dataset, workers, persistent):
    def loader():
        return Ours(dataset(61), 4, num_workers=workers, persistent_workers=persistent)

    whole = firsts(loader())
    for stop in (0, 1, 5, len(whole) - 2, len(whole), len(whole) + 1):
        first = loader()
        head = firsts(itertools.islice(iter(first), stop))
        second = loader()
        second.load_state_dict(stored(first.state_dict()))
        rest = firsts(second)
        if stop > len(whole):  # the end was seen: it is the next epoch that comes
            assert head == rest == whole
        else:
            assert head + rest == whole
        if persistent:
            assert firsts(second) == whole


def test_a_dataset_with_state_is_not_read_again():
    def loader():
        return Ours(data.Counting(60), 3, num_workers=2)

    first = loader()
    iterator = iter(first)
    for _ in range(9):
        next(iterator)
    second = loader()
    second.load_state_dict(stored(first.state_dict()))
    batches = list(second)
    assert max(int(b[:, 1].max()) for b in batches) == 18  # of 30 that each worker has in all


def test_out_of_order():
    loader = Ours(data.SlowFirst(24, 1.0), 2, num_workers=2, in_order=False)
    head = [int(b[0]) for b in itertools.islice(iter(loader), 4)]
    assert 0 not in head
    state = stored(loader.state_dict())
    for options in (dict(in_order=False), dict()):
        again = Ours(data.SlowFirst(24, 0.0), 2, num_workers=2, **options)
        again.load_state_dict(state)
        assert sorted(head + [int(b[0]) for b in again]) == list(range(0, 24, 2))


def test_a_state_that_does_not_fit():
    loader = Ours(data.Images(), 4)
    next(iter(loader))
    state = loader.state_dict()
    with pytest.raises(ValueError, match="batch_size 4"):
        Ours(data.Images(), 5).load_state_dict(state)
    with pytest.raises(ValueError, match="another kind"):
        Ours(data.Stream(), 4).load_state_dict(state)
    with pytest.raises(ValueError, match="version"):
        Ours(data.Images(), 4).load_state_dict({})
    loader = Ours(data.Stream(), 4, num_workers=1)
    next(iter(loader))
    with pytest.raises(ValueError, match="num_workers 1"):
        Ours(data.Stream(), 4, num_workers=2).load_state_dict(loader.state_dict())


def test_numpy_and_python_states_are_put_back():
    loader = Ours(data.Images(), 4, shuffle=True, num_workers=1)
    next(iter(loader))
    again = Ours(data.Images(), 4, shuffle=True, num_workers=1)
    again.load_state_dict(loader.state_dict())
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    list(again)
    assert np.random.random() == expected
