# SPDX-License-Identifier: Apache-2.0
"""Proves that slipring.torch.DataLoader gives the batches of torch's DataLoader, in its order and
from its seeds, for every kind of sampler, many options and datasets."""
import loader_data as data
import pytest
import torch.utils.data as tud

OPTIONS = [
    dict(batch_size=7),
    dict(batch_size=7, drop_last=True),
    dict(batch_size=7, shuffle=True),
    dict(batch_size=7, shuffle=True, generator=3),
    dict(batch_size=5, shuffle=True, generator=3, epochs=3),
    dict(batch_size=5, shuffle=True, generator=3, epochs=3, persistent_workers=True),
    dict(batch_size=5, shuffle=True, epochs=2, prefetch_factor=5),
    dict(batch_size=1),
    dict(batch_size=100),
    dict(batch_size=None),
    dict(batch_size=None, shuffle=True),
    dict(batch_size=4, sampler_of=lambda d: dict(sampler=[3, 1, 4, 1, 5, 9, 2, 6])),
    dict(sampler_of=lambda d: dict(batch_sampler=[[3, 1], [4], [1, 5, 9]])),
    dict(batch_size=3, sampler_of=lambda d: dict(
        sampler=tud.WeightedRandomSampler([1.0] * len(d), 20, replacement=True))),
    dict(batch_size=3, sampler_of=lambda d: dict(
        sampler=tud.RandomSampler(d, replacement=True, num_samples=50))),
]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_equal(options, workers):
    options = dict(options)
    if workers == 0:
        options.pop("persistent_workers", None)
        options.pop("prefetch_factor", None)
    dataset = data.Images()
    data.compare(dataset, num_workers=workers, **options)


@pytest.mark.parametrize("dataset", [data.Mixed(), data.Half(), data.Seeds(),
                                     data.Images(shape=(3, 64, 64)), data.Images(shape=()),
                                     data.Images(shape=(0, 3))], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("workers", [1, 2])
def test_datasets(dataset, workers):
    data.compare(dataset, batch_size=6, num_workers=workers, shuffle=True, epochs=2)
    data.compare(dataset, batch_size=None, num_workers=workers, generator=9, shuffle=True)
