"""What a pass is, what it may know of a weight, and how it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense, Float32, Term


@dataclass(frozen=True)
class SiteInfo:
    """What a pass may know of the place of a weight without reading its values.

    ``op_types`` and ``users`` are the types and the names of the nodes that read it. ``shape`` is the canonical ``(N,
    K)`` of the whole weight. ``multiplied`` tells that our matrix-product operators can take the place of such a
    node; otherwise codes are decoded in front of it. ``splittable`` tells that a product of two factors can be
    emitted as two nodes. ``kernel`` has the spatial sizes of a convolution kernel, whose K inputs are channels x
    kernel. ``gathered`` tells that a node looks up rows of it, as of an embedding. ``rows`` are those of x in one
    product with it: the most in any, None where the model does not fix those of all. ``strides`` are those of the
    convolutions with the kernel: the most of any along each axis. ``biased`` tells that a constant is added behind all
    products anyway, or may be at no cost. ``reads`` names the tensor x of all products ``x @ W.T``, empty where
    there is more than one.
    """

    name: str
    op_types: tuple[str, ...]
    users: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    multiplied: bool
    splittable: bool
    kernel: tuple[int, ...] = ()
    gathered: bool = False
    rows: int | None = None
    strides: tuple[int, ...] = ()
    biased: bool = False
    reads: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of the weight as it came."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


@dataclass(frozen=True)
class Refusal:
    """A pass leaves a weight alone, and says why in words."""

    reason: str


@dataclass(frozen=True)
class Preview:
    """What a pass would do with a weight of some shape: the new label and bytes (None: depends on the values)."""

    label: str
    nbytes: int | None


@dataclass(frozen=True)
class Decision:
    """The answer of one pass for one leaf of one weight.

    ``after`` is None for a refusal, whose words are ``reason``. ``error`` is ``||W - W'|| / ||W||`` of the leaf,
    ``output_error`` is ``||X W'^T - X W^T|| / ||X W^T||`` over the calibration rows X that flow into it, None when
    their Gram matrix is not known. ``allotted`` is the share of a budget over several weights that this one was given,
    as options such as ``rank=48``; empty when there was none to share.
    """

    site: str
    pass_name: str
    leaf: str
    before: str
    after: str | None
    reason: str | None = None
    error: float | None = None
    output_error: float | None = None
    allotted: str = ""


class Surveyed(NamedTuple):
    """One weight as it came, with what flows into it where that is known, for a pass to plan with.

    ``effect`` of a matrix ``[N, K]`` is ``||y' - y|| / ||y||`` over some outputs y of the model when this weight alone
    becomes that matrix, None where it is not known. It loads the model and runs it on a few calibration inputs.
    ``load`` reads the weight once more, then or later, for those who do not keep it.
    """

    site: SiteInfo
    weight: Dense
    inputs: Statistics | None
    effect: Callable[[Float32], float | None]
    load: Callable[[], Dense]


class Consumer(NamedTuple):
    """A weight ``[N, K]``, float32, that reads units, ``K / units`` columns each in their order; ``inputs`` is what
    flows into it, None where that is not known.

    ``certain`` float64 ``[K]`` is what its inputs are whatever the model is given, NaN for what is not certain; None
    where nothing is. ``padded`` tells that it sees zeros beside them: it is a convolution that pads.
    """

    weight: Float32
    inputs: Statistics | None
    certain: npt.NDArray[np.float64] | None = None
    padded: bool = False


class Units(NamedTuple):
    """What a pass may know of units that can be removed together.

    ``scales`` float64 ``[units]`` are the norms of what computes each; ``alike`` int ``[units]`` has for each the first
    that is computed by exactly the same values, mostly itself. ``factors`` float64 ``[units]`` are the absolute values
    of the scales of a BatchNormalization that they go through, the product of several, None where there is none.
    ``rows`` are what computes each, float32 ``[units, elements]`` for each weight. ``nbytes`` are those of all weights
    that they are in, ``work`` the multiply-adds of these for one sample, sizes that the model leaves open taken as 1.
    ``effect`` of new weights of the consumers is ``||y' - y|| / ||y||`` over some outputs y of the model, None where it
    is not known, as when no pass plans; it runs the model. ``kernel`` are the sizes of that whose positions they are.
    """

    name: str
    kind: str
    units: int
    scales: npt.NDArray[np.float64]
    alike: npt.NDArray[np.intp]
    consumers: tuple[Consumer, ...]
    factors: npt.NDArray[np.float64] | None = None
    rows: tuple[Float32, ...] = ()
    nbytes: int = 0
    work: int = 0
    effect: Callable[[Sequence[Float32]], float | None] = lambda weights: None
    kernel: tuple[int, ...] = ()


class Kept(NamedTuple):
    """The units that stay, ascending; by consumer, the new weight ``[N, K]`` before the others are cut out of it, and
    what is added to its outputs, float32 ``[N]`` or None.
    """

    units: npt.NDArray[np.intp]
    weights: tuple[Float32, ...]
    offsets: tuple[Float32 | None, ...]


@dataclass(frozen=True, kw_only=True)
class Pass(ABC):
    """A rewrite of weights. A pass is a frozen dataclass whose fields are its options.

    Options are declared with :func:`option`, which carries help and unit; text, ``regc passes`` and the
    Python API come from them. Subclasses set ``name`` and, when they need whole ``Dense`` weights that no coding pass
    has touched, ``structural``; ``windows`` when positions of kernels are units for them, too, which stay in windows.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    structural: ClassVar[bool] = False
    windows: ClassVar[bool] = False

    include: tuple[str, ...] = field(
        default=(),
        metadata={"help": "only weights that match one of these selectors", "unit": "selectors, joined by |"},
    )
    exclude: tuple[str, ...] = field(
        default=(),
        metadata={"help": "no weight that matches one of these selectors", "unit": "selectors, joined by |"},
    )

    @abstractmethod
    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:
        """What the pass would do with a ``Dense`` leaf of this shape, from shapes alone."""

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:
        """Which statistics :meth:`fit` wants of what flows into a leaf of this shape, if calibration inputs are given.

        Only what some pass needs is gathered; the Gram matrix of K inputs takes K * K * 4 bytes.
        """
        return frozenset()

    @abstractmethod
    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Term | Refusal:
        """The new term of a ``Dense`` leaf. Called only when :meth:`preview` did not refuse.

        ``inputs`` is what flows into this leaf, with at least what :meth:`needs` asked for; None when the model is
        compressed without calibration inputs, or when this weight's inputs cannot be seen.
        """

    @property
    def shares(self) -> bool:
        """Whether an option is one budget over all weights, which :meth:`plan` shares out before any is changed."""
        return False

    @property
    def settles(self) -> float | None:
        """By how much gates of the model may vary over the calibration inputs to become constants before anything else
        is done; None for passes that leave gates alone.
        """
        return None

    @property
    def removes(self) -> bool:
        """Whether it removes units from the graph, by :meth:`choose`."""
        return False

    @property
    def rewrites(self) -> bool:
        """Whether it takes single weights, by :meth:`fit`; one that removes units may do that afterwards."""
        return not self.removes

    @property
    def unit_needs(self) -> frozenset[Need]:
        """What :meth:`choose` wants to know of what flows into the consumers of units."""
        return frozenset({"moments", "gram"})

    def leaves(self, kind: str) -> str | None:
        """Why all units of a kind stay, by the options alone; None where they may go. Nothing is gathered for them."""
        return None

    def choose(self, units: Units) -> Kept | Refusal:
        """Which units stay, and what makes up for the others. Called only when it :attr:`removes`; the inputs of
        consumers have what :attr:`unit_needs` asks for.
        """
        raise NotImplementedError(type(self).__name__)

    def apportion(self, surveyed: Iterator[Units]) -> Mapping[str, Pass | Refusal]:
        """Share one budget out over sets of units: by name, this pass with options that hold for that one alone, or
        why it is left; the pass itself takes those without an answer. Called only when it :attr:`removes` and
        :attr:`shares`, before any unit is removed. See :meth:`plan`.
        """
        raise NotImplementedError(type(self).__name__)

    def plan(self, surveyed: Iterator[Surveyed]) -> Mapping[str, Pass | Refusal]:
        """Share one budget out: by name of the weight, this pass with options that hold for that one alone, another one
        for what several weights share, or why it gets nothing. Called only when it :attr:`shares`.

        ``surveyed`` reads the weights that the pass may take one after the other, as they came; keep figures of them,
        not the weights. Their inputs are those of the original model, with what :meth:`needs` asked for.
        """
        raise NotImplementedError(type(self).__name__)


def option(default: Any, help: str, unit: str = "") -> Any:
    """Declare an option of a pass: its default, what it does, and its unit or choices."""
    return field(default=default, metadata={"help": help, "unit": unit})


def options_of(pass_: Pass | type[Pass]) -> list[Any]:
    """The dataclass fields that are the options of a pass, its own before the common ones."""
    common = {f.name for f in fields(Pass)}
    every = fields(pass_)
    return [f for f in every if f.name not in common] + [f for f in every if f.name in common]
