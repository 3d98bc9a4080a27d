"""Blackjack from an infinite deck."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.spaces import Discrete, Tuple
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Polygon, Scene, Text
from fathom.envs.toy.shapes import block, shown

_CARDS = np.arange(1, 11)  # an ace is 1, pictures are 10
_CARD_PROB = np.array([1 / 13] * 9 + [4 / 13])
_BUST, _NATURAL = 0, 22  # ends of the dealer's play that are no sums of 17 to 21


class Blackjack(FiniteEnv):
    """Draw cards to come closer to 21 than the dealer, who draws up to 17, without going beyond.

    Observation (own sum, dealer's card, usable ace), as Gymnasium's; actions 0 (stick) and 1 (hit). +1 for a
    win, 0 for a draw, −1 for a loss. `Blackjack-v1` has Gymnasium's `sab`: a natural (an ace and a ten) beats
    all but another natural. Sutton & Barto 2018, Example 5.1.

    State hand·10 + dealer's card − 1, where hands are the sums 4 … 31 without a usable ace (those above 21
    bust, and over), 12 … 21 with one, and last the natural. The dealer's hidden card is drawn when it is
    turned up, which from an infinite deck is the same.
    """

    natural: bool = False  # a natural that wins pays 1.5; not read with `sab`
    sab: bool = True  # a natural wins against all but a natural, and pays 1: the rules of the book

    @property
    def num_states(self) -> int:
        """39 hands times 10 cards of the dealer's."""
        return 10 * len(_HANDS)

    @property
    def num_actions(self) -> int:
        """Stick, hit."""
        return 2

    @property
    def obs_space(self) -> Tuple:
        """Own sum, dealer's card, usable ace."""
        return Tuple((Discrete(32), Discrete(11), Discrete(2)))

    def start(self) -> Float[Array, " state"]:
        """Two cards, and one of the dealer's."""
        hands = np.zeros(len(_HANDS))
        for first, p_first in zip(_CARDS, _CARD_PROB, strict=True):
            for second, p_second in zip(_CARDS, _CARD_PROB, strict=True):
                hands[_number(_dealt(int(first), int(second)))] += p_first * p_second
        return jnp.asarray(np.outer(hands, _CARD_PROB).ravel(), jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """Ten cards to hit; to stick, a loss, a draw and a win, and seven that cannot be."""
        hand, dealer = state // 10, state % 10
        hit, bust = action != 0, jnp.asarray(_BUSTS)[hand]
        drawn = jnp.asarray(_HIT)[hand]
        ends = jnp.asarray(_stick_table(self.natural, self.sab), jnp.float32)[hand, dealer]
        prob = jnp.where(hit & ~bust, jnp.asarray(_CARD_PROB, jnp.float32), ends)
        after = jnp.where(hit & ~bust, drawn * 10 + dealer, state)
        gone = jnp.asarray(_BUSTS)[drawn]
        win = 1.5 if self.natural and not self.sab else 1.0
        pays = np.array([-1.0, 0.0, 1.0, win] + [0.0] * 6, np.float32)
        reward = jnp.where(hit, -gone.astype(jnp.float32), jnp.asarray(pays))
        reward = jnp.where(bust, jnp.zeros(10, jnp.float32), reward)
        return Outcomes(prob, after, {"game": reward}, ~hit | bust | gone)

    def observe(self, state: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""]]:
        """Own sum, dealer's card, usable ace."""
        hand = state // 10
        return jnp.asarray(_SUMS)[hand], state % 10 + 1, jnp.asarray(_USABLE)[hand]

    def view(self, state: Int[Array, ""]) -> Scene:
        """The dealer's two cards, and one's own sum."""
        total, dealer, usable = self.observe(state)
        ace, bust = dealer == 1, total > 21
        up, mine = np.array([-0.5, 1.6], np.float32), np.array([0.0, -0.9], np.float32)
        label = np.array([0.0, -1.6], np.float32)
        shapes = (
            Polygon(block(-0.9, 1.0, -0.1, 2.2), "ground"),
            Polygon(block(0.1, 1.0, 0.9, 2.2), "muted"),
            Text(shown(up, ~ace), value=dealer, color="body"),
            Text(shown(up, ace), "A", color="body"),
            Text(np.array([0.0, 0.6], np.float32), "dealer"),
            Polygon(block(-0.9, -1.3, 0.9, -0.5), "ground"),
            Text(mine, value=total, color="body"),
            Text(shown(label, (usable == 0) & ~bust), "own sum"),
            Text(shown(label, usable == 1), "own sum, usable ace", color="goal"),
            Text(shown(label, bust), "bust", color="danger"),
        )
        return Scene(shapes, (-2.4, 2.4, -2.2, 2.6))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The dealer's card, and one's own sum."""
        hand, dealer = int(state) // 10, int(state) % 10 + 1
        total, usable = _SUMS[hand], _USABLE[hand]
        note = "bust" if total > 21 else "usable ace" if usable else ""
        return f"dealer  {'A' if dealer == 1 else dealer} ?\nplayer  {total} {note}".rstrip()


class _Hand(NamedTuple):
    total: int
    usable: bool  # an ace is counted as 11
    natural: bool  # an ace and a ten, and no other card


_HANDS = (
    *(_Hand(total, False, False) for total in range(4, 32)),
    *(_Hand(total, True, False) for total in range(12, 22)),
    _Hand(21, True, True),
)
_SUMS = np.array([hand.total for hand in _HANDS], np.int32)
_USABLE = np.array([hand.usable for hand in _HANDS], np.int32)
_BUSTS = _SUMS > 21


def _number(hand: _Hand) -> int:
    return _HANDS.index(hand)


def _add(hand: _Hand, card: int) -> _Hand:
    """A hand with one more card. An ace that would bust counts as 1 and never more again."""
    total, usable = hand.total + card, hand.usable
    if card == 1 and not usable and total + 10 <= 21:
        total, usable = total + 10, True
    if usable and total > 21:
        total, usable = total - 10, False
    return _Hand(total, usable, False)


def _dealt(first: int, second: int) -> _Hand:
    hand = _add(_add(_Hand(0, False, False), first), second)
    return hand._replace(natural=hand.total == 21)


_HIT = np.array(
    [[_number(hand if hand.total > 21 else _add(hand, int(card))) for card in _CARDS] for hand in _HANDS],
    np.int32,
)


@functools.cache
def _dealer(hand: _Hand) -> dict[int, float]:
    """The probability of each end of the dealer's play from a hand: a sum, `_BUST` or `_NATURAL`."""
    if hand.natural:
        return {_NATURAL: 1.0}
    if hand.total >= 17:
        return {hand.total if hand.total <= 21 else _BUST: 1.0}
    return _mixed([_add(hand, int(card)) for card in _CARDS])


def _mixed(hands: list[_Hand]) -> dict[int, float]:
    ends: dict[int, float] = {}
    for hand, weight in zip(hands, _CARD_PROB, strict=True):
        for end, prob in _dealer(hand).items():
            ends[end] = ends.get(end, 0.0) + weight * prob
    return ends


@functools.cache
def _stick_table(natural: bool, sab: bool) -> Float[np.ndarray, "hand card outcome"]:
    """The probability of each result of sticking: a loss, a draw, a win, one that pays more, six zeros."""
    table = np.zeros((len(_HANDS), 10, 10))
    for number, hand in enumerate(_HANDS):
        if hand.total > 21:
            table[number, :, 0] = 1.0
            continue
        for card in _CARDS:
            for end, prob in _mixed([_dealt(int(card), int(hidden)) for hidden in _CARDS]).items():
                total = 21 if end == _NATURAL else end
                result = 1 + int(np.sign(hand.total - total))
                if hand.natural and sab and end != _NATURAL:
                    result = 2
                elif hand.natural and natural and not sab and result == 2:
                    result = 3
                table[number, card - 1, result] += prob
    return table
