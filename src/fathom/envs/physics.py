"""MuJoCo's state as plain arrays, so that its environments can be copied exactly."""

from typing import Any

import numpy as np

# What a step computes on its way and environments read; every other field is a step's own affair.
_READ = (
    *("xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis"),
    *("geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat"),
    *("subtree_com", "subtree_linvel", "subtree_angmom", "cinert", "cvel", "cacc", "cfrc_int", "cfrc_ext"),
    *("qacc", "qfrc_actuator", "qfrc_passive", "qfrc_bias", "qfrc_constraint"),
    *("actuator_length", "actuator_velocity", "actuator_force", "ten_length", "ten_velocity"),
    *("sensordata", "energy"),
)


def is_data(value: Any) -> bool:
    """Whether this is a simulation's state, an MjData."""
    return _named(value, "MjData")


def is_model(value: Any) -> bool:
    """Whether this is a simulation's constants, an MjModel."""
    return _named(value, "MjModel")


def is_view(value: Any) -> bool:
    """Whether this only draws a simulation: Gymnasium's renderer, which holds nothing of its own."""
    return type(value).__name__ == "MujocoRenderer"


def _named(value: Any, name: str) -> bool:
    kind = type(value)
    return kind.__name__ == name and kind.__module__.partition(".")[0] == "mujoco"


def same_model(one: Any, other: Any) -> bool:
    """Whether two models are equal to the bit."""
    return is_model(one) and is_model(other) and np.array_equal(_bytes(one), _bytes(other))


def _bytes(model: Any) -> np.ndarray:
    import mujoco  # pyright: ignore[reportMissingImports]

    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)  # pyright: ignore[reportAttributeAccessIssue]
    mujoco.mj_saveModel(model, None, buffer)  # pyright: ignore[reportAttributeAccessIssue]
    return buffer


def state(data: Any) -> dict[str, np.ndarray]:
    """What the simulation goes on from, under "", and what was computed from it, by name.

    The latter is as old as the last step, and environments read it: a step begins by computing it anew.
    """
    import mujoco as mj  # pyright: ignore[reportMissingImports]

    kind = mj.mjtState.mjSTATE_INTEGRATION  # pyright: ignore[reportAttributeAccessIssue]
    whole = np.zeros(mj.mj_stateSize(data.model, kind))  # pyright: ignore[reportAttributeAccessIssue]
    mj.mj_getState(data.model, data, whole, kind)  # pyright: ignore[reportAttributeAccessIssue]
    return {"": whole} | {name: x.copy() for name in _READ if (x := getattr(data, name, None)) is not None}


def restore(data: Any, saved: dict[str, np.ndarray]) -> None:
    """Set a simulation of the same model to a state that `state` gave."""
    import mujoco as mj  # pyright: ignore[reportMissingImports]

    kind = mj.mjtState.mjSTATE_INTEGRATION  # pyright: ignore[reportAttributeAccessIssue]
    mj.mj_setState(data.model, data, saved[""], kind)  # pyright: ignore[reportAttributeAccessIssue]
    for name in _READ:
        if name in saved:
            getattr(data, name)[...] = saved[name]
