"""The toy environments: exact values, the forms of the contract, both sides of the bridge."""

import dataclasses
import functools
import itertools
import math
import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom import check
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.types import Masked
from fathom.envs import registry
from fathom.envs.base import vec_reset, vec_step
from fathom.envs.bridge import as_env
from fathom.envs.finite import FiniteEnv, mdp_of
from fathom.envs.render import draw
from fathom.envs.toy.access_control import AccessControl
from fathom.envs.toy.blackjack import Blackjack
from fathom.envs.toy.car_rental import CarRental, _day_tables
from fathom.envs.toy.chain import Chain
from fathom.envs.toy.corridor import ShortCorridor
from fathom.envs.toy.deep_sea import DeepSea, deep_sea_20, deep_sea_50
from fathom.envs.toy.gambler import Gambler
from fathom.envs.toy.maximization_bias import MaximizationBias
from fathom.envs.toy.n_chain import NChain, n_chain
from fathom.envs.toy.random_walk import RandomWalk, random_walk_19, random_walk_1000
from fathom.envs.toy.three_state import ThreeState
from fathom.envs.wrappers import TimeLimit
from fathom.mdp import evaluate_within

IDS = {
    "Blackjack-v1": None,
    "RandomWalk5-v0": None,
    "RandomWalk19-v0": None,
    "RandomWalk1000-v0": None,
    "ShortCorridor-v0": 1000,
    "ThreeState-v0": 20,
    "MaximizationBias-v0": None,
    "DeepSea-v0": None,
    "DeepSea20-v0": None,
    "DeepSea50-v0": None,
    "Chain-v0": 1000,
    "NChain20-v0": 29,
    "NChain50-v0": 59,
    "NChain100-v0": 109,
    "Gambler-v0": None,
    "CarRental-v0": 100,
    "AccessControl-v0": 1000,
}
SMALL = {
    "Blackjack": Blackjack(natural=True, sab=False),
    "RandomWalk": RandomWalk(7, 3),
    "ShortCorridor": ShortCorridor(),
    "ThreeState": ThreeState(),
    "MaximizationBias": MaximizationBias().means,
    "DeepSea": DeepSea(size=4),
    "DeepSea, stochastic": DeepSea(size=4, stochastic=True),
    "Chain": Chain(),
    "NChain": NChain(num=5),
    "NChain, numbered": NChain(num=4, features=False),
    "Gambler": Gambler(goal=12),
    "CarRental": CarRental(capacity=4, max_moves=2),
    "AccessControl": AccessControl(servers=3),
}


def sweeps(mdp, gamma, n):
    """Optimal values and greedy actions after n sweeps of value iteration."""
    value = np.zeros(mdp.num_states)
    for _ in range(n):
        follow = np.where(mdp.terminated, 0.0, value[mdp.next_state])
        q = (mdp.prob * (mdp.reward + gamma * follow)).sum(-1)
        value = q.max(-1)
    return value, q.argmax(-1)


def dense(mdp):
    """P [state, action, next state], without what ends the episode, and mean rewards [state, action]."""
    follow = np.zeros((mdp.num_states, mdp.num_actions, mdp.num_states))
    index = np.indices(mdp.prob.shape)
    np.add.at(follow, (index[0], index[1], mdp.next_state), np.where(mdp.terminated, 0.0, mdp.prob))
    return follow, (mdp.prob * mdp.reward).sum(-1)


@pytest.mark.parametrize("id", IDS)
def test_the_checker_finds_no_error_and_names_lead_to_the_tasks(id):
    env = registry.make(id)
    limit = env.max_steps if isinstance(env, TimeLimit) else None
    assert limit == IDS[id]
    report = check(env, steps=40)
    assert report.ok, report.text()


@functools.cache
def form(name):
    return eqx.filter_jit(lambda env, state, action: env.outcomes(state, action))


@pytest.mark.parametrize("name", SMALL)
def test_outcomes_have_their_types_and_sum_to_one(name):
    env = lift(SMALL[name])
    states = jnp.arange(env.num_states, dtype=jnp.int32)
    actions = jnp.arange(env.num_actions, dtype=jnp.int32)
    listed = jax.jit(jax.vmap(jax.vmap(env.outcomes, (None, 0)), (0, None)))(states, actions)
    np.testing.assert_allclose(listed.prob.sum(-1), 1.0, atol=1e-6)
    assert listed.prob.min() >= 0
    assert listed.next_state.min() >= 0
    assert listed.next_state.max() < env.num_states
    assert (listed.prob.dtype, listed.next_state.dtype) == (jnp.float32, jnp.int32)
    assert listed.terminated.dtype == jnp.bool_
    for reward in listed.rewards.values():
        assert (reward.shape, reward.dtype, reward.weak_type) == (listed.prob.shape, jnp.float32, False)
    start = np.asarray(env.start())
    assert start.shape == (env.num_states,)
    assert start.sum() == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=25)
