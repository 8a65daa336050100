"""The registry of diagnostic codes: what each ``F4G###`` means, once and for all.

The hundreds digit names the stage: 1 syntax, 2 names and types, 3 values of an attention item,
4 hardware, 5 schedule, 6 render and build, 7 validation and simulation, 8 files, 9 internal. A code
is never reused for something else.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """A stable code. Its value is what users see, its ``meaning`` the title of its page."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Code:
        """Make a member that is its code as a string and carries its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    SYNTAX = "F4G101", "the text does not follow the grammar"
    UNCLOSED = "F4G102", "a block or bracket is never closed"
    UNTERMINATED_STRING = "F4G103", "a string is not closed on its line"
    NOT_TEXT = "F4G104", "the file is not a text file that we read"
    UNREADABLE = "F4G105", "the file cannot be read"
    EMPTY = "F4G106", "the file holds no item"
    NOT_YET = "F4G107", "a construct that is planned but not available yet"
    TOO_DEEP = "F4G108", "an expression is nested too deeply"
    BAD_NUMBER = "F4G109", "a number cannot be represented"
    TOO_MANY = "F4G110", "too many syntax errors; the rest of the file was not read"

    UNKNOWN_FIELD = "F4G201", "unknown field"
    UNKNOWN_NAME = "F4G202", "unknown name"
    UNKNOWN_FUNCTION = "F4G203", "unknown function"
    UNKNOWN_TARGET = "F4G204", "unknown target"
    DUPLICATE = "F4G205", "something is defined twice"
    WRONG_TYPE = "F4G206", "a value has the wrong type for its place"
    WRONG_ARGUMENTS = "F4G207", "a call does not fit the function's parameters"
    RECURSIVE = "F4G208", "a function calls itself"
    WRONG_SYMBOL = "F4G209", "a symbol is used where it has no meaning"
    TOO_LARGE = "F4G210", "an expression grows too large when its functions are expanded"
    RESERVED_NAME = "F4G211", "a name that cannot be used here"
    UNKNOWN_ATTENTION = "F4G212", "a model names an attention that is not there"

    MISSING_FIELD = "F4G301", "a required field is missing"
    BAD_VALUE = "F4G302", "a field has a value that it cannot have"
    HEADS = "F4G303", "heads is not a multiple of kv_heads"
    HEAD_DIM = "F4G304", "head_dim is out of range"
    SCALE = "F4G305", "scale is not a positive number"
    BARE_WINDOW = "F4G306", "a window without a unit"
    ALIGN = "F4G307", "a mask must say where it is aligned"
    NEVER = "F4G308", "a mask that is never true"
    MASK_READS_SCORE = "F4G309", "a mask reads the score"
    MIXED_ALIGNMENT = "F4G310", "a mask mixes positions counted from the start and from the end"
    OUT_OF_RANGE = "F4G311", "a number is out of range"
    REQUIREMENT = "F4G312", "an argument breaks a function's requirement"
    NOT_CONSTANT = "F4G313", "a constant is needed here"
    ARITHMETIC = "F4G314", "constant arithmetic has no result"
    LAYERS = "F4G315", "the layers of a model do not add up"

    BAD_INPUT = "F4G316", "an input is declared as it cannot be"
    LOOKUP = "F4G317", "a look-up does not fit the input that it reads"
    SINK = "F4G318", "a sink reads what differs within a row or from row to row"
    NOT_WITH_SIGMOID = "F4G319", "a field that has no meaning with sigmoid weights"
    NORM = "F4G321", "a norm is not what a norm can be"
    NO_VALUE_HERE = "F4G322", "a variable is read where it has no value"
    BITS = "F4G323", "bits and a comparison without parentheses"
    BLOCKS = "F4G324", "keys in blocks where there are as many keys as queries"
    DROPOUT = "F4G325", "dropout is not a probability below 1"
    NO_DERIVATIVE = "F4G330", "a backward pass is asked for, and a score jumps"

    ONLY_8_BIT = "F4G320", "a field that goes with 8-bit elements only"

    NO_SOURCE = "F4G401", "a hardware number without a source"
    MISSING_NUMBER = "F4G402", "a hardware item lacks a number"
    BAD_HARDWARE = "F4G403", "a hardware number has an impossible value"
    UNKNOWN_FEATURE = "F4G404", "unknown hardware feature"
    WRONG_UNIT = "F4G405", "a number has the wrong unit"
    INCONSISTENT = "F4G406", "two hardware numbers contradict each other"
    EXTENDS_CYCLE = "F4G407", "hardware extends itself"

    BAD_PIN = "F4G501", "a schedule pin is neither a number nor a name"

    UNKNOWN_PIN = "F4G502", "a schedule pin names a field that cannot be pinned"
    PIN_VALUE = "F4G503", "a schedule pin has a value that its field cannot have"
    PINS_DO_NOT_FIT = "F4G504", "the schedule pins break a limit of the target"
    NOTHING_FITS = "F4G505", "no schedule fits the target"
    PIN_FAMILY = "F4G506", "a schedule pin belongs to a kernel family that cannot be used here"
    PIN_RULE = "F4G507", "schedule pins break a rule of their kernel family"
    NO_DTYPE = "F4G508", "the target has no matrix instructions for the element type"

    COMPILE_FAILED = "F4G601", "Triton cannot compile the kernel"
    OVER_LIMIT = "F4G602", "the compiled kernel needs more than the target has"
    SPILLS = "F4G603", "every schedule that fits spills registers"

    TEMPLATE_SYNTAX = "F4G611", "a template does not follow Jinja's syntax"
    TEMPLATE_NAME = "F4G612", "a template uses a name that is not there"
    TEMPLATE_MACRO = "F4G613", "a template lacks a macro that others call"
    TEMPLATE_API = "F4G614", "a template was written for another version of the template API"
    TEMPLATE_FAILED = "F4G615", "a template cannot be rendered"
    TEMPLATE_UNUSED = "F4G616", "a template that nothing uses"

    VALIDATION_FAILED = "F4G701", "a generated module failed a rung of its certificate"
    CALL_FAILED = "F4G702", "a function that should launch kernels raised, or launched none"
    NO_CONSTANTS = "F4G703", "nothing is known of a target that its time could be modelled from"
    NOT_SIMULATED = "F4G704", "a kernel does something whose time cannot be modelled"

    CANNOT_WRITE = "F4G801", "an output cannot be written"
    STALE = "F4G802", "a generated module is not what its spec compiles to now"
    NO_MODULE = "F4G803", "there is no generated module to work on"
    NO_FUNCTION = "F4G804", "there is no function of that name to run"
    USE_CYCLE = "F4G805", "a file uses itself"
    USE_PATH = "F4G806", "a `use` has a path that it cannot have"
    BAD_PROJECT = "F4G807", "the settings in pyproject.toml cannot be used"
