"""`convsnn inspect`: before any work, what each layer becomes and what blocks the conversion."""

from convsnn.commands import groups, options, printing
from convsnn.workflows.inspect import inspect as look_at


@groups.grouped
def inspect(
    model: options.Model,
    *,
    network: groups.Network,
    verify: options.Verify = False,
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """Show what each layer becomes and what blocks; exit 1 where something does."""
    found = look_at(
        model, weights=network.weights, input_shape=options.shape(network.input_shape),
        answer=network.answer, verify=verify,
    )  # fmt: skip
    printing.show_result(found, as_json=as_json, csv=csv)
    return 0 if found.converts else 1