@given(chance=st.floats(0.0, 1.0), data=st.data())
def test_probabilities_sum_to_one_at_any_chance(chance, data):
    name, field = data.draw(
        st.sampled_from([("Chain", "slip"), ("Gambler", "p_heads"), ("AccessControl", "free_prob")])
    )
    env = dataclasses.replace(SMALL[name], **{field: jnp.float32(chance)})
    state = data.draw(st.integers(0, env.num_states - 1))
    action = data.draw(st.integers(0, env.num_actions - 1))
    outcomes = form(name)(env, jnp.int32(state), jnp.int32(action))
    assert outcomes.prob.sum() == pytest.approx(1.0, abs=1e-5)
    assert outcomes.prob.min() >= 0


@settings(max_examples=25)
@given(capacity=st.integers(1, 12), request=st.floats(0.0, 9.0), back=st.floats(0.0, 9.0))
def test_a_day_of_the_car_rental_is_exact(capacity, request, back):
    prob, rented = _day_tables(capacity, request, back)
    np.testing.assert_allclose(prob.sum(-1), 1.0, atol=1e-12)
    # E[min(X, m)] = Σ_{k<m} P(X > k)
    pmf = [math.exp(-request) * request**k / math.factorial(k) for k in range(capacity)]
    means = np.concatenate([[0.0], np.cumsum(1.0 - np.cumsum(pmf))])
    np.testing.assert_allclose((prob * rented).sum(-1), means, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_every_number_of_the_settings_is_read(name):
    env = SMALL[name]
    base = mdp_of(env)
    for field in dataclasses.fields(env):
        if field.type is float and not field.metadata.get("static"):
            other = mdp_of(dataclasses.replace(env, **{field.name: getattr(env, field.name) * 0.5 - 0.01}))
            same = np.array_equal(base.prob, other.prob) and np.array_equal(base.reward, other.reward)
            assert not same, field.name


@pytest.mark.parametrize("id", ["Blackjack-v1", "MaximizationBias-v0", "Gambler-v0"])
def test_the_host_loop_reproduces_the_native_rollout_to_the_bit(id):
    env, seeds = registry.make(id), np.array([5, 6, 7, 2**31 - 1], np.uint32)
    with as_env(env, "gymnasium").vector(4, "in-process") as vec:
        obs = vec.reset(seeds)
        state, native_obs = jax.jit(vec_reset)(lift(env), seeds)
        native_step = jax.jit(vec_step)
        same(obs, native_obs)
        ends = 0
        for t in range(25):
            # Legal everywhere; the gambler stakes all, or there would be no end.
            action = np.full(4, 49 if id == "Gambler-v0" else t % 2, np.int32)
            host = vec.step(action)
            state, native = native_step(lift(env), state, action)
            for part in ("obs", "reward", "terminated", "truncated", "final_obs"):
                same(getattr(host, part), getattr(native, part))
            ends += int(np.sum(native.terminated))
        assert ends > 4


def same(host, native):
    host, native = jax.tree.leaves(host), jax.tree.leaves(native)
    assert len(host) == len(native)
    for h, n in zip(host, native, strict=True):
        assert h.dtype == n.dtype
        np.testing.assert_array_equal(h, n)


def test_three_states_have_the_values_worked_out_by_hand():
    value, action = sweeps(mdp_of(ThreeState()), 0.9, 300)
    np.testing.assert_allclose(value, [14.9, 11.0, 10.0], atol=1e-9)
    np.testing.assert_array_equal(action, 1)


@pytest.mark.parametrize(
    ("env", "low"), [(RandomWalk(), 0.0), (random_walk_19(), -1.0), (RandomWalk(1), 0.0)]
)
def test_random_walks_have_the_values_of_the_book(env, low):
    k = np.arange(1, env.num + 1)
    np.testing.assert_allclose(env.values()[1:-1], low + (1 - low) * k / (env.num + 1), atol=1e-9)
    np.testing.assert_array_equal(env.values()[[0, -1]], 0.0)


def test_the_long_random_walk_obeys_its_equation_written_as_a_loop():
    env = random_walk_1000()
    value = env.values()
    np.testing.assert_allclose(value, -value[::-1], atol=1e-9)
    assert np.all(np.diff(value[1:-1]) > 0)
    for k in (1, 60, 500, 941, 1000):
        total = 0.0
        for step in [*range(-100, 0), *range(1, 101)]:
            after = k + step
            total += -1.0 if after < 1 else 1.0 if after > 1000 else value[after]
        assert value[k] == pytest.approx(total / 200, abs=1e-9)
    assert np.argmax(env.start()) == 500


def test_discounted_values_of_a_random_walk():
    value, _ = sweeps(mdp_of(RandomWalk(4)), 0.8, 400)
    np.testing.assert_allclose(RandomWalk(4).values(0.8), value, atol=1e-9)


def test_the_short_corridor_is_best_left_to_chance():
    env = ShortCorridor()
    follow, reward = dense(mdp_of(env))
    for p in (0.05, 0.5, 0.59, 0.95):
        policy = np.array([1 - p, p])
        along = np.einsum("a,sat->st", policy, follow)
        value = np.linalg.solve(np.eye(4) - along, reward @ policy)
        assert env.start_value(p) == pytest.approx(value[0], rel=1e-6)
    best = 2 - math.sqrt(2)  # where the derivative of 2(2 − p)/(p(1 − p)) is 0
    assert env.start_value(best) == pytest.approx(-6 - 4 * math.sqrt(2), abs=1e-9)
    assert max(env.start_value(p) for p in np.linspace(0.01, 0.99, 99)) <= env.start_value(best)
    assert env.obs_space.n == 1
    assert ShortCorridor(aliased=False).obs_space.n == 4


def test_gamblers_below_one_half_play_boldly_and_above_it_timidly():
    value, _ = sweeps(mdp_of(Gambler()), 1.0, 400)
    # All at 50; at 25 all twice; at 75 what is missing, and on a loss all of the 50 left.
    assert value[[25, 50, 75]] == pytest.approx([0.4 * 0.4, 0.4, 0.4 + 0.6 * 0.4], abs=1e-6)
    # Bold play, staking all or what is missing, as an equation for every capital.
    for s in range(1, 100):
        bold = 0.4 * value[2 * s] if s < 50 else 0.4 + 0.6 * value[2 * s - 100]
        assert value[s] == pytest.approx(bold, abs=1e-6)
    value, _ = sweeps(mdp_of(Gambler(p_heads=0.55)), 1.0, 4000)
    ruin = 0.45 / 0.55  # stakes of one: the formula of the gambler's ruin
    expected = (1 - ruin ** np.arange(101)) / (1 - ruin**100)
    np.testing.assert_allclose(value[1:-1], expected[1:-1], atol=1e-5)


def test_the_chain_is_worth_going_to_its_end():
    env = Chain()
    value, action = sweeps(mdp_of(env), 0.95, 2000)
    np.testing.assert_array_equal(action, 0)
    forward = np.zeros((5, 5))
    forward[np.arange(5), np.minimum(np.arange(5) + 1, 4)] += 0.8
    forward[:, 0] += 0.2
    reward = 0.2 * 2.0 + np.array([0, 0, 0, 0, 0.8 * 10.0])
    np.testing.assert_allclose(value, np.linalg.solve(np.eye(5) - 0.95 * forward, reward), atol=1e-4)
    assert value[0] == pytest.approx(61.38, abs=5e-3)  # as the page says


def test_the_best_dive_earns_the_treasure_less_its_cost():
    env = DeepSea()
    value, _ = sweeps(mdp_of(env), 1.0, 12)
    assert value[0] == pytest.approx(1.0 - 0.01, abs=1e-6)
    assert 0 < env.right().mean() < 1
    assert np.all(DeepSea(mapping_seed=None).right() == 1)
    assert not np.array_equal(env.right(), DeepSea(mapping_seed=43).right())


@pytest.mark.parametrize(("env", "size"), [(deep_sea_20(), 20), (deep_sea_50(), 50)])
def test_deeper_seas_are_worth_as_much(env, size):
    value, _ = sweeps(mdp_of(env), 1.0, size + 2)
    assert env.size == size
    assert value[0] == pytest.approx(1.0 - 0.01, abs=1e-5)


def test_the_long_chain_pays_eleven_times_at_its_end():
    """N − 2 moves from s_2 to s_N leave N + 9 − (N − 2) = 11 steps that pay there; to the left 29 − 1 do."""
    env = n_chain(20)
    mdp = mdp_of(env.env)
    policy = np.zeros((20, 2))
    for action, best in ((1, 11.0), (0, 28 * 0.001)):
        policy[:] = np.eye(2)[action]
        assert evaluate_within(mdp, policy, env.max_steps)[1] == pytest.approx(best, rel=1e-6)
    value, action = sweeps(mdp, 0.99, 2000)
    np.testing.assert_array_equal(action, 1)
    np.testing.assert_allclose(value, 100.0 * 0.99 ** np.arange(19, -1, -1), rtol=1e-5)


def test_the_long_chain_is_seen_as_a_thermometer_and_cut():
    env = n_chain(3)

    @jax.jit
    def walk(actions):
        state, first = env.reset(jax.random.key(0))

        def move(state, action):
            state, step = env.step(jax.random.key(1), state, action)
            return state, (step.obs, step.reward, step.terminated, step.truncated)

        return first, *jax.lax.scan(move, state, actions)[1]

    first, obs, reward, terminated, truncated = walk(jnp.asarray([0, 0, 1, 1, 1] + [1] * 7, jnp.int32))
    np.testing.assert_array_equal(first, [1, 1, 0])
    np.testing.assert_array_equal(obs[:5], [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]])
    np.testing.assert_allclose(reward, [0, 0.001, 0, 0] + [1] * 8, rtol=1e-6)
    assert not np.any(terminated)
    np.testing.assert_array_equal(truncated, np.arange(1, 13) == 12)
    assert NChain(num=3, features=False).observe(jnp.int32(2)) == 2


