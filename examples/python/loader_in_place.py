# SPDX-License-Identifier: Apache-2.0
"""A dataset that writes its samples where the training loop reads them: once, and never again."""
import numpy as np
import slipring.torch
import torch


class Frames(torch.utils.data.Dataset):
    """Frames of a recording, as a camera or a decoder would hand them over."""

    def __len__(self):
        return 256

    def __getitem__(self, index):  # says what a sample is like; used for a worker's first batch
        out = np.empty((64, 64, 3), np.uint8), np.empty((), np.float64)
        self.getitem_into(index, out)
        return out

    def getitem_into(self, index, out):  # out: this sample's row of the batch
        frame, time = out
        frame[...] = index % 256
        time[...] = index / 30


def main():
    loader = slipring.torch.DataLoader(Frames(), batch_size=16, num_workers=1)
    seen = 0
    for frames, times in loader:
        assert frames.shape == (16, 64, 64, 3) and frames.dtype == torch.uint8
        assert torch.equal(frames[:, 0, 0, 0].double() / 30, times)
        seen += len(frames)
    assert seen == 256
    print(loader.report())


if __name__ == "__main__":
    main()
