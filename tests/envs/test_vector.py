import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.keys import env_seeds
from fathom.envs.base import vec_reset, vec_step
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.probe.counting import CountingEnv
from fathom.envs.probe.policy import MaskedProbe
from fathom.envs.wrappers import TimeLimit

ENV = TimeLimit(CountingEnv(), 5)  # cut by the limit, by itself, or terminated
SEEDS = jnp.array([7, 3, 11, 2**31 - 1], jnp.uint32)
STEPS = 40


def chosen(t, env):
    return (t * 5 + env) % ENV.env.num_actions


@jax.jit
def run(seeds, columns):
    def advance(carry, t):
        state, obs = carry
        action = chosen(t, columns)
        state, step = vec_step(ENV, state, action)
        return (state, step.obs), (obs, action, step)

    return jax.lax.scan(advance, vec_reset(ENV, seeds), jnp.arange(STEPS))[1]


def roll(seeds, columns):
    """All that a vector shows: obs before each step, action, and the step; leaves [time, env, ...]."""
    return jax.device_get(run(seeds, columns))


@pytest.fixture(scope="module")
def rolled():
    return roll(SEEDS, jnp.arange(4))


def test_every_transition_is_one_that_can_happen(rolled):
    obs, action, step = rolled
    # The limit of 5 cuts longer episodes, which the environment within does not know of.
    by_limit = (step.final_obs[..., 2] == 5) & (obs[..., 3] > 5)
    cut_within = step.truncated & ~by_limit
    # Episodes of 5 steps are cut by both; those of 6 and 7 by the limit alone.
    assert by_limit.any()
    assert step.terminated.any()
    assert cut_within.any()
    good = ENV.env.consistent(obs, action, step.reward, step.terminated, cut_within, step.final_obs)
    assert bool(good.all())


def test_next_obs_is_the_final_one_or_that_of_a_new_episode(rolled):
    obs, _, step = rolled
    over = step.terminated | step.truncated
    np.testing.assert_array_equal(step.obs[:-1], obs[1:])
    np.testing.assert_array_equal(step.obs[~over], step.final_obs[~over])
    assert np.all(step.obs[over][:, 2] == 0)
    assert np.all(step.final_obs[..., 2] >= 1)
    assert np.all(step.obs[over][:, 0] != step.final_obs[over][:, 0])


def test_no_ghosts_against_a_loop_by_hand(rolled):
    """One environment at a time, reset by hand: the same transitions, none more, none less."""
    obs, action, step = rolled
    start = jax.jit(ENV.reset)
    move = jax.jit(ENV.step)
    rows = {name: [] for name in ("obs", "reward", "terminated", "truncated", "final_obs")}
    env = 2
    key = jax.random.key(SEEDS[env])
    state, seen = start(jax.random.fold_in(key, 0))
    for t in range(STEPS):
        step_key, reset_key = jax.random.split(jax.random.fold_in(key, t + 1))
        state, made = move(step_key, state, jnp.int32(action[t, env]))
        rows["obs"].append(seen)
        rows["reward"].append(made.reward)
        rows["terminated"].append(made.terminated)
        rows["truncated"].append(made.truncated)
        rows["final_obs"].append(made.obs)
        seen = made.obs
        if made.terminated or made.truncated:
            state, seen = start(reset_key)
    np.testing.assert_array_equal(obs[:, env], np.stack(rows.pop("obs")))
    for name, row in rows.items():
        np.testing.assert_array_equal(getattr(step, name)[:, env], np.stack(row), err_msg=name)


def test_steps_counted_are_steps_made(rolled):
    _, _, step = rolled
    over = step.terminated | step.truncated
    for env in range(4):
        ends = np.flatnonzero(over[:, env])
        lengths = np.diff(ends, prepend=-1)
        np.testing.assert_array_equal(lengths, step.final_obs[ends, env, 2])
        assert lengths.sum() + (STEPS - 1 - ends[-1]) == STEPS


def test_episodes_have_names_of_their_own(rolled):
    obs, _, _ = rolled
    firsts = obs[obs[..., 2] == 0]
    assert len(np.unique(firsts[:, :2], axis=0)) == len(firsts)


def test_stream_of_an_environment_depends_on_its_seed_alone(rolled):
    alone = roll(SEEDS[2:3], jnp.array([2]))
    turned = roll(SEEDS[::-1], jnp.arange(4)[::-1])
    for whole, one, back in zip(*map(jax.tree.leaves, (rolled, alone, turned)), strict=True):
        np.testing.assert_array_equal(whole[:, 2], one[:, 0])
        np.testing.assert_array_equal(whole, back[:, ::-1])


def test_other_actions_do_not_change_the_episodes_to_come(rolled):
    other = roll(SEEDS, jnp.arange(1, 5))
    np.testing.assert_array_equal(rolled[0], other[0])
    assert np.any(rolled[1] != other[1])


@pytest.mark.parametrize("run_seed", [0, 1, 41])
def test_neighbouring_seeds_share_no_start(run_seed):
    num_envs = 64
    starts = []
    for seed in (run_seed, run_seed + 1):
        seeds = env_seeds(jax.random.key(seed), num_envs)
        assert np.all(np.asarray(seeds) < 2**31)
        starts.append(np.asarray(jax.jit(vec_reset)(CartPole(), seeds)[1]))
    both = np.concatenate(starts)
    assert len(np.unique(both, axis=0)) == 2 * num_envs


def test_masks_travel_with_their_observations():
    env = MaskedProbe(num_steps=1)
    state, obs = jax.jit(vec_reset)(env, jnp.arange(8, dtype=jnp.uint32))
    assert obs.mask.shape == (8, 4)
    state, step = jax.jit(vec_step)(env, state, env.best_action(obs))
    assert np.all(np.asarray(step.terminated))
    assert np.all(np.asarray(step.obs.obs) == 1)
    assert np.all(np.asarray(step.final_obs.obs) == 0)
    np.testing.assert_array_equal(state.env.mask, step.obs.mask)
    assert np.any(np.asarray(step.obs.mask) != np.asarray(step.final_obs.mask))
    assert not np.any(np.asarray(step.info["illegal"]))
