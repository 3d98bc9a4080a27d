import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.types import Masked
from fathom.envs.finite import mdp_of
from fathom.envs.grid.taxi import Taxi

from .tables import listed, optimal_values, same_tables, table_of

ABOARD = 4


def gym_taxi(**settings):
    return gymnasium.make("Taxi-v4", **settings).unwrapped


@pytest.mark.parametrize(
    "settings", [{}, {"is_rainy": True}, {"is_rainy": True, "rainy_probability": 0.5}], ids=str
)
def test_tables_are_gymnasiums(settings):
    same_tables(Taxi(**settings), gym_taxi(**settings))


def test_the_optimum_is_known():
    mdp, value = mdp_of(Taxi()), optimal_values(Taxi(), 1.0)
    assert mdp.start @ value == pytest.approx(7.93, abs=0.005)


@pytest.mark.parametrize("rainy", [False, True])
def test_a_fickle_passenger_changes_the_destination_as_gymnasiums_does(rainy):
    """Gymnasium applies it in `step`: its own table, then a new destination if the taxi has moved."""
    env, gym_env = Taxi(is_rainy=rainy, fickle_passenger=True), gym_taxi(is_rainy=rainy)
    ours = table_of(env)
    for state in range(500):
        row, col, passenger, destination = gym_env.decode(state)
        for action in range(6):
            calm = listed(gym_env.P[state][action])
            fickle = []
            for (after, reward, terminated), prob in calm.items():
                if passenger == ABOARD and gym_env.decode(after)[:2] != (row, col):
                    others = [d for d in range(4) if d != destination]
                    fickle += [(prob / 3, after - destination + d, reward, terminated) for d in others]
                else:
                    fickle.append((prob, 500 + after, reward, terminated))
            for start, expected in ((state, calm), (500 + state, listed(fickle))):
                mine = ours[start, action]
                assert mine.keys() == expected.keys(), (start, action)
                assert all(abs(mine[key] - prob) < 1e-6 for key, prob in expected.items())


def test_a_fickle_passenger_is_met_as_often_as_in_gymnasium():
    start = mdp_of(Taxi(fickle_passenger=True)).start
    calm = gym_taxi().initial_state_distrib
    np.testing.assert_allclose(start, np.concatenate([0.7 * calm, 0.3 * calm]), atol=1e-7)
    assert Taxi(fickle_passenger=True).observe(jnp.int32(777)) == 277


def test_gymnasiums_fickle_steps_are_among_ours():
    """Its stochastic `step` itself, not only its table: every transition seen is possible in ours."""
    env, gym_env = Taxi(fickle_passenger=True), gym_taxi(fickle_passenger=True, fickle_probability=1.0)
    ours, rng, changes = table_of(env), np.random.default_rng(0), 0
    state, _ = gym_env.reset(seed=0)
    for _ in range(3000):
        mask = gym_env.action_mask(state)
        action = int(rng.choice(np.flatnonzero(mask)))
        before = state + 500 * gym_env.fickle_step
        after, reward, terminated, _, _ = gym_env.step(action)
        changes += after % 4 != state % 4
        key = (after + 500 * gym_env.fickle_step, float(reward), terminated)
        assert key in ours[before, action]
        state = gym_env.reset()[0] if terminated else after
    assert changes > 2


def test_steps_are_gymnasiums():
    env, gym_env = Taxi(), gym_taxi()
    states, actions = (x.reshape(-1) for x in np.indices((500, 6), np.int32))
    after, seen = jax.jit(jax.vmap(env.step, (None, 0, 0)))(jax.random.key(0), states, actions)
    gym_env.reset(seed=0)
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        gym_env.s = int(state)
        obs, reward, terminated, _, _ = gym_env.step(int(action))
        assert (obs, reward, terminated) == (seen.obs[i], seen.reward[i], seen.terminated[i])
    np.testing.assert_array_equal(after, seen.obs)
    np.testing.assert_array_equal(sum(seen.info.values()), seen.reward)


def test_the_mask_is_gymnasiums():
    env, gym_env = Taxi(masked=True), gym_taxi()
    seen = jax.vmap(env.observe)(jnp.arange(500, dtype=jnp.int32))
    assert isinstance(seen, Masked)
    np.testing.assert_array_equal(seen.mask, [gym_env.action_mask(s) == 1 for s in range(500)])


def test_text_tells_who_waits_where():
    state = ((2 * 5 + 1) * 5 + 1) * 4 + 2
    assert Taxi().ascii(state).split("\n")[3] == "| :@: : : |"
    assert Taxi().ascii(state).endswith("passenger at G, to Y")
    aboard = ((0 * 5 + 0) * 5 + ABOARD) * 4 + 3
    marks = [["→"] * 5] * 5
    assert Taxi().ascii(aboard, marks).split("\n")[1:3] == ["|@:→|→:→:G|", "|→:→|→:→:→|"]
    assert Taxi().ascii(aboard, marks).endswith("passenger aboard, to B")
