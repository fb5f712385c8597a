"""What one entrance reads, the other does: both op tables walked, each difference explained."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsnn.load import load_module
from convsnn.load.aten import LOWERINGS
from convsnn.load.onnx import ONNX_OPS
from convsnn.load.verify import module_reference, verify_import

# ONNX op: the ATen ops that say the same.
PAIRS = {
    "Abs": "abs",
    "Add": "add",
    "ArgMax": "argmax",
    "Attention": "scaled_dot_product_attention",
    "AveragePool": "avg_pool1d avg_pool2d avg_pool3d",
    "BatchNormalization": "_native_batch_norm_legit_no_training",
    "Cast": "_to_copy to",
    "Celu": "celu",
    "Clip": "clamp clip clamp_max clamp_min hardtanh relu6",
    "Concat": "cat concat stack",
    "Bernoulli": "bernoulli poisson",
    "CastLike": "type_as",
    "Col2Im": "col2im",
    "Conv": "conv1d conv2d conv3d im2col",
    "Cos": "cos",
    "ConvTranspose": "conv_transpose1d conv_transpose2d conv_transpose3d",
    "CumSum": "cumsum",
    "DepthToSpace": "pixel_shuffle",
    "Div": "div addcdiv",
    "Dropout": "dropout native_dropout feature_dropout alpha_dropout",
    "Einsum": "einsum",
    "Elu": "elu",
    "Erf": "erf",
    "Exp": "exp",
    "Expand": "expand",
    "Flatten": "flatten",
    "Floor": "floor",
    "Gather": "index_select index select flip roll repeat_interleave",
    "GRU": "gru gru_cell",
    "Gelu": "gelu",
    "Gemm": "addmm linear",
    "GlobalAveragePool": "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    "GlobalMaxPool": "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "GroupNormalization": "group_norm native_group_norm",
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
    "Identity": "clone contiguous alias detach lift_fresh_copy",
    "InstanceNormalization": "instance_norm",
    "LSTM": "lstm lstm_cell mkldnn_rnn_layer",
    "LayerNormalization": "layer_norm native_layer_norm",
    "LeakyRelu": "leaky_relu rrelu",
    "Less": "lt",
    "LessOrEqual": "le",
    "Log": "log",
    "LogSoftmax": "log_softmax _log_softmax",
    "LpNormalization": "linalg_vector_norm norm",
    "MatMul": "matmul mm bmm",
    "Max": "maximum max",
    "MaxPool": "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices",
    "Min": "minimum min",
    "Mish": "mish",
    "Mul": "mul addcmul lerp",
    "Multinomial": "multinomial",
    "Neg": "neg",
    "PRelu": "prelu _prelu_kernel",
    "Pad": "pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d",
    "Pow": "pow square",
    "QuantizeLinear": "fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask "
    "fake_quantize_per_channel_affine fake_quantize_per_channel_affine_cachemask "
    "_fused_moving_avg_obs_fq_helper_functional",
    "RMSNormalization": "rms_norm _fused_rms_norm",
    "RNN": "rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell",
    "RandomNormalLike": "randn_like normal",
    "RandomUniformLike": "rand_like randint_like uniform exponential",
    "Reciprocal": "reciprocal",
    "ReduceMax": "amax",
    "ReduceMean": "mean",
    "ReduceMin": "amin",
    "ReduceSum": "sum",
    "Relu": "relu",
    "Reshape": "view reshape _unsafe_view _reshape_copy unflatten channel_shuffle",
    "Resize": "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
    "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d _upsample_nearest_exact3d",
    "Round": "round",
    "ScatterND": "slice_scatter select_scatter copy",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Sign": "sign sgn",
    "Sin": "sin",
    "Slice": "slice diff unfold",
    "Softmax": "softmax _softmax",
    "Softplus": "softplus",
    "SpaceToDepth": "pixel_unshuffle",
    "Split": "split split_with_sizes unbind",
    "Sqrt": "sqrt rsqrt",
    "Squeeze": "squeeze",
    "Sub": "sub rsub",
    "Swish": "silu",
    "Tanh": "tanh",
    "ThresholdedRelu": "threshold",
    "Tile": "repeat",
    "Transpose": "permute transpose",
    "Unsqueeze": "unsqueeze",
    "Where": "where masked_fill",
}
# Ops that only one entrance has, and why.
ONLY_ONNX = {
    "ConvInteger": "torch traces whole-number networks under names of a quantiser's own",
    "DequantizeLinear": "the second half of what torch traces as one fake_quantize",
    "DynamicQuantizeLinear": "as ConvInteger",
    "GatherElements": "torch's index has the batch's size, which is free: it is refused by name",
    "GatherND": "torch traces it as index",
    "IsNaN": "torch's exporter writes it behind a softmax; torch traces the softmax alone",
    "LRN": "torch traces it in parts",
    "MatMulInteger": "as ConvInteger",
    "Mean": "torch writes it as sums and a factor",
    "MeanVarianceNormalization": "torch has none",
    "QLinearConv": "as ConvInteger",
    "QLinearMatMul": "as ConvInteger",
    "ReduceL1": "torch has one op for lengths of every order, LpNormalization's pair",
    "ReduceL2": "as ReduceL1",
    "Scatter": "as GatherElements",
    "ScatterElements": "as GatherElements",
    "Shape": "torch's sizes are read off the traced values",
    "Size": "as Shape",
    "Softsign": "torch traces it in parts",
    "Sum": "torch traces sums of two",
    "TopK": "an unknown ATen op is refused alike",
    "Upsample": "what Resize was called until opset 9",
}
ONLY_TORCH = dict.fromkeys(
    ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"),
    "a constant of the size of a value; in a file it is a constant already",
) | dict.fromkeys(
    ("glu", "log_sigmoid", "var", "std", "var_mean", "std_mean"),
    "a file has it in parts",
)


def test_every_op_that_only_one_entrance_has_says_why() -> None:
    assert set(PAIRS) | set(ONLY_ONNX) == set(ONNX_OPS.names())
    assert not set(PAIRS) & set(ONLY_ONNX)
    paired = [name for names in PAIRS.values() for name in names.split()]
    assert len(paired) == len(set(paired))
    assert {*paired, *ONLY_TORCH} == set(LOWERINGS)
    assert not {*paired} & set(ONLY_TORCH)


class Net(nn.Module):
    """One op between two layers, and one before the first."""

    def __init__(self, op: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.op = op
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.op(self.a(x)).flatten(1))


GAIN = torch.linspace(-1, 1, 6)
LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda x: x.flip((1, 3)),
    "index by a list": lambda x: x[:, [2, 0, 1]],
    "index_select": lambda x: x.index_select(2, torch.tensor([5, 0, 3])),
    "roll": lambda x: x.roll((1, -2), (3, 1)),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=2),
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1),
    "sum": lambda x: x.sum((1, -1)),
    "sum of one axis": lambda x: x.sum(2, keepdim=True),
    "addcmul": lambda x: torch.addcmul(x, x.flip(3), GAIN, value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x, GAIN + 2),
    "lerp": lambda x: torch.lerp(x, x.flip(2), 0.25),
    "alpha": lambda x: torch.add(x, x.roll(1, 2), alpha=-0.5),
    "stack before the batch": lambda x: torch.stack([x, x * 0.5], 0).sum(0),
    "stack before the batch, selected": lambda x: torch.stack([x, x * 0.5], 0)[1],
    "stack behind the batch": lambda x: torch.stack([x, x * 0.5], 2).transpose(1, 2),
    "stack, turned": lambda x: torch.stack([x, x * 2]).transpose(0, 1),
    "cumsum": lambda x: x.cumsum(1),
    "cumsum of a constant": lambda x: x * GAIN.cumsum(0),
    "diff": lambda x: x.diff(n=2, dim=3),
    "unfold": lambda x: F.unfold(x, 2, dilation=2, padding=1, stride=2),
    "power of one": lambda x: x**1.0,
    "nearest-exact": lambda x: F.interpolate(x, size=(9, 4), mode="nearest-exact"),
    "constant mask": lambda x: torch.where(GAIN > 0, x, 0.5),
    "einsum, sum": lambda x: torch.einsum("bchw->bc", x),
    "einsum, transpose": lambda x: torch.einsum("bchw->bwch", x),
    "einsum, product": lambda x: torch.einsum("bchw,wk->bkch", x, GAIN[:, None] * GAIN[:3]),
    "einsum, product over two": lambda x: torch.einsum(
        "kch,bchw->bwk", torch.outer(GAIN[:5], torch.ones(24)).reshape(5, 4, 6), x
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_op_is_read_as_it_computes(name: str) -> None:
    module = Net(lambda x: torch.relu(LINEAR[name](x))).eval()
    x = torch.randn(3, 3, 6, 6)
    module(x)
    graph = load_module(module, x)
    graph.require_convertible()
    verify_import(graph, module_reference(module), x)
    assert len(graph.sites) == 1


ONE = torch.ones(1)
RECTIFIERS: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
    "where below 0, above 1": (
        lambda x: torch.where(x < 0, torch.zeros_like(x), torch.where(x > 1, ONE, x)), ["clip"]
    ),
    "where the other way": (
        lambda x: torch.where(x >= 2, 2 * ONE, torch.where(x > 0, x, 0 * ONE)), ["clip"]
    ),
    "where above, on a relu": (lambda x: torch.where(x.relu() > 1, ONE, x.relu()), ["clip"]),
    "half of x and |x|": (lambda x: (x + x.abs()) / 2, ["relu"]),
    "x and |x|": (lambda x: x + x.abs(), ["relu"]),
    "|x| of a relu": (lambda x: x.relu().abs(), ["relu"]),
    "|x|": (lambda x: x.abs(), ["relu", "relu"]),
    "sign times |x|": (lambda x: (x.sign() * x.abs()).relu(), ["relu"]),
    "lp pooling": (lambda x: F.lp_pool2d(x.relu(), 1, 2), ["relu"]),
    "a slope below": (lambda x: 0.6 * x + 0.4 * x.abs(), ["leaky_relu"]),
    "a slope by choices": (lambda x: torch.where(x > 0, x, x * 0.1), ["leaky_relu"]),
    "largest, spatial": (lambda x: x.relu().flatten(2).max(dim=2)[0], ["relu"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_rectifier_is_one_however_it_is_written(name: str) -> None:
    op, kinds = RECTIFIERS[name]
    module = Net(op).eval()
    x = torch.randn(3, 3, 6, 6) * 2
    module(x)
    graph = load_module(module, x)
    graph.require_convertible()
    verify_import(graph, module_reference(module), x)
    assert [site.kind for site in graph.sites.values()] == kinds


@pytest.mark.parametrize(
    ("op", "count", "word"),
    [
        (lambda x: x.sign().relu(), 1, "sign"),
        (lambda x: x[:, torch.tensor([True, False, True, True])].relu(), 1, "depends on values"),
        (lambda x: torch.where(x > 0, x + 1, 0), 2, "choose"),
        (lambda x: torch.where(x > 1, x, torch.zeros_like(x)), 2, "choose"),
    ],
)
def test_what_is_no_rectifier_is_named_once(
    op: Callable[[Tensor], Tensor], count: int, word: str
) -> None:
    module = Net(op).eval()
    x = torch.randn(3, 3, 6, 6)
    module(x)
    found = load_module(module, x).blockers()
    assert len(found) == count
    assert any(word in item.reason for item in found)


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (lambda x: F.local_response_norm(x.relu(), 3), "quotient"),
        (lambda x: F.normalize(x.relu()), "vector_norm"),
        (lambda x: x.relu() ** 2, "power"),
        (lambda x: x.relu() * x.flip(1).relu(), "multiply"),
        (lambda x: F.instance_norm(x).relu(), "layer_norm"),
    ],
)
def test_what_is_smooth_is_read_as_it_computes(op: Callable[[Tensor], Tensor], kind: str) -> None:
    module = Net(op).eval()
    x = torch.randn(3, 3, 6, 6)
    module(x)
    graph = load_module(module, x)
    verify_import(graph, module_reference(module), x)
    assert kind in {node.op for node in graph.smooth}


def test_an_instance_norm_with_kept_statistics_is_affine() -> None:
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    module = nn.Sequential(norm, nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    module(torch.randn(4, 3, 4, 4) * 3 + 1)
    graph = load_module(module.eval(), torch.randn(3, 3, 4, 4))
    verify_import(graph, module_reference(module), torch.randn(3, 3, 4, 4))
