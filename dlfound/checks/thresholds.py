"""Where a number becomes a verdict, for `dlfound check`: each with its reason. None of them is a setting."""

from dlfound.training.symptoms import DEAD, FADED, SATURATED

__all__ = ["DEAD", "FADED", "SATURATED"]

# How much is looked at.
FEW = 50  # examples that a net must be able to learn by heart: the lecture, minute 43
SAMPLE = 512  # training rows on which losses are compared: a mean loss to some per cent
DRAWS = 9  # fresh nets of which the median counts: one draw of a net with one output says little
LABELLED = 2000  # rows for what compares all pairs: 4 million distances, some 0.1 s

# How long: steps, and fewer for large nets, by their size and never by a clock.
FEW_STEPS = 2000  # full batches of FEW rows
RANGE_STEPS = 40  # at each rate of the range test
UPDATE_STEPS = 30  # before updates are looked at: the first ones of rules with moments are larger
TWIN_STEPS = 10  # of the two runs that must be the same
PRODUCTS = 2e11  # multiplications that the longest of them may take: some 7 s of one core
LEAST_STEPS = 20

# Gradients.
EPSILON = 1e-6  # of the central difference: the lecture, minute 43
GRADIENT = 1e-4  # relative difference: correct ones stay below 1e-6, a wrong factor is far above
CHECK_ROWS = 12  # enough for batch statistics; few, so that few units stand at a kink
JITTER = 1e-2  # deviation of what is added to each parameter: at zero weights many gradients would be zero

# Initial loss.
FAR = 10.0  # times what is expected: the issue of a fault, not of luck
HIGH = 5.0  # times: He's recipe with linear outputs starts at up to 3 for numbers
FLAT = 1e-3  # the loss's slope at a sure and wrong answer, over that at no answer
SQUASHED = (
    0.4  # of the loss of no answer: what is left at right answers where softmax is applied twice (0.45 to 1)
)

# Learning by heart.
FITTED = 0.99  # R2

# Inputs.
BETTER = 0.9  # times the loss with constant inputs
DEAF = 1e-6  # how much outputs may differ between rows, relative to the largest: rounding
MOVED = 0.01  # of the initial loss: below it nothing was learned, and nothing can be said

# Rows.
MIXED = 1e-9  # relative to the outputs, in double precision: rounding stays below 1e-12

# Learning rate.
RATES = (-7, 2)  # powers of ten
PER_DECADE = 2
PATIENCE = (20, 50)  # times the steps of the test, by the run's length: a rate that needs more crawls
REACHED = 0.5  # of the largest fall of the loss: what it must reach by then
LOST = 0.6  # of what is learned at the best rate: less of it at a larger rate is divergence
EDGE = 2.0  # a rate is at the edge where this factor leads outside
STIR = 0.02  # of the initial loss: where no rate makes it fall by more, no rate learns

# Updates.
LARGE = 0.3  # update over weight: at 1e-3 as is usual, weights are new after 1000 steps, here after three
SMALL = 1e-6  # update over weight: a million steps to change a weight by its own size

# Data.
COPY = 1e-4  # share of a column's variance that the target does not explain
LEAKED = 0.01  # of the test rows
IMBALANCE = 10.0  # largest class over smallest
OUTLYING = 1e3  # largest deviation over the median one: standardising squeezes all the others together
UNLIKE = 100.0  # deviations: validation or test rows so far out have another unit
UNEVEN = 100.0  # largest over median deviation of the normalised columns
CHANCE = 4.0  # standard errors of a correlation: met by chance once in 16,000
TOO_FEW = 40  # rows: fewer tell nothing of labels
FEWEST = 10  # rows: of fewer, many a column looks like the target
CONTRADICTION = 0.3  # by how much neighbours must agree less across two stretches of rows than within them
MINGLED = 0.45  # of nearest rows that lie across a cut, over what no order gives: sorted houses have 0.33, digits 0.53
SHIFTED = 0.15  # of neighbours whose classes are the same number apart
