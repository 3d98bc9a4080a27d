"""Our blackjack against Gymnasium's own: its rules by enumeration, its play by frequency."""

import functools
from collections import Counter, defaultdict

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.toy_text import blackjack as theirs
from scipy import stats

from fathom.core.spaces import from_gymnasium
from fathom.envs import registry
from fathom.envs.finite import mdp_of
from fathom.envs.toy.blackjack import Blackjack

CARDS = range(1, 11)
PROB = {card: theirs.deck.count(card) / len(theirs.deck) for card in CARDS}
SWITCHES = [(False, True), (True, False), (False, False)]


@pytest.fixture(scope="module")
def mdp():
    return mdp_of(Blackjack())


@functools.cache
def names():
    """The state of each (sum, dealer's card, usable ace, natural), as `observe` tells it."""
    env = Blackjack()
    totals, dealers, usable = jax.jit(jax.vmap(env.observe))(jnp.arange(env.num_states, dtype=jnp.int32))
    natural = np.arange(env.num_states) >= env.num_states - 10
    rows = zip(*(np.asarray(part).tolist() for part in (totals, dealers, usable, natural)), strict=True)
    return {row: state for state, row in enumerate(rows)}


def state_of(hand, dealer):
    natural = len(hand) == 2 and theirs.is_natural(hand)
    return names()[(theirs.sum_hand(hand), dealer, theirs.usable_ace(hand), natural)]


def listed(mdp, state, action):
    """The probability of each (next observation's state, reward, terminated)."""
    chances = defaultdict(float)
    rows = (x[state, action].tolist() for x in (mdp.prob, mdp.next_state, mdp.reward, mdp.terminated))
    for prob, after, reward, over in zip(*rows, strict=True):
        if prob:
            chances[after, reward, over] += prob
    return dict(chances)


def chi_square(seen, chances):
    """(statistic, degrees of freedom) of counts by outcome; rare outcomes are judged together."""
    n = sum(seen.values())
    assert set(seen) <= set(chances), f"seen but not listed: {set(seen) - set(chances)}"
    common = [o for o in chances if n * chances[o] >= 5]
    observed = [seen[o] for o in common]
    expected = [n * chances[o] for o in common]
    if len(common) < len(chances) and n - sum(expected) >= 5:
        observed.append(n - sum(observed))
        expected.append(n - sum(expected))
    observed, expected = np.array(observed, float), np.array(expected)
    return float(((observed - expected) ** 2 / expected).sum()), len(observed) - (sum(expected) >= n - 1e-6)


def play(episodes, seed):
    """Gymnasium's environment under random play: first states, and outcomes by state and action."""
    env = gymnasium.make("Blackjack-v1").unwrapped
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    starts, seen = Counter(), defaultdict(Counter)
    for _ in range(episodes):
        env.reset()
        state, over = state_of(env.player, env.dealer[0]), False
        starts[state] += 1
        while not over:
            action = int(rng.integers(2))
            _, reward, over, _, _ = env.step(action)
            # What is seen does not tell a natural from another 21: after sticking it is the same hand.
            after = state_of(env.player, env.dealer[0])
            seen[state, action][after, reward, over] += 1
            state = after
    return starts, seen


@pytest.fixture(scope="module")
def played():
    return play(15_000, seed=0)


def p_value(seen, mdp):
    statistic, freedom, pairs = 0.0, 0, 0
    for (state, action), counts in seen.items():
        if sum(counts.values()) >= 20:
            s, f = chi_square(counts, listed(mdp, state, action))
            statistic, freedom, pairs = statistic + s, freedom + f, pairs + 1
    return stats.chi2.sf(statistic, freedom), pairs


def test_outcomes_are_as_frequent_as_gymnasiums(played, mdp):
    p, pairs = p_value(played[1], mdp)
    assert pairs > 250
    assert p > 1e-3


def test_that_comparison_sees_other_probabilities(played, mdp):
    """A deck without pictures must be told from the true one, or the test above says nothing."""
    hits = {key: counts for key, counts in played[1].items() if key[1] == 1}
    alike = np.where(mdp.prob > 0, 1.0, 0.0)
    alike[:, 0] = mdp.prob[:, 0]
    wrong = type(mdp)(
        alike / alike.sum(-1, keepdims=True), mdp.next_state, mdp.reward, mdp.terminated, mdp.start
    )
    assert p_value(hits, mdp)[0] > 1e-3
    assert p_value(hits, wrong)[0] < 1e-6


