"""REINFORCE on the short corridor: Sutton & Barto 2018, Figures 13.1 and 13.2."""

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.keys import named, numbered
from fathom.core.module import lift
from fathom.envs.toy.corridor import ShortCorridor
from fathom.ops.returns import discounted_returns
from fathom.reproduce import curves, drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings
from fathom.reproduce.curves import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPISODES = 1_000
CAP = 1_000  # steps at which an episode is cut, lest a policy that has become certain walk for ever
CUT = f"episodes cut at {CAP:,} steps"
RIGHT = 0.05  # probability of going right at first
LAST = 100  # episodes of which a figure of ours is the mean
BIN = 10  # episodes that make a point of a curve, lest it be all noise
_YLIM = (-90.0, -5.0)  # of the pictures
OPTIMUM = -6.0 - 4.0 * math.sqrt(2.0)  # reward of an episode, on average, at best; Example 13.1


class Learner(NamedTuple):
    """Step sizes of REINFORCE; `weight` 0 is REINFORCE without baseline."""

    theta: float  # α^θ
    weight: float = 0.0  # α^w


class Episode(NamedTuple):
    """The rows of an episode, [time, ...], and after its end rows of no use."""

    action: Int[Array, "time ..."]
    reward: Float[Array, "time ..."]
    terminated: Bool[Array, "time ..."]


def log_policy(theta: Float[Array, " action"], action: Int[Array, ""]) -> Float[Array, ""]:
    """The logarithm of π(a|θ), a softmax in linear preferences; Sutton & Barto 2018, Eq. 13.2 and 13.3.

    The states look alike, so x(s, a) marks the action alone and θ has a number for each.
    """
    return jax.nn.log_softmax(theta)[action]


def reinforce(
    theta: Float[Array, " action"], w: Float[Array, ""], episode: Episode, learner: Learner
) -> tuple[Float[Array, " action"], Float[Array, ""]]:
    """θ and w after an episode of REINFORCE with baseline v̂(S, w) = w, Sutton & Barto 2018, p. 330; γ = 1.

    For t = 0, …, T − 1: δ ← G_t − v̂(S_t, w); w ← w + α^w δ ∇v̂(S_t, w); θ ← θ + α^θ δ ∇ln π(A_t|S_t, θ).
    With α^w = 0 and w = 0 this is REINFORCE, p. 328. An episode that was cut counts as ended.
    """
    rows = episode.reward.shape[0]
    terminated = episode.terminated[:, None]
    nothing = jnp.zeros((rows, 1), jnp.float32)
    returns = discounted_returns(
        episode.reward[:, None], terminated, jnp.zeros_like(terminated), nothing, 1.0
    )[:, 0]
    length = jnp.where(episode.terminated.any(), jnp.argmax(episode.terminated) + 1, rows)

    def change(t: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        theta, w = carry
        delta = returns[t] - w
        direction = jax.grad(log_policy)(theta, episode.action[t])
        return theta + learner.theta * delta * direction, w + learner.weight * delta

    return jax.lax.fori_loop(0, length, change, (theta, w))


def walk(env: ShortCorridor, theta: Float[Array, "lane action"], key: Key[Array, " lane"]) -> Episode:
    """An episode by each of several policies, [time, lane]; cut after `CAP` steps.

    Side by side until the last is over: after its end a walk earns nothing.
    """
    lanes = theta.shape[0]
    state, _ = jax.vmap(lambda k: env.reset(named(k, "reset")))(key)
    uniform = jax.vmap(lambda k: jax.random.uniform(named(k, "act"), (CAP,)), out_axes=1)(key)
    step_key = jax.vmap(lambda k: named(k, "step"))(key)
    right = jnp.exp(jax.vmap(log_policy, in_axes=(0, None))(theta, jnp.ones((), jnp.int32)))

    def going_on(carry: tuple) -> Array:
        t, _, over, _ = carry
        return (t < CAP) & ~over.all()

    def step(carry: tuple) -> tuple:
        t, state, over, rows = carry
        action = (uniform[t] < right).astype(jnp.int32)
        keys = jax.vmap(lambda k: numbered(k, t))(step_key)
        state, seen = jax.vmap(env.step)(keys, state, action)
        row = Episode(action, jnp.where(over, 0.0, seen.reward), seen.terminated & ~over)
        rows = jax.tree.map(lambda into, x: into.at[t].set(x), rows, row)
        return t + 1, state, over | seen.terminated, rows

    shape = (CAP, lanes)
    rows = Episode(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.bool_))
    start = (jnp.zeros((), jnp.int32), state, jnp.zeros(lanes, jnp.bool_), rows)
    return jax.lax.while_loop(going_on, step, start)[-1]


