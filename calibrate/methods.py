"""The named methods of conversion that `convsnn compare` sets side by side.

A method is a text for the calibration stages, a text for the neuron, and what a reader must know
before two of them share a column. They are those of MSAT's Table 2 that are training-free or have
a training-free part, the strongest newer one (LTB), MSAT in its forms, the fixed thresholds that
MSAT has to beat, and this project's own. All run with the image itself as input at every step, but
TSC, whose input is coded as its layers are. TSC (temporal-switch coding, Han and Roy 2020) is a
reconstruction: without the authors' code a fault of ours could not be told from one of theirs.
"""

from collections.abc import Sequence
from dataclasses import replace

from calibrate.defaults import ANY_TIME
from calibrate.named import NamedMethod
from calibrate.published import TABLE_2
from convsnn.errors import ConfigError
from convsnn.registry import nearest

_TUNED_ON = "the paper tunes its constants for its own networks"
_CURRENT = "the paper uses Poisson input and 2,500 calibration steps, here the image itself and 128"
_STEM = "in networks with branches only the stem is balanced, as in the code of Hybrid's authors"
_BALANCED = "steps=128,samples=128"
_MSAT = "the MSAT paper"

_TABLE: tuple[NamedMethod, ...] = (
    NamedMethod(
        "default",
        "Default",
        ANY_TIME,
        readout="auto",
        source="this project, after Li et al. 2021, section 4",
        note="what convert does when not told: thresholds of least squared error, weights "
        "refitted in closed form, and the readout that comes closer to the original",
    ),
    NamedMethod(
        "default-mean",
        "Default, mean readout",
        ANY_TIME,
        source="this project",
        note="the same with all steps counting alike",
    ),
    NamedMethod(
        "ftbc",
        "Time-varying bias",
        f"{ANY_TIME}+ftbc",
        readout="auto",
        source="this project, and Wu et al. 2024 (FTBC)",
        note="the default, then a bias for each channel and step, for 32 steps at most",
        differs="the paper starts from networks trained with a quantised activation, and adds the "
        "mean error so far where this adds what each step has added to it",
    ),
    NamedMethod(
        "layers",
        "Layer by layer",
        "mse:steps={steps}+weights",
        schedule="layers",
        source="this project, after PSC and Li et al. 2021, section 4",
        note="a layer fires once all its input has come: no wrong and no uneven spikes, the first "
        "answer after T steps for each layer",
    ),
    NamedMethod(
        "layers-mse",
        "Layer by layer, MSE thresholds",
        "mse:steps={steps}",
        schedule="layers",
        source="this project",
        note="the same with the weights as they are",
    ),
    NamedMethod(
        "mse",
        "MSE thresholds",
        "mse",
        source="this project, after Li et al. 2021, section 4.1",
        note="channel thresholds of least squared error, weights as they are",
    ),
    NamedMethod(
        "mse-burst",
        "MSE thresholds, burst",
        "mse:steps=2",
        "burst:gamma=15",
        spikes="graded",
        source="this project, after Li and Zeng 2022",
        note="up to fifteen spikes a step, as a 4-bit number",
    ),
    NamedMethod(
        "mse-signed",
        "MSE thresholds, signed",
        "mse",
        "signed",
        spikes="signed",
        source="this project, after You et al. 2024 (SpikeZIP-TF)",
        note="neurons that take wrong spikes back",
    ),
    NamedMethod(
        "p-norm",
        "p-Norm",
        "percentile:q=99.9,potential=0",
        source="Rueckauer et al. 2017",
        note="99.9 % quantile of a layer's activations",
    ),
    NamedMethod(
        "max-1.0",
        "Fixed, 1.0 of maximum",
        "max",
        source="Diehl et al. 2015",
        note="the threshold of MSAT before it adapts",
    ),
    NamedMethod("max-0.7", "Fixed, 0.7 of maximum", "max:factor=0.7", source="baseline"),
    NamedMethod(
        "max-0.5", "Fixed, 0.5 of maximum", "max:factor=0.5", source="baseline of MSAT's authors"
    ),
    NamedMethod(
        "msat-scale-free",
        "MSAT, scale-free",
        "max",
        "msat:reference=2",
        spikes="graded",
        source=f"{_MSAT}, equations 15 to 18",
        note="potentials in units of half the layer's maximum; convsnn tune fits its constants",
        differs="the paper works in units of the network's own activations",
    ),
    NamedMethod(
        "msat-vgg16",
        "MSAT, VGG16 set",
        "max",
        "msat:set=vgg16",
        spikes="graded",
        source=f"{_MSAT}, Table 1",
        note="the published constants suit layers whose maximum is about 1 to 3",
        differs=_TUNED_ON,
    ),
    NamedMethod(
        "msat-resnet20",
        "MSAT, ResNet20 set",
        "max",
        "msat:set=resnet20",
        spikes="graded",
        source=f"{_MSAT}, Table 1",
        note="the constants of the other column",
        differs=_TUNED_ON,
    ),
    NamedMethod(
        "msat-resnet20-repo",
        "MSAT, ResNet20 set of the code",
        "max",
        "msat:set=resnet20-repo,preset=repo",
        spikes="graded",
        source=f"the code of {_MSAT}'s authors",
        note="what their program runs for ResNet20, not what their table prints",
        differs=_TUNED_ON,
    ),
    NamedMethod(
        "msat-confidence",
        "MSAT with confidence",
        "max+confidence",
        "msat:set=vgg16,preset=repo",
        spikes="graded",
        source=f"{_MSAT}, section 4.3",
        note="confidence measured on training images, for the last spiking layer; spikes are "
        "dropped as in the authors' code, which their table came from",
        differs=f"{_TUNED_ON} and measures confidence on the test images",
    ),
    NamedMethod(
        "ltb",
        "LTB",
        "balance",
        source="Bu et al. 2025, arXiv 2409.03368",
        note="channel thresholds by local threshold balancing, readout from the first step on",
        differs="the paper leaves the first steps out of the readout",
    ),
    NamedMethod(
        "ltb-delayed",
        "LTB, delayed readout",
        "balance",
        readout="mean:delay={delay}",
        source="Bu et al. 2025, arXiv 2409.03368, section 4.3",
        note="the first eight steps, or a quarter of fewer than 32, are left out of the readout "
        "and count in T",
        differs="the paper chooses the delay for each number of steps",
    ),
    NamedMethod(
        "calibration-light",
        "Calibration, light",
        "mse:per=layer,steps={steps},start=current+bias:steps={few}",
        source="Li et al. 2021, sections 4.1 and 4.2",
        note="layer thresholds of least squared error, half a level of extra current, then bias "
        "correction over 32 steps at most",
    ),
    NamedMethod(
        "calibration-advanced",
        "Calibration, advanced",
        "mse:per=layer,steps={steps},start=current+potential:steps={few}",
        source="Li et al. 2021, sections 4.1 and 4.3",
        note="thresholds as light, then initial potentials, as the authors' code has it on CIFAR",
        differs="the paper also tunes weights by gradient descent on ImageNet",
    ),
    NamedMethod(
        "opt",
        "Opt. (shift and clip)",
        "opt:steps={steps}",
        source="Deng and Gu 2021",
        note="maximum threshold, half a level of extra current, right after T steps",
        differs="the paper trains the network with a clipped ReLU first; its code adds nothing "
        "where branches meet and twice as much in VGG networks with biases",
    ),
    NamedMethod(
        "channel-norm",
        "Channel-Norm",
        "channel:q=99.9,potential=0",
        source="Kim et al. 2020 (Spiking-YOLO)",
        note="99.9 % quantile of each channel's activations",
    ),
    NamedMethod(
        "burst",
        "Burst, LIPool",
        "burst:q=99.95,gamma=5",
        "burst:gamma=5",
        spikes="graded",
        source="Li and Zeng 2022",
        note="up to five spikes a step; max-pooling by running sums",
    ),
    NamedMethod(
        "rmp",
        "RMP-SNN",
        f"rmp:{_BALANCED}",
        source="Han et al. 2020",
        note=f"largest current of any step, soft reset; {_STEM}",
        differs=_CURRENT,
    ),
    NamedMethod(
        "spike-norm",
        "Spike-Norm",
        f"spike-norm:{_BALANCED}",
        "if:reset=zero",
        source="Sengupta et al. 2019",
        note=f"largest current of any step, reset to zero; {_STEM}",
        differs=f"{_CURRENT}; its networks have no biases",
    ),
    NamedMethod(
        "tsc",
        "TSC, reconstructed",
        "percentile:q=99.9+tsc",
        "tsc",
        encoder="tsc",
        spikes="signed",
        reconstruction=True,
        readout="switch",
        source="Han and Roy 2020",
        note="experimental: two spikes whose gap is the value; layers send one after another, so "
        "the first answer comes in the last of as many windows as there are layers, all in T: of "
        "128 steps a ResNet-20 has windows of 6, mostly of the input",
        differs="timing, thresholds and rounding are ours; the authors' code is not public",
    ),
    NamedMethod(
        "hybrid-thresholds",
        "Hybrid, thresholds",
        f"hybrid:{_BALANCED}",
        source="Rathi et al. 2020",
        note=f"0.7 of the largest current in units of spikes; {_STEM}; the fine-tuning that "
        "belongs to it is not done here",
        differs="the paper goes on to train the network on its spikes",
    ),
)


def methods() -> tuple[NamedMethod, ...]:
    """All methods, the most telling first."""
    return tuple(replace(m, published=TABLE_2.get(m.name, ())) for m in _TABLE)


def choose_methods(text: str) -> Sequence[NamedMethod]:
    """`all`, `none`, or names joined by commas, in the table's order; ConfigError for others."""
    known = methods()
    names = [part.strip() for part in text.split(",")]
    if names in (["all"], ["none"]):
        return known if names == ["all"] else ()
    for name in names:
        if name not in {method.name for method in known}:
            hint = f"{nearest(name, [m.name for m in known])} (convsnn list methods shows all)"
            raise ConfigError(f"unknown method '{name}'", hint=hint)
    return [method for method in known if method.name in names]
