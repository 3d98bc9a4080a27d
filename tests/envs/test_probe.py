import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.core.types import Masked
from fathom.envs.base import Env
from fathom.envs.probe.counting import CountingEnv
from fathom.envs.probe.policy import ContinuousProbe, MaskedProbe, ObsPolicyProbe, PolicyProbe
from fathom.envs.probe.value import CreditProbe, ObsValueProbe, TruncationProbe, ValueProbe

GAMMA = 0.9
PROBES: list[Env] = [
    ValueProbe(),
    ObsValueProbe(),
    CreditProbe(),
    TruncationProbe(),
    PolicyProbe(),
    ObsPolicyProbe(),
    ContinuousProbe(),
    MaskedProbe(),
    CountingEnv(),
]


reset = jax.jit(lambda env, key: env.reset(key))
step_once = jax.jit(lambda env, key, state, action: env.step(key, state, action))


def episode(env, seed, act, limit=50):
    """Observations (one more than steps), actions and steps of one episode."""
    key = jax.random.key(seed)
    state, obs = reset(env, jax.random.fold_in(key, 0))
    seen, actions, steps = [obs], [], []
    for t in range(limit):
        action = act(obs, t)
        state, step = step_once(env, jax.random.fold_in(key, t + 1), state, action)
        obs = step.obs
        seen.append(obs)
        actions.append(action)
        steps.append(step)
        if step.terminated | step.truncated:
            break
    return seen, actions, steps


def discounted(steps):
    return sum(GAMMA**t * float(step.reward) for t, step in enumerate(steps))


@pytest.mark.parametrize("env", PROBES, ids=lambda env: type(env).__name__)
def test_probes_stay_in_their_spaces_and_types(env):
    state, obs = env.reset(jax.random.key(0))
    assert env.obs_space.contains(jax.device_get(obs))
    action = env.action_space.sample(jax.random.key(1))
    after, step = env.step(jax.random.key(2), state, action)
    assert env.obs_space.contains(jax.device_get(step.obs))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves((state, obs)), jax.tree.leaves((after, step.obs)), strict=True):
        assert (new.shape, new.dtype, new.weak_type) == (old.shape, old.dtype, old.weak_type)
    assert (step.reward.dtype, step.reward.shape, step.reward.weak_type) == (jnp.float32, (), False)
    assert step.terminated.dtype == step.truncated.dtype == jnp.bool_


@pytest.mark.parametrize(
    ("env", "length"),
    [(ValueProbe(), 1), (ValueProbe(reward=3.0), 1), (ObsValueProbe(), 1), (CreditProbe(), 2)],
)
def test_value_probes_earn_their_values_whatever_is_done(env, length):
    for seed, action in itertools.product(range(6), (0, 1)):
        seen, _, steps = episode(env, seed, lambda obs, t, a=action: jnp.int32(a))
        assert len(steps) == length
        assert not any(step.truncated for step in steps)
        for t in range(length):
            assert env.value(seen[t], GAMMA) == pytest.approx(discounted(steps[t:]))


@pytest.mark.parametrize("env", [ObsValueProbe(), ObsPolicyProbe()])
def test_random_observations_are_both(env):
    _, obs = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 200))
    assert set(np.unique(obs)) == {-1.0, 1.0}
    assert abs(float(obs.mean())) < 0.3


def test_truncation_probe_never_ends_and_is_worth_ten():
    seen, _, steps = episode(TruncationProbe(), 0, lambda obs, t: jnp.int32(0), limit=12)
    assert len(steps) == 12
    assert all(step.reward == 1 for step in steps)
    np.testing.assert_allclose(TruncationProbe().value(jnp.stack(seen), GAMMA), np.full(13, 10.0), rtol=1e-6)


@pytest.mark.parametrize("env", [PolicyProbe(), ObsPolicyProbe()])
def test_policy_probes_pay_the_best_action(env):
    for seed in range(6):
        seen, _, best = episode(env, seed, lambda obs, t: env.best_action(obs))
        _, _, worst = episode(env, seed, lambda obs, t: 1 - env.best_action(obs))
        assert (len(best), float(best[0].reward), float(worst[0].reward)) == (1, 1.0, -1.0)
        assert env.value(seen[0], GAMMA) == 1.0


def test_continuous_probe_pays_by_distance_and_tells_of_actions_outside():
    env = ContinuousProbe(target=1.5)
    state, obs = env.reset(jax.random.key(0))
    for action, reward, outside in [
        (1.5, 0.0, 0),
        (0.5, -1.0, 0),
        (2.0, -0.25, 0),
        (-0.5, -4.0, 1),
        (2.5, -1.0, 1),
    ]:
        _, step = env.step(jax.random.key(1), state, jnp.array([action], jnp.float32))
        assert float(step.reward) == pytest.approx(reward)
        assert step.info["outside"] == outside
        assert step.terminated
    assert env.action_space.contains(np.asarray(env.best_action(obs)))


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_masked_probe_pays_what_it_says(num_steps):
    env = MaskedProbe(num_steps=num_steps)
    best = {}
    for seed in range(12):
        seen, _, steps = episode(env, seed, lambda obs, t: env.best_action(obs))
        assert len(steps) == num_steps
        assert not any(step.info["illegal"] for step in steps)
        for obs, step in zip(seen, steps, strict=False):
            mask = tuple(np.asarray(obs.mask).tolist())
            assert any(mask)
            best[mask] = max(i for i, legal in enumerate(mask) if legal)
            assert float(step.reward) == pytest.approx(best[mask] / 3)
    assert len(set(best.values())) > 1