@partial(jax.jit, static_argnames="episodes")
def _play(
    learners: Learner, env: ShortCorridor, keys: Key[Array, " lane"], episodes: int
) -> tuple[Float[Array, "episode lane"], Bool[Array, "episode lane"]]:
    """The reward of each episode of each learner, and whether it was cut."""

    def one(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        episode = walk(env, carry[0], jax.vmap(lambda k: numbered(k, i))(keys))
        learnt = jax.vmap(reinforce, in_axes=(0, 0, 1, 0))(*carry, episode, learners)
        return learnt, (episode.reward.sum(axis=0), ~episode.terminated.any(axis=0))

    first = jnp.asarray([0.0, math.log(RIGHT / (1.0 - RIGHT))], jnp.float32)
    start = (jnp.tile(first, (keys.shape[0], 1)), jnp.zeros(keys.shape[0], jnp.float32))
    return jax.lax.scan(one, start, jnp.arange(episodes, dtype=jnp.int32))[1]


def play(
    learners: dict[str, Learner], runs: int, episodes: int, seed: int
) -> tuple[dict[str, Float[np.ndarray, "run episode"]], int]:
    """The reward of each episode of each learner, by label, and how many episodes were cut."""
    root = named(jax.random.key(seed), "runs")
    keys = jax.vmap(lambda i: numbered(root, i))(jnp.arange(runs, dtype=jnp.int32))
    lanes = jax.tree.map(lambda *x: jnp.repeat(jnp.asarray(x, jnp.float32), runs), *learners.values())
    reward, cut = _play(lanes, lift(ShortCorridor()), jnp.tile(keys, len(learners)), episodes)
    by_learner = np.asarray(reward).T.reshape(len(learners), runs, episodes)
    return dict(zip(learners, by_learner, strict=True)), int(np.asarray(cut).sum())


def stuck(rewards: Float[np.ndarray, "run episode"]) -> Bool[np.ndarray, " run"]:
    """Which runs have become certain to walk away from the end: all of their last episodes were cut."""
    return (rewards[:, -LAST:] == -CAP).all(axis=-1)


def _compute(learners: dict[str, Learner], runs: int, seed: int) -> Outcome:
    rewards, cut = play(learners, runs, EPISODES, seed)
    figures = {}
    for label, x in rewards.items():
        last, lost = x[:, -LAST:].mean(axis=-1), stuck(x)
        figures[f"{label}: reward of the last {LAST} of {EPISODES:,} episodes"] = Estimate.of(last)
        if lost.any() and not lost.all():
            number = f"without the {lost.sum()} of {runs:,} runs that no longer end"
            figures[f"{label}: the same {number}"] = Estimate.of(last[~lost])
    figures["the best there is, −6 − 4√2"] = Estimate(OPTIMUM)
    figures[f"{CUT}, of {len(learners) * runs * EPISODES:,}"] = Estimate(float(cut))
    return Outcome(figures, {"rewards": rewards, "runs": runs})


def _draw(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Total reward of an episode", "episode", "")
    axes.set_xlim(0, EPISODES)
    colors = curves.colors_of(outcome.data["rewards"])
    for label, x in outcome.data["rewards"].items():
        lost, paint = stuck(x), {label: colors[label]}
        if lost.any() and not lost.all():
            # A band about the mean of all would cover everything else.
            curves.lines(axes, {label: _curve(x)._replace(half=np.zeros(EPISODES // BIN))}, paint, _YLIM)
            others = f"{label}, without the {lost.sum()} runs that no longer end"
            curves.lines(axes, {others: _curve(x[~lost])}, {others: colors[label]}, _YLIM, ls="--")
        else:
            curves.lines(axes, {label: _curve(x)}, paint, _YLIM)
    axes.axhline(OPTIMUM, color=drawing.INK, lw=1.0, ls=":", zorder=5)
    text = f"v*(s₀) = −{-OPTIMUM:.2f}"
    axes.annotate(text, (0, OPTIMUM), (4, 4), textcoords="offset points", ha="left")
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.68))
    curves.note(figure, outcome.data["runs"], more=f"{CUT} · means of {BIN} episodes")


def _curve(rewards: Float[np.ndarray, "run episode"]) -> Curve:
    bins = rewards.reshape(len(rewards), -1, BIN).mean(axis=-1)
    return Curve.of(np.arange(EPISODES // BIN) * BIN + (BIN + 1) / 2, bins)


_FIGURE_13_1 = {f"α = 2⁻{e}": Learner(2.0**-n) for e, n in (("¹²", 12), ("¹³", 13), ("¹⁴", 14))}
_FIGURE_13_2 = {
    "with baseline, αᶿ = 2⁻⁹, αʷ = 2⁻⁶": Learner(2.0**-9, 2.0**-6),
    "REINFORCE, α = 2⁻¹³": Learner(2.0**-13),
}
_NOTES = (
    f"an episode is cut after {CAP:,} steps and counts as ended there",
    "where some runs no longer end, the mean of all is drawn without its band, that of the others with it",
    f"θ at first such that right has probability {RIGHT}; w = 0 at first; γ = 1",
)

EXPERIMENTS = (
    Experiment(
        "figure-13.1",
        f"REINFORCE on the short corridor by step size ({CUT})",
        "Sutton & Barto 2018, Figure 13.1",
        100,
        lambda runs, seed: _compute(_FIGURE_13_1, runs, seed),
        _draw,
        notes=_NOTES,
    ),
    Experiment(
        "figure-13.2",
        f"REINFORCE on the short corridor with and without baseline ({CUT})",
        "Sutton & Barto 2018, Figure 13.2",
        100,
        lambda runs, seed: _compute(_FIGURE_13_2, runs, seed),
        _draw,
        notes=_NOTES,
    ),
)
