"""Subspaces without labels: codes that tell of one another are a factor together, their cells its attributes.

    found = find_unlabelled(codes)              # an `ActionSet`
    judge = CellReader(model, found)            # the encoder as a judge, for `scoring`
"""
from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor

from .actions import ActionSet, factor_index
from .clustering import Model
from .errors import InputError
from .joint_partitions import partition_jointly
from .partitions import codes_array
from .subspaces import AWAKE, find_subspace_actions, subspaces
from .worlds import Factor


def find_unlabelled(codes: ArrayLike | Tensor, *, method: str = "modes", knows: float = 0.1,
                    draws: Tensor | None = None) -> ActionSet:
    """Actions without labels: codes that tell of one another are a factor together, their cells its attributes.

    Two codes tell of one another if their mutual information, over quantiles and less what chance gives, is at least
    `knows` of the entropy. A circle's two codes do; those of independent factors do not. A code of its own is a
    factor if it has more than one cell.

    Args:
        codes: (n, d).
        method: see `partition_jointly`.
        knows: that share, in (0, 1].
        draws: see `find_subspace_actions`.
    """
    values = codes_array(codes)
    if not 0 < knows <= 1:
        raise InputError(f"knows {knows!r} is out of range: expected a share in (0, 1].")
    deviation = values.std(axis=0)
    alive = np.flatnonzero(deviation > AWAKE * deviation.max()).tolist()
    bins = min(16, max(len(values) // 50, 2))
    binned = {d: np.searchsorted(np.quantile(values[:, d], np.arange(1, bins) / bins), values[:, d]) for d in alive}
    linked = [[d, e] for d in alive for e in alive
              if d == e or adjusted_mutual_info_score(binned[d], binned[e]) >= knows]
    groups = [own for _, own in subspaces(linked)]
    cells = [partition_jointly(values[:, list(own)], method=method) for own in groups]
    groups = [(own, cut) for own, cut in zip(groups, cells, strict=True) if cut.size > 1]
    factors = [Factor(f"code{'s' if len(own) > 1 else ''} {', '.join(map(str, own))}",
                      tuple(f"cell {k}" for k in range(cut.size)), "categorical") for own, cut in groups]
    states = np.stack([cut.assign(values[:, list(own)]) for own, cut in groups], axis=1) if groups else np.zeros(
        (len(values), 0), dtype=np.int64)
    return find_subspace_actions(states, values, factors, dimensions=[own for own, _ in groups], method=method,
                                 resolution=None, draws=draws)


class CellReader:
    """The encoder as a judge, for data without labels: the cell in which each code lies (see `scoring.Judge`).

    It reads the factors of `find_unlabelled`. The network marks its own homework.

    Args:
        model: whose pictures are read.
        actions: as `find_unlabelled` gives.
    """

    def __init__(self, model: Model, actions: ActionSet) -> None:
        self.model, self._factors = model, actions.factors
        self._readers = [actions.of(i)[0].reader for i in range(len(actions.factors))]
        self.factors = tuple(factor.name for factor in actions.factors)
        self.sizes = tuple(factor.size for factor in actions.factors)

    def predict(self, observations: Tensor) -> Tensor:
        """The cell in each subspace: int64 (n, subspaces)."""
        return self.cells(self.model.encode(observations).cpu())

    def cells(self, codes: Tensor) -> Tensor:
        """The same of codes (n, d)."""
        cells = [torch.from_numpy(reader.cell(codes)) for reader in self._readers]
        return torch.stack(cells, dim=1) if cells else torch.zeros(len(codes), 0, dtype=torch.int64)

    def factor_index(self, factor: int | str) -> int:
        """The column of a factor given by name or number."""
        return factor_index(self._factors, factor)
