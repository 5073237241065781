"""Connectionist temporal classification (Graves et al. 2006), in logarithms, for a whole batch.

A path names one class a time step. It stands for the labels that are left when what repeats is
named once and blanks are dropped, and the loss is -log of the probability of all paths that stand
for the target. `states` are the labels with a blank before, between and behind them: a path stays
in a state, goes on to the next one, or skips a blank between two labels that differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradlet.ir.node import Node

Shape = tuple[int, ...]


def shapes(log_probs: Node, targets: Node, inputs: Node, lengths: Node) -> Shape:
    """The shape (N,) of the losses; ValueError where the sources do not suit."""
    count = log_probs.shape[1] if log_probs.ndim == 3 else -1
    fits = targets.ndim == 1 or (targets.ndim == 2 and targets.shape[0] == count)
    whole = all(x.dtype.is_int for x in (targets, inputs, lengths))
    same = inputs.shape == lengths.shape == (count,)
    if not (log_probs.dtype.is_float and fits and whole and same):
        raise ValueError(f"no losses of {log_probs}, {targets}, {inputs} and {lengths}")
    return (count,)


def losses(
    log_probs: np.ndarray,
    targets: np.ndarray,
    inputs: np.ndarray,
    lengths: np.ndarray,
    blank: int,
    zero_infinity: bool,
) -> np.ndarray:
    """-log of the probability of each target (N,).

    Args:
        log_probs: (T, N, C).
        targets: (N, S), or all labels in one row.
        inputs, lengths: (N,), how many steps and labels count.
        zero_infinity: whether a target that has no path costs 0 rather than inf.
    """
    batch = _batch(log_probs, targets, inputs, lengths, blank)
    found = -_total(batch, _forward(batch))
    return np.where(np.isinf(found), 0.0, found) if zero_infinity else found


def gradients(
    log_probs: np.ndarray,
    targets: np.ndarray,
    inputs: np.ndarray,
    lengths: np.ndarray,
    blank: int,
    zero_infinity: bool,
) -> np.ndarray:
    """What each loss changes by with the logits that log_softmax made `log_probs` of (T, N, C)."""
    batch = _batch(log_probs, targets, inputs, lengths, blank)
    forward = _forward(batch)
    total = _total(batch, forward)
    shares = np.exp(forward + _backward(batch) - total[:, None])  # of paths through a state
    classes = np.arange(log_probs.shape[2])
    named = (batch.states[:, :, None] == classes).astype(np.float64)
    by_class = np.matmul(shares.transpose(1, 0, 2), named).transpose(1, 0, 2)
    result = np.exp(log_probs.astype(np.float64)) - by_class
    if zero_infinity:
        result = np.where(np.isinf(total)[:, None], 0.0, result)
    running = np.arange(len(log_probs))[:, None] < inputs
    return np.where(running[:, :, None], result, 0.0)


@dataclass(frozen=True)
class _Batch:
    """What the recursions need.

    Attributes:
        states: (N, E), the class of each state.
        emitted: (T, N, E), the logarithm of its probability at each step.
        skips: (N, E), 0 where a state can be reached from the last but one before it, else -inf.
        inputs: (N,), how many steps there are.
        last: (N, E), 0 for the states in which a path may end, else -inf.
    """

    states: np.ndarray
    emitted: np.ndarray
    skips: np.ndarray
    inputs: np.ndarray
    last: np.ndarray


def _batch(
    log_probs: np.ndarray,
    targets: np.ndarray,
    inputs: np.ndarray,
    lengths: np.ndarray,
    blank: int,
) -> _Batch:
    steps, count, classes = log_probs.shape
    _check_lengths("input_lengths", inputs, steps)
    if targets.ndim == 1:
        targets = _in_rows(targets, lengths)
    _check_lengths("target_lengths", lengths, targets.shape[1])
    targets = targets[:, : int(lengths.max(initial=0))].astype(np.int64)
    used = np.arange(targets.shape[1]) < lengths[:, None]
    wrong = targets[used & ((targets < 0) | (targets >= classes))]
    if wrong.size:
        raise IndexError(f"ctc_loss: label {wrong[0]} is out of range for {classes} classes")
    if (used & (targets == blank)).any():
        raise ValueError(f"ctc_loss: the blank, {blank}, cannot be a label of a target")
    states = np.full((count, 2 * targets.shape[1] + 1), blank)
    states[:, 1::2] = np.where(used, targets, blank)
    emitted = np.take_along_axis(log_probs, states[None], 2).astype(np.float64)
    before = np.concatenate([np.full((count, 2), blank), states[:, :-2]], 1)[:, : states.shape[1]]
    place = np.arange(states.shape[1])
    ends = (place == 2 * lengths[:, None]) | (place == 2 * lengths[:, None] - 1)
    return _Batch(
        states,
        emitted,
        np.where((states != blank) & (states != before), 0.0, -np.inf),
        inputs,
        np.where(ends, 0.0, -np.inf),
    )


def _check_lengths(name: str, given: np.ndarray, most: int) -> None:
    wrong = given[(given < 0) | (given > most)]
    if wrong.size:
        raise ValueError(f"ctc_loss: {name} must lie in [0, {most}], and one is {wrong[0]}")


def _in_rows(targets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Labels that follow each other as rows, filled up with zeros."""
    if (lengths < 0).any() or lengths.sum() != targets.size:
        raise ValueError(
            f"ctc_loss: target_lengths {lengths.tolist()} must add up to the {targets.size} labels "
            "of a 1-D target"
        )
    rows = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = targets
    return rows


def _forward(batch: _Batch) -> np.ndarray:
    """(T, N, E): paths up to a step that end in a state."""
    found = np.full(batch.emitted.shape, -np.inf)
    if len(found):
        found[0, :, :2] = batch.emitted[0, :, :2]
    for t in range(1, len(found)):
        found[t] = batch.emitted[t] + _reached(found[t - 1], batch.skips)
    return found


def _backward(batch: _Batch) -> np.ndarray:
    """(T, N, E): what becomes of paths behind a step at which they are in a state."""
    found = np.full(batch.emitted.shape, -np.inf)
    skips = np.concatenate([batch.skips[:, 2:], np.full((len(batch.skips), 2), -np.inf)], 1)
    skips = skips[:, : batch.skips.shape[1]]
    later = found[:1].sum(0)
    for t in reversed(range(len(found))):
        at_end = (batch.inputs == t + 1)[:, None]
        found[t] = np.where(at_end, batch.last, later)
        later = _reached((found[t] + batch.emitted[t])[:, ::-1], skips[:, ::-1])[:, ::-1]
    return found


def _reached(before: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """The paths that come to each state from itself, from the one before it, and by a skip."""
    width = before.shape[1]
    padded = np.concatenate([np.full((len(before), 2), -np.inf), before], 1)
    ways = np.stack([before, padded[:, 1 : width + 1], padded[:, :width] + skips])
    largest = ways.max(0)
    shift = np.where(np.isneginf(largest), 0.0, largest)
    return np.log(np.exp(ways - shift).sum(0)) + shift


def _total(batch: _Batch, forward: np.ndarray) -> np.ndarray:
    """(N,): all paths that end where they may."""
    count = len(batch.inputs)
    nowhere = np.full((1, *batch.last.shape), -np.inf)  # before the first step: the first state
    nowhere[0, :, :1] = 0.0
    ends = np.concatenate([nowhere, forward])[batch.inputs, np.arange(count)]
    return np.logaddexp.reduce(ends + batch.last, 1)