def test_starts_are_as_frequent_as_gymnasiums(played, mdp):
    starts, _ = played
    chances = {state: p for state, p in enumerate(mdp.start.tolist()) if p > 0}
    statistic, freedom = chi_square(starts, chances)
    assert stats.chi2.sf(statistic, freedom) > 1e-3


@pytest.mark.parametrize(("natural", "sab"), SWITCHES)
def test_naturals_pay_as_gymnasiums(natural, sab):
    env = theirs.BlackjackEnv(natural=natural, sab=sab)
    env.reset(seed=1)
    mine = mdp_of(Blackjack(natural=natural, sab=sab))
    seen = defaultdict(Counter)
    for dealer in CARDS:
        for hand in ([1, 10], [1, 5, 5]):
            for _ in range(250):
                env.player, env.dealer = list(hand), [dealer, theirs.draw_card(env.np_random)]
                state = state_of(hand, dealer)
                _, reward, over, _, _ = env.step(0)
                seen[state, 0][state, reward, over] += 1
    p, pairs = p_value(seen, mine)
    assert pairs == 20
    assert p > 1e-3
    best = max(reward for (state, _), counts in seen.items() for _, reward, _ in counts if state >= 380)
    assert best == (1.5 if natural and not sab else 1.0)


@functools.cache
def dealer_ends(hand):
    """The probability of each final hand of the dealer's, by Gymnasium's functions on explicit hands."""
    if theirs.sum_hand(list(hand)) >= 17:
        return {hand: 1.0}
    ends = defaultdict(float)
    for card in CARDS:
        for end, prob in dealer_ends(tuple(sorted((*hand, card)))).items():
            ends[end] += PROB[card] * prob
    return dict(ends)


@functools.cache
def dealer_scores(dealer):
    """The probability of each (score, natural) of the dealer's."""
    scores = defaultdict(float)
    for hidden in CARDS:
        for end, prob in dealer_ends(tuple(sorted((dealer, hidden)))).items():
            scores[theirs.score(list(end)), theirs.is_natural(list(end))] += PROB[hidden] * prob
    return dict(scores)


def stick(hand, dealer):
    value, score, natural = 0.0, theirs.score(list(hand)), theirs.is_natural(list(hand))
    for (other, other_natural), prob in dealer_scores(dealer).items():
        value += prob * (1.0 if natural and not other_natural else theirs.cmp(score, other))
    return value


@functools.cache
def best(hand, dealer):
    """The value of a hand by the best play: every hand by itself, no states."""
    if theirs.is_bust(list(hand)):
        return -1.0
    hit = sum(PROB[card] * best(tuple(sorted((*hand, card))), dealer) for card in CARDS)
    return max(stick(hand, dealer), hit)


def test_the_exact_optimum_is_that_of_the_game_played_out_hand_by_hand(mdp):
    value = np.zeros(mdp.num_states)
    for _ in range(30):  # a hand takes 21 cards at most
        follow = np.where(mdp.terminated, 0.0, value[mdp.next_state])
        value = (mdp.prob * (mdp.reward + follow)).sum(-1).max(-1)
    for first in CARDS:
        for second in range(first, 11):
            for dealer in CARDS:
                hand = (first, second)
                assert value[state_of(list(hand), dealer)] == pytest.approx(best(hand, dealer), abs=1e-6)
    exact = sum(
        PROB[a] * PROB[b] * PROB[dealer] * best(tuple(sorted((a, b))), dealer)
        for a in CARDS
        for b in CARDS
        for dealer in CARDS
    )
    assert mdp.start @ value == pytest.approx(exact, abs=1e-6)
    assert exact == pytest.approx(-0.04311, abs=5e-6)  # as the page says


def test_observations_are_gymnasiums(mdp):
    env, gym = Blackjack(), gymnasium.make("Blackjack-v1")
    assert env.obs_space == from_gymnasium(gym.observation_space)
    assert env.action_space == from_gymnasium(gym.action_space)
    assert isinstance(registry.make("Blackjack-v1"), Blackjack)
    assert (env.sab, env.natural) == (gym.unwrapped.sab, gym.unwrapped.natural)
    state, obs = jax.jit(env.reset)(jax.random.key(0))
    assert env.obs_space.contains(obs)
    after, step = jax.jit(env.step)(jax.random.key(1), state, jnp.int32(0))
    assert step.terminated
    assert step.obs == obs
    assert after == state


def test_a_hand_is_told_in_words():
    env = Blackjack()
    assert env.ascii(names()[(18, 1, 1, False)]) == "dealer  A ?\nplayer  18 usable ace"
    assert env.ascii(names()[(25, 7, 0, False)]) == "dealer  7 ?\nplayer  25 bust"
