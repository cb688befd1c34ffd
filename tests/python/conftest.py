# SPDX-License-Identifier: Apache-2.0
"""What several files of tests share."""
import pytest


@pytest.fixture
def tell(capsys):
    """Says how long things took, in seconds, to whoever reads the log."""
    def tell(what, times):
        times = sorted(times) or [0.0]
        with capsys.disabled():
            print(f"{what}, of {len(times)}: p50 {1e3 * times[len(times) // 2]:.1f} ms,"
                  f" p99 {1e3 * times[len(times) * 99 // 100]:.1f}, most {1e3 * times[-1]:.1f}")
    return tell
