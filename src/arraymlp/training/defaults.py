"""What a run trains with where nothing else is said: chosen on tables and on MNIST together.

``optimizer="auto"`` is AdamW (Loshchilov and Hutter 2019) with a cosine schedule (Loshchilov and
Hutter 2017). Narrow layers take larger steps, as Adam's rate may grow with 1/width (Yang et al.
2022, "Tensor Programs V"). The decay is one share of each weight a step, whatever the rate, and
stands in the place of early stopping: it keeps networks of some ten thousand weights from learning
a few hundred rows by heart. Small tables have small minibatches, so that every table has 2,000
steps in 20 epochs. ``ci/choose_defaults.py`` measures all of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arraymlp.steps.optimizers import AdamW
from arraymlp.training.early_stopping import EarlyStopping

AUTO = AdamW(weight_decay=None)
AUTO_SCHEDULE = "cosine"
RATE, RATE_OF_WIDTH, HIGHEST_RATE = 0.001, 0.2, 0.01
LARGEST_BATCH, BATCHES = 100, 100


def auto_rate(hidden: Sequence[int]) -> float:
    """The learning rate for these widths: 0.2 / the narrowest one, from 0.001 to 0.01."""
    narrowest = min((n for n in hidden if isinstance(n, int) and n > 0), default=1)
    return float(np.clip(RATE_OF_WIDTH / narrowest, RATE, HIGHEST_RATE))


def auto_batch_size(n: int) -> int:
    """The rows of a minibatch where n are trained on: n / 100, from 1 to 100."""
    return min(max(n // BATCHES, 1), LARGEST_BATCH)


# Of tables that are encoded: chosen on 17 real ones, judged on others by ``ci/tables``. GELU, the
# schedule, and numbers' features of half size are near what Holzmüller, Grinsztajn and Steinwart
# 2024 chose on many more ("Better by Default", https://arxiv.org/abs/2407.04491); members, and the
# rows that each of them holds out, take the place of its larger network and longer training.
TABLE_SETTINGS: Mapping[str, Any] = {
    "hidden": (64, 64),
    "activation": "gelu",
    "optimizer": "adamw",
    "learning_rate": 0.005,
    "schedule": "cosine",
    "weight_decay": 0.1,
    "weight_average": 0.98,
    "dropout": 0.1,
    "epochs": 50,
    "early_stopping": EarlyStopping(patience=10),
}
HELD_OUT = 0.15  # of a table's rows, for early stopping of one network to watch
FOLDS = 8  # of which each member of a population holds out one
