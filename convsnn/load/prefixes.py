"""Names of weights without the wrappers that the network was in when it was saved."""

from collections.abc import Collection, Mapping

from torch import Tensor

# of DataParallel, torch.compile, Lightning and the like; and names that people give to a network
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")
_COUNT = "n_averaged"  # what AveragedModel keeps beside the network
_WITHIN = ("_orig_mod", "module")  # wrappers around a part of the network


def unprefixed(
    state: dict[str, Tensor], own: Collection[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under the module's names, and what was taken off theirs.

    Off comes what stands before all of them while none is the module's, and what wraps a part.
    """
    taken_off: list[str] = []
    others = [name for name in state if name != _COUNT]
    if _COUNT in state and _COUNT not in own and all(n.startswith("module.") for n in others):
        state = {name: state[name] for name in others}
    plain = _unwrapped_within(state, own)
    if plain is not None:
        taken_off = [f"'{part}.'" for part in _WITHIN if any(f"{part}." in n for n in state)]
        state = plain

    while state and state.keys().isdisjoint(own):
        found = [p for p in _WRAPPERS if all(name.startswith(p) for name in state)]
        if not found:
            break
        state = {name.removeprefix(found[0]): value for name, value in state.items()}
        taken_off.append(f"'{found[0]}'")
    return state, taken_off


def _unwrapped_within(
    state: Mapping[str, Tensor], own: Collection[str]
) -> dict[str, Tensor] | None:
    """The weights without the parts `module` and `_orig_mod` of their names, where the module has
    no such part; None where nothing changes, or two names would become one."""
    absent = [part for part in _WITHIN if not any(part in name.split(".") for name in own)]
    names = {
        name: ".".join(part for part in name.split(".") if part not in absent) for name in state
    }
    changed = any(new != name for name, new in names.items())
    if not changed or len(set(names.values())) < len(names):
        return None
    return {names[name]: value for name, value in state.items()}