def test_one_dive_in_all_finds_the_treasure():
    env = DeepSea(size=4, picture=True)

    @jax.jit
    @jax.vmap
    def dive(actions):
        def move(state, action):
            state, step = env.step(jax.random.key(0), state, action)
            return state, (step.reward, step.terminated, step.obs)

        return jax.lax.scan(move, jnp.int32(0), actions)[1]

    reward, over, obs = dive(np.array(list(itertools.product([0, 1], repeat=4)), np.int32))
    returns = np.sort(np.asarray(reward).sum(-1))
    assert returns[-1] == pytest.approx(0.99, abs=1e-6)
    np.testing.assert_allclose(np.unique(np.round(returns[:-1], 4)), [-0.0075, -0.005, -0.0025, 0.0])
    np.testing.assert_array_equal(over, np.tile([False, False, False, True], (16, 1)))
    assert np.all(np.asarray(obs[:, :3]).sum((-1, -2)) == 1)
    assert not np.any(obs[:, 3])


def test_a_rough_sea_lets_some_dives_fail():
    q = 1 - 1 / 10  # a move to the right succeeds; the last one need not
    mdp = mdp_of(DeepSea(stochastic=True))
    value, _ = sweeps(mdp, 1.0, 12)
    # After a failure the way is lost, and left costs nothing: Σ_k q^k/N · cost = cost·(1 − q^N).
    assert value[0] == pytest.approx(q**9 - 0.01 * (1 - q**10), abs=1e-6)
    corner = 99
    noisy = mdp.reward[corner] - (mdp.prob[corner] * mdp.reward[corner]).sum(-1, keepdims=True)
    np.testing.assert_allclose((mdp.prob[corner] * noisy**2).sum(-1), 1.0, atol=1e-6)


