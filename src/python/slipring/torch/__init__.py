# SPDX-License-Identifier: Apache-2.0
"""A DataLoader for torch whose workers collate straight into shared slots."""

from .dataset import stage
from .loader import DataLoader
from .report import Report, Stage

__all__ = ["DataLoader", "Report", "Stage", "stage"]
