"""What the templates of the warp-specialised backward pass see, beside what those of forward do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.render.context_blackwell import BlackwellContext

if TYPE_CHECKING:
    from flash4gen.render.context import Constant, Option
    from flash4gen.render.context_backward import (
        BackwardLaunch,
        Derivatives,
        DistanceGradient,
        EagerTraining,
        PairGradient,
        QuerySpans,
        Value,
    )
    from flash4gen.render.context_blackwell import Named
    from flash4gen.render.context_inputs import Inputs, InputText


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMask:
    """How single elements of a transposed score tile are masked.

    Attributes:
        title, origin: of the mask.
        helpers: whether the functions that turn intervals into bits are not there yet.
        function: name of the function that compares positions, where it is not there yet.
        text, parameters, body: of that function.
        seen: the assignment of the queries that see a key.
        bounds: what the function of a key's queries returns.
        bits: the statements that turn it into the bits of a fragment; none where queries are no
            intervals.
        visible: the assignment of the comparison that stands in for them.
        compared: that of the comparison beside them, of what tensors say; empty without one.
    """

    title: str
    origin: str
    helpers: bool
    function: str
    text: str
    parameters: tuple[str, ...]
    body: str
    seen: str
    bounds: tuple[str, ...]
    bits: tuple[str, ...]
    visible: str
    compared: str = ""


@dataclass(frozen=True, slots=True)
class RowValue:
    """What lies in shared memory for each query of a tile.

    Attributes:
        name: of the buffer, and of what is read from it.
        dtype: of its elements.
        text: what it is, such as a look-up in the spec's language.
    """

    name: str
    dtype: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTensor:
    """A tensor with an element for each score, as a step reads it.

    Attributes:
        declared, origin: as for ``InputText``.
        function: that reads a fragment of it; ``parameters``: of that function.
        own: the address of what it holds for the fragment's first query and each key.
        stride: from one query to the next, as an integer of 32 bits.
        convert: as for ``InputText``.
    """

    declared: str
    origin: str
    function: str
    parameters: tuple[str, ...]
    own: str
    stride: str
    convert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReads:
    """What a step reads of tensors for each score of a fragment.

    Attributes:
        rows: the lines that read what it is read at of queries.
        columns: whether it is read at positions of queries.
        lines: the lines that read it.
        names: of the values, as a tuple.
    """

    rows: tuple[str, ...]
    columns: bool
    lines: str
    names: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInputs:
    """The tensors that score and mask read, as the pipeline does.

    Attributes:
        tensors: in the order of the spec.
        fields: addresses, strides and sizes.
        program: the lines of the compute warps that read what no query changes.
        handed: the values that a step is handed of those.
        rows: what is read for each query; ``stored``: all that lies there for one, beside it what
            weights and their gradients need.
        numbers: addresses of that, one for each number.
        normalised: whether these are what softmax needs of each row.
        copied: whether that comes by TMA, and descriptors stand for the addresses.
        bounded: whether they end with the queries; ``loads``: the lines that read them.
        line: where a head's queries begin among those numbers; ``line_rows``: the assignment of
            how many it has there, if they are more than there are queries.
        row_step: the lines of the load warp that read it.
        row_parameters, row_arguments: of the function that brings in what each query needs.
        functions: what ``inputs.define`` prints of those that are not there yet.
        scores: those with an element for each score.
    """

    tensors: tuple[InputText, ...]
    fields: tuple[str, ...]
    program: str
    handed: tuple[str, ...]
    rows: tuple[RowValue, ...]
    stored: tuple[RowValue, ...]
    numbers: tuple[str, ...]
    normalised: bool
    copied: bool
    bounded: bool
    loads: tuple[str, ...]
    line: str
    line_rows: str
    row_step: str
    row_parameters: tuple[str, ...]
    row_arguments: tuple[str, ...]
    functions: Inputs
    scores: tuple[ScoreTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterGradients:
    """What a step computes beside gradients of scores once those of weights are there.

    Attributes:
        there: whether there is anything of the kind.
        function: the derivatives that are no constants; ``call``: their assignment.
        guards: those that may be infinite where a key is hidden.
        sums: gradients of inputs that the thread of a key sums, each with its term.
        moving: whether the derivative by the score is no constant.
        sloped: whether gradients of scores hold its constant factors.
        apart: whether dQ is multiplied by that derivative last, when it is complete.
        rows: values of queries that are read for them.
        reads: the lines that read what differs from score to score for them.
        columns: whether positions of queries are.
    """

    there: bool
    function: Derivatives
    call: str
    guards: tuple[str, ...]
    sums: tuple[Value, ...]
    moving: bool
    sloped: bool
    apart: bool
    rows: tuple[str, ...]
    reads: str
    columns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFactors:
    """What scores are multiplied by, query by query: gradients of it come from dQ.

    Attributes:
        signature, names: parameters of the function that computes the factors, and arguments.
        results: the factor, and for each input its derivative; none without any.
        given: what the function returns: these, of whole rows.
        body: lines of that function.
        axes: its lines that make the positions it reads.
        products: gradients of inputs, each with its term.
    """

    signature: tuple[str, ...]
    names: tuple[str, ...]
    results: tuple[str, ...]
    given: tuple[str, ...]
    axes: tuple[str, ...]
    body: tuple[str, ...]
    products: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What differs where two CTAs share all products.

    Attributes:
        apart: whether the queries' gradient has columns of tensor memory to itself.
        pieces: whether it leaves in two pieces, as all of it has no room in shared memory.
    """

    apart: bool
    pieces: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """How a step says which queries a fragment has: of a role's share, or of a tile.

    Attributes:
        offset: what is added to the first query of a tile.
        column: the first query in what lies there for each query of a tile.
        kept: the index of the fragment's weights among those that a thread keeps.
        weights: where they go.
    """

    offset: str
    column: str
    kept: str
    weights: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where rows of queries and keys lie, in a batch or in packed sequences.

    Attributes:
        queries, keys: the first coordinates of a copy, up to the rows of a tile.
        entry: what a function needs besides a tile's number to know them.
        box: the sizes of a box in those coordinates but the last.
        turn: the lines that find the number that says whose turn it is at a query tile.
        turns: the shape of those numbers.
        summed: the lines that find the element of a gradient that the thread of a key sums;
            ``shape``: of such sums; ``added``: how the launcher adds them up.
        programs: how many the launcher starts.
    """

    queries: str
    keys: str
    entry: str
    box: str
    turn: tuple[str, ...]
    turns: str
    summed: tuple[str, ...]
    shape: tuple[str, ...]
    added: str
    programs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeRole:
    """The warps that recompute weights and find the gradients of scores.

    Attributes:
        dtype: of weights and gradients on their way to the next product.
        prescaled: whether products are scaled before the score, which is no identity then.
        derivatives: the function of score and derivative; no lines where it is a constant.
        score: the assignment of the score, and of its derivative.
        normalised: whether weights are those of a softmax.
        slope: the name of what a weight moves by with its score; ``sloped``: whether it holds
            constant factors of the score's derivative.
        moving: whether the derivative is no constant.
        guarded: whether it may be infinite where a key is hidden.
        weights: the assignment of a weight times that derivative.
        columns: whether the positions of queries are read.
        mask: how elements are masked.
        full: whether tiles may need no mask.
        rest: whether heads have columns that are multiplied by themselves.
        pair: whether two CTAs share all products.
        first_rests: whether the first role does nothing, and roles hide from the compiler what they
            know.
        places: where copies of rows begin and end.
        fragments: how a step says which queries a fragment has.
        row_slots: how many query tiles have their lse and delta in shared memory, as a constant.
        parameters: of a step.
        writes: those of the function that writes dK and dV; ``column``: the first that it does.
        masked_call, full_call: its arguments in the loops with and without a mask.
        inputs: the tensors that are read.
        later: what it computes beside gradients of scores.
        rows: the values of queries that score and mask read.
        scored: what the score needs of tensors for each score; ``masked``: what the mask needs
            besides; ``ahead``: whether there is either.
        factors: what multiplies the scores of a query, where dQ waits for it.
        handed: what the roles are handed, besides descriptors and a part; ``takes``: all of it.
        width: of what is multiplied of heads at a time, as a constant.
        results: what a step returns; ``assigned``: how it is taken.
    """

    dtype: str
    prescaled: bool
    derivatives: Derivatives
    score: str
    normalised: bool
    slope: str
    sloped: bool
    moving: bool
    guarded: bool
    weights: str
    columns: bool
    mask: QueryMask
    full: bool
    rest: bool
    pair: bool
    first_rests: bool
    places: Places
    fragments: Fragments
    row_slots: str
    width: str
    parameters: tuple[str, ...]
    masked_call: tuple[str, ...]
    full_call: tuple[str, ...]
    inputs: PipelineInputs
    later: LaterGradients
    rows: tuple[str, ...]
    scored: ScoreReads | None
    masked: ScoreReads | None
    ahead: bool
    factors: RowFactors
    handed: tuple[str, ...]
    takes: tuple[str, ...]
    results: str
    assigned: str
    writes: tuple[str, ...]
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideLaunch:
    """The launch of portable kernels that sum gradients of inputs beside the pipeline.

    Attributes:
        inputs: the tensors that they are handed.
        queries, keys: names of the sums by query and by key.
        queries_wanted, keys_wanted: whether somebody asks for one of them.
        pairs, distances: gradients with an element per score, and per distance.
    """

    inputs: PipelineInputs
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    queries_wanted: str
    keys_wanted: str
    pairs: tuple[PairGradient, ...]
    distances: tuple[DistanceGradient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Everything that the backward pipeline is printed from.

    Attributes:
        constants: tiles, stages and registers, with their reasons.
        options: compiler options of the kernels before and after it.
        order: of the key tiles, in words; ``place``: the statements that find one.
        spans: which queries see a key tile.
        ordered: whether key tiles add to dQ one after the other.
        compute: the compute roles.
        barriers: arrays of mbarriers; the value is slots and arrivals.
        parts: the compute roles, each with what it writes last.
        warps, registers: of all roles but the first.
        dtype: of q, k, v and their gradients.
        rest: whether heads have columns that are multiplied by themselves.
        packed: whether sequences lie one behind the other.
        places: where copies of rows begin and end.
        pair: what differs where two CTAs share all products; None where one does them alone.
        kernel_options: the name of its compiler options.
        fetched: what the load role is given; ``summed``: what the reduce role is, before the rest.
        width, sent: of what is multiplied of heads, and sent away of dQ, at a time, as constants.
        launch: the launcher.
        eager: the formula and its derivative in PyTorch.
        beside: the launch of portable kernels for other sums, where there are some.
    """

    constants: tuple[Constant, ...]
    options: tuple[Option, ...]
    order: str
    place: tuple[str, ...]
    spans: QuerySpans
    ordered: bool
    compute: ComputeRole
    barriers: tuple[Named, ...]
    parts: tuple[Named, ...]
    warps: str
    registers: tuple[str, ...]
    dtype: str
    rest: bool
    packed: bool
    places: Places
    pair: Pair | None
    kernel_options: str
    width: str
    fetched: tuple[str, ...]
    summed: str
    sent: str
    launch: BackwardLaunch
    eager: EagerTraining
    beside: BesideLaunch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineContext(BlackwellContext):
    """What a warp-specialised module with both passes is printed from; templates know ``ctx``."""

    backward: Pipeline