def test_jacks_cars_are_worth_what_an_exact_solver_finds():
    env = CarRental()
    follow, reward = dense(mdp_of(env))
    flat, value = follow.reshape(-1, env.num_states), np.zeros(env.num_states)
    for _ in range(220):
        q = reward + 0.9 * (flat @ value).reshape(reward.shape)
        value = q.max(-1)
    assert value[10 * 21 + 10] == pytest.approx(574.95, abs=0.01)
    states = jnp.arange(env.num_states, dtype=jnp.int32)
    moved = np.asarray(jax.vmap(env.moved)(states, jnp.asarray(q.argmax(-1), jnp.int32)))
    assert (moved.min(), moved.max()) == (-4, 5)


def test_the_mean_payment_of_access_control_by_two_solvers():
    env = AccessControl()
    follow, reward = dense(mdp_of(env))
    value = np.zeros(env.num_states)
    for _ in range(3000):
        q = reward + follow @ value
        value = q.max(-1) - q.max(-1)[0]
    gain, action = q.max(-1)[0], q.argmax(-1)
    along = follow[np.arange(env.num_states), action]
    balance = np.vstack([along.T - np.eye(env.num_states), np.ones(env.num_states)])
    share = np.linalg.lstsq(balance, np.append(np.zeros(env.num_states), 1.0), rcond=None)[0]
    assert share @ reward[np.arange(env.num_states), action] == pytest.approx(gain, abs=1e-6)
    assert gain == pytest.approx(2.7476, abs=5e-5)  # as the page says
    accepts = action.reshape(11, 4)
    assert np.all(accepts[1:, 3] == 1)  # who pays most
    assert np.all(np.diff(accepts[1:], axis=1) >= 0)
    assert np.all(np.diff(accepts[1:], axis=0) >= 0)
    np.testing.assert_array_equal(q[:4, 0], q[:4, 1])  # no server is free: accepting is rejecting


