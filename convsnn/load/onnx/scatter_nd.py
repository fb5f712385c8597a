"""ScatterND by constant indices that write whole slices of one axis over, as `x[:, 1:3] = y` does.

Torch's exporter writes that with the axis moved to the front, the batch behind it, and back.
"""

from dataclasses import replace

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Data, Value, as_constant


@ONNX_OPS.register("ScatterND")
def scatter_nd(
    net: Net, data: Value, indices: Value, updates: Value, *, reduction: str = "none"
) -> Data:
    """`data` with elements of its first axis replaced: picked from both, side by side."""
    chosen = as_constant(indices, "list of indices").array
    if reduction != "none" or chosen.ndim != 2 or chosen.shape[1] != 1:
        raise Blocked("it writes single elements, not whole slices of one axis")
    joined = ONNX_OPS.get("Concat")(net, data, updates, axis=0)
    assert isinstance(joined, Data)  # what a concatenation gives
    written = [int(i) for i in chosen[:, 0]]
    order = joined.order
    if order is None or joined.windows:
        raise net.mixed("it writes over samples")
    plain, own = replace(joined, dims=None, mixed=None, order=None), order[0]
    length = plain.shape[own - 1] - len(written)
    if not all(-length <= i < length for i in written):
        raise net.error(f"writes outside the {length} of an axis")
    places = {i % length: length + n for n, i in enumerate(written)}
    made = net.take(plain, own, [places.get(i, i) for i in range(length)])
    return net.moved(made, order)