def test_masked_probe_punishes_and_counts_an_illegal_action():
    env = MaskedProbe()
    for seed in range(6):
        state, obs = reset(env, jax.random.key(seed))
        for action, legal in enumerate(np.asarray(obs.mask).tolist()):
            _, step = step_once(env, jax.random.key(1), state, jnp.int32(action))
            assert float(step.info["illegal"]) == float(not legal)
            assert float(step.reward) == pytest.approx(action / 3 if legal else -1.0)


def test_masked_probe_values_are_the_mean_of_the_best_returns():
    env = MaskedProbe(num_steps=3)

    def play(key):
        state, first = env.reset(jax.random.fold_in(key, 0))
        obs, total = first, 0.0
        for t in range(3):
            state, step = env.step(jax.random.fold_in(key, t + 1), state, env.best_action(obs))
            obs, total = step.obs, total + GAMMA**t * step.reward
        return total - env.value(first, GAMMA), env.value(obs, GAMMA)

    error, at_the_end = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(5), 20000))
    assert abs(float(error.mean())) < 4 * float(error.std()) / np.sqrt(20000)
    assert not np.any(at_the_end)
    by_hand = sum(
        max(i for i in range(4) if bits >> i & 1 or i == sure) for bits in range(16) for sure in range(4)
    )
    assert env.mean_best == pytest.approx(by_hand / 64 / 3)


def test_masked_probe_shows_masked_observations_of_the_steps_left():
    env = MaskedProbe()
    seen, _, _ = episode(env, 0, lambda obs, t: env.best_action(obs))
    assert all(isinstance(obs, Masked) for obs in seen)
    assert [float(obs.obs[0]) for obs in seen] == [1.0, 0.5, 0.0]


def transitions(env, seed):
    seen, actions, steps = episode(env, seed, lambda obs, t: jnp.int32(t % env.num_actions))
    return {
        "obs": np.stack(seen[:-1]),
        "action": np.stack(actions),
        "reward": np.stack([s.reward for s in steps]),
        "terminated": np.stack([s.terminated for s in steps]),
        "truncated": np.stack([s.truncated for s in steps]),
        "final_obs": np.stack(seen[1:]),
    }


def test_counting_episodes_have_their_length_and_end_as_it_says():
    env = CountingEnv()
    lengths, names = set(), set()
    for seed in range(25):
        made = transitions(env, seed)
        length = len(made["reward"])
        assert bool(env.consistent(**made).all())
        np.testing.assert_array_equal(made["obs"][:, 2], np.arange(length))
        np.testing.assert_array_equal(made["obs"][:, 3], length)
        assert (bool(made["terminated"][-1]), bool(made["truncated"][-1])) == (
            length % 2 == 0,
            length % 2 == 1,
        )
        assert not bool((made["terminated"] | made["truncated"])[:-1].any())
        lengths.add(length)
        names.add(tuple(np.asarray(made["obs"][0, :2]).tolist()))
    assert lengths == set(range(1, 8))
    assert len(names) == 25


def test_counting_finds_lost_shifted_and_invented_steps():
    env = CountingEnv()
    made = next(m for m in (transitions(env, s) for s in range(50)) if len(m["reward"]) == 6)
    other = transitions(env, 99)
    last = np.float32([0, 0, 0, 0, 0, 1])
    beyond = last[:, None] * np.float32([0, 0, 1, 0])
    broken = {
        "ghost step across the reset": {"final_obs": np.vstack([made["final_obs"][:-1], other["obs"][:1]])},
        "lost final observation": {"final_obs": np.vstack([made["final_obs"][:-1], made["obs"][-1:]])},
        "rewards shifted": {"reward": np.roll(made["reward"], 1)},
        "actions shifted": {"action": np.roll(made["action"], 1)},
        "flags shifted": {"terminated": np.roll(made["terminated"], 1)},
        "truncation for termination": {"terminated": made["truncated"], "truncated": made["terminated"]},
        "step from beyond the end": {
            "obs": made["obs"] + beyond,
            "final_obs": made["final_obs"] + beyond,
            "reward": made["reward"] + last,
        },
    }
    assert bool(env.consistent(**made).all())
    for what, stored in broken.items():
        assert not bool(env.consistent(**{**made, **stored}).all()), what


@pytest.mark.parametrize(
    "make",
    [
        lambda: CountingEnv(max_length=0),
        lambda: CountingEnv(num_actions=5),
        lambda: MaskedProbe(num_actions=1),
        lambda: MaskedProbe(num_steps=0),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(FathomError, match="give at least"):
        make()
