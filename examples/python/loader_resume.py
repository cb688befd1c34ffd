# SPDX-License-Identifier: Apache-2.0
"""Stops in the middle of an epoch and goes on there, in another loader; a worker is killed too."""
import multiprocessing
import os
import signal
import warnings

import slipring.torch
import torch


def make_loader():
    return slipring.torch.DataLoader(
        torch.arange(1000), batch_size=10, shuffle=True, num_workers=2, restart_workers=3
    )


def main():
    warnings.simplefilter("ignore", RuntimeWarning)  # that a worker was replaced
    first = make_loader()
    seen = []
    for number, batch in enumerate(first):
        seen += batch.tolist()
        if number == 30:
            state = first.state_dict()  # torch.save() stores it beside the model
            break

    second = make_loader()
    second.load_state_dict(state)
    for number, batch in enumerate(second):
        seen += batch.tolist()
        if number == 20:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    assert sorted(seen) == list(range(1000))
    print("1000 samples, each once")


if __name__ == "__main__":
    main()