def test_noise_makes_no_difference_to_the_values_of_the_bias_problem():
    env = MaximizationBias()
    value, action = sweeps(mdp_of(env.means), 1.0, 5)
    np.testing.assert_allclose(value, [0.0, -0.1, 0.0], atol=1e-7)
    assert action[0] == 1
    keys = jax.random.split(jax.random.key(0), 4000)
    after, step = jax.jit(jax.vmap(env.step, (0, None, None)))(keys, jnp.int32(1), jnp.int32(3))
    assert np.all(step.terminated)
    assert np.mean(step.reward) == pytest.approx(-0.1, abs=4 / math.sqrt(4000))
    assert np.std(step.reward) == pytest.approx(1.0, abs=0.05)
    assert np.all(after == 2)
    for action, to in ((0, 1), (1, 2)):
        after, step = jax.jit(env.step)(keys[0], jnp.int32(0), jnp.int32(action))
        assert (int(after), float(step.reward), bool(step.terminated)) == (to, 0.0, to == 2)
    _, obs = jax.jit(env.reset)(keys[0])
    assert isinstance(obs, Masked)
    np.testing.assert_array_equal(obs.mask, np.arange(10) < 2)


@pytest.mark.parametrize("name", SMALL)
def test_views_and_words_tell_states_apart(name):
    env = SMALL[name]
    assert isinstance(env, FiniteEnv)
    view = jax.jit(env.view)
    first, other = (draw(view(jnp.int32(state)), width=90) for state in (0, 1))
    assert first.shape == other.shape
    assert 0 < (first != other).any(-1).mean() < 0.5
    words = [env.ascii(jnp.int32(state)) for state in range(min(env.num_states, 40))]
    assert all(word.isascii() for word in words)
    assert len(set(words)) == len(words)


def test_words():
    assert RandomWalk().ascii(jnp.int32(2)) == " #  A [B] C  D  E  # "
    assert random_walk_1000().ascii(jnp.int32(1001)).endswith("o 1001   at 1001")
    assert DeepSea(size=3).ascii(jnp.int32(4)) == "~\n~ o\n~ ~ T"
    assert NChain(num=4).ascii(jnp.int32(1)) == " 1 [2] 3  4 "
    assert NChain(num=31).ascii(jnp.int32(30)).endswith("o 30   at 30")
    assert CarRental(capacity=4).ascii(jnp.int32(3 * 5 + 1)) == "place 1  ###.  3\nplace 2  #...  1"
    assert AccessControl().ascii(jnp.int32(8 * 4 + 3)) == "........##  8 free, next pays 8"
    assert MaximizationBias().ascii(jnp.int32(1)) == "[B] A  # "


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomWalk(0), "num is 0"),
        (lambda: Gambler(goal=1), "goal is 1"),
        (lambda: Chain(num=1), "num is 1"),
        (lambda: DeepSea(size=0), "size is 0"),
        (lambda: NChain(num=2), "num is 2"),
        (lambda: CarRental(capacity=0), "capacity is 0"),
        (lambda: CarRental(return_rates=(-1.0, 2.0)), "-1.0"),
        (lambda: AccessControl(servers=0), "servers is 0"),
        (lambda: MaximizationBias(num_actions=1), "1 actions"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(FathomError, match=message):
        make()


def test_the_page_names_every_task_and_its_code_gives_what_it_says(capsys):
    text = (Path(__file__).parents[2] / "docs" / "environments-toy.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == list(IDS)
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(block, scope)
    np.testing.assert_allclose(scope["value"], [14.9, 11.0, 10.0], atol=1e-9)
    assert capsys.readouterr().out.splitlines() == ["[14.9 11.  10. ]", " A [B] C "]
