"""A table's columns as inputs of a net, against NumPy and scikit-learn; only training rows count."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, RobustScaler, StandardScaler

from dlfound.data.columns import CATEGORY, FIRST, NUMBER, Column
from dlfound.data.dataset import Preparation, regression
from dlfound.nn.modules import Embeddings, build_mlp
from dlfound.nn.preprocessing import TabularPreprocessing, plan_columns
from dlfound.training.assemble import fit_preprocessing

NAN = float("nan")
SETTINGS = {"scale": "standard", "one_hot": 9, "embedding": 8, "rare": 1}


def fitted(x, texts=None, **settings):
    """Preprocessing fitted on rows of numbers; `texts`: column -> its number of categories."""
    x, settings = np.asarray(x, np.float64), {**SETTINGS, **settings}
    texts = texts or {}
    codes = {k: FIRST + texts[k] if k in texts else None for k in range(x.shape[1])}
    return TabularPreprocessing(plan_columns(lambda k: x[:, k], codes, **settings)).fit(
        lambda k: x[:, k], settings["rare"]
    )


def through(columns, x):
    return columns(torch.from_numpy(np.asarray(x, np.float64))).numpy()


def drawn(rows=500, seed=0):
    """Columns of many kinds: normal, skewed, whole with many ties, far from zero, mostly one value."""
    rng = np.random.default_rng(seed)
    mostly = np.where(rng.random(rows) < 0.8, 7.0, rng.normal(size=rows))
    ties = rng.integers(0, 5, rows)
    return np.stack(
        [rng.normal(size=rows), rng.lognormal(3, 2, rows), ties, 1e9 + rng.random(rows), mostly], 1
    )


# ---- numbers


def test_standard_agrees_with_scikit_learn():
    """(x - mean) / deviation, on new rows too; a constant of any size becomes 0."""
    x, new = drawn(), drawn(seed=1)
    scaler = StandardScaler().fit(x)
    for rows in (x, new):
        assert through(fitted(x), rows) == pytest.approx(scaler.transform(rows), rel=1e-5, abs=1e-5)
    assert np.abs(through(fitted(np.full((9, 1), 1e9 + 0.1)), [[1e9 + 0.1]])).max() < 1e-9


def test_robust_agrees_with_scikit_learn_and_a_smooth_clip():
    """(x - median) / (upper - lower quartile) by RobustScaler, z / sqrt(1 + (z / 3)^2) by hand."""
    x, new = drawn()[:, :4], drawn(seed=1)[:, :4]
    scaler = RobustScaler().fit(x)
    for rows in (x, new, new * 100):
        z = scaler.transform(rows)
        assert through(fitted(x, scale="robust"), rows) == pytest.approx(
            z / np.sqrt(1 + (z / 3) ** 2), abs=1e-5
        )


def test_robust_with_equal_quartiles():
    """The factor is 2 / (largest - smallest); a constant becomes 0; no number leaves -3 ... 3."""
    x = np.array([[7.0, 4], *[[7, 4]] * 8, [1, 4], [13, 4]])
    z = (x[:, 0] - 7) * 2 / 12
    found = through(fitted(x, scale="robust"), x)
    assert found[:, 0] == pytest.approx(z / np.sqrt(1 + (z / 3) ** 2)) and (found[:, 1] == 0).all()
    far = through(fitted(x, scale="robust"), [[1e300, 5], [-1e300, 1e300]])
    assert np.abs(far).max() <= 3 and np.isfinite(far).all()


EDGE = 3.0902323  # of the normal distribution, where 0.001 lies beyond


@pytest.mark.parametrize("rows", [60, 500, 20_000])
def test_quantile_agrees_with_scikit_learn(rows):
    """For distinct numbers, exactly at the knots; between them, our score is linear and theirs the share."""
    x, new = drawn(rows)[:, [0, 1, 3]], drawn(rows, seed=1)[:, [0, 1, 3]]
    ours = fitted(x, scale="quantile")
    knots = ours.plan["knots"]
    theirs = QuantileTransformer(n_quantiles=knots, output_distribution="normal", subsample=None).fit(x)

    def expected(rows):
        return np.clip(theirs.transform(rows), -EDGE, EDGE)

    at = theirs.quantiles_
    assert through(ours, at) == pytest.approx(expected(at), abs=2e-5)
    for some in (x, new):
        gap = np.abs(through(ours, some) - expected(some))
        assert np.median(gap) < 0.1 / knots and gap.max() < 0.75  # the last knots lie that far apart
        assert gap[np.abs(expected(some)) < 1].max() < 1 / knots
    far = through(ours, [[1e300] * 3, [-1e300] * 3])
    assert far == pytest.approx(np.array([[EDGE] * 3, [-EDGE] * 3]), abs=1e-5)


def test_quantile_gives_ties_the_middle_of_their_scores():
    """By NumPy's quantiles. scikit-learn takes the middle of the shares, and the edge for the smallest."""
    x = drawn(5000)[:, [2, 4]]
    shares = np.linspace(0, 1, 1000)
    scores = np.array([NormalDist().inv_cdf(share) for share in np.clip(shares, 0.001, 0.999)])
    columns = fitted(x, scale="quantile")
    assert columns.plan["knots"] == 1000
    for k, values in ((0, range(5)), (1, [7])):
        knots = np.quantile(x[:, k], shares)
        for value in values:
            row = x[0].copy()
            row[k] = value
            middle = (scores[knots == value][0] + scores[knots == value][-1]) / 2
            assert through(columns, [row])[0, k] == pytest.approx(middle, abs=1e-5)
    theirs = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None).fit(x)
    inner = (x[:, 0] > 0) & (x[:, 0] < 4)
    assert through(columns, x)[inner, 0] == pytest.approx(theirs.transform(x)[inner, 0], abs=0.05)


def test_quantile_keeps_the_order_and_gives_ties_one_score():
    x = drawn()
    found = through(fitted(x, scale="quantile"), x)
    for column, scores in zip(x.T, found.T, strict=True):
        order = np.argsort(column, kind="stable")
        assert (np.diff(scores[order]) >= 0).all()
        assert all(len(set(scores[column == value])) == 1 for value in np.unique(column))


def test_missing_numbers_get_the_median_and_a_flag():
    """Columns with missing training rows get a flag; others are only imputed."""
    x = np.array([[1, NAN, 5], [2, 4, 6], [4, 8, 7.5], [9, NAN, 8]])
    columns = fitted(x)
    assert columns.median.tolist() == [3, 6, 6.75] and columns.features == 4
    new = [[NAN, 5, NAN], [3, NAN, 6.75]]
    filled = np.array([[3, 5, 6.75], [3, 6, 6.75]])
    scaler = StandardScaler().fit(np.where(np.isnan(x), [3, 6, 6.75], x))
    assert through(columns, new)[:, :3] == pytest.approx(scaler.transform(filled), abs=1e-6)
    assert through(columns, new)[:, 3].tolist() == [0, 1]


def test_a_column_that_is_all_missing_in_training():
    """Its rows are given by the flag alone, and a number in it later does no harm."""
    found = through(fitted([[1, NAN], [2, NAN]], scale="quantile"), [[1, 5], [1, NAN]])
    assert np.isfinite(found).all() and found[:, -1].tolist() == [0, 1]


def test_columns_of_0_and_1_are_unchanged():
    for scale in ("standard", "robust", "quantile"):
        found = through(fitted([[0, 5], [1, 6], [1, 9]], scale=scale), [[1, 5], [0, 5], [0.5, 5]])
        assert found[:, 1].tolist() == [1, 0, 0.5], scale  # behind those that are scaled
    flagged = through(fitted([[0.0], [1], [1], [NAN]]), [[NAN], [0]])
    assert flagged.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("scale", ["standard", "robust", "quantile"])
def test_one_training_row(scale):
    assert np.isfinite(through(fitted([[5.0, NAN, 1]], scale=scale), [[5, 1, 1], [9, NAN, 0]])).all()


# ---- categories: 0 is unknown, 1 missing, 2 the first


def test_one_hot_agrees_with_scikit_learn():
    """Unknown is all zeros; missing has a column of its own if training had it."""
    rng = np.random.default_rng(0)
    codes = rng.integers(1, 6, (60, 1)).astype(float)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(codes)
    new = np.arange(6.0)[:, None]
    assert through(fitted(codes, {0: 4}), new).tolist() == encoder.transform(new).tolist()
    assert through(fitted([[2.0], [3], [2]], {0: 2}), [[0], [1], [2], [3]]).tolist() == [
        [0, 0],
        [0, 0],
        [1, 0],
        [0, 1],
    ]


def test_unknown_has_no_column():
    assert through(fitted([[0.0], [2], [0], [3]], {0: 2}), [[0], [2], [3]]).tolist() == [
        [0, 0],
        [1, 0],
        [0, 1],
    ]


def test_rare_categories_count_as_unknown():
    codes = [[2.0]] * 3 + [[3]] * 2 + [[4]] + [[1]] * 2
    found = through(fitted(codes, {0: 3}, rare=2), [[1], [2], [3], [4], [0]])
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert through(fitted(codes, {0: 3}, rare=3), [[1], [2], [3], [4], [0]]).tolist() == [
        [0],
        [1],
        [0],
        [0],
        [0],
    ]


def test_many_categories_are_numbers_for_the_embedding():
    """Numbers come first, then flags, one-hot columns and the embedded categories, for any column order."""
    codes = np.array([[2, 0.5, 2], [3, NAN, 3], [4, 2.5, 2], [5, 3.5, 3], [5, 9, 3]], float)
    columns = fitted(codes, {0: 4, 2: 2}, one_hot=3)
    assert columns.plan["embedded"] == [0] and columns.plan["known"] == [4, 2] and columns.features == 5
    found = through(columns, [[5, 2.5, 3], [0, NAN, 0], [1, 1, 2]])
    assert found[:, 1:].tolist() == [[0, 0, 1, 4], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_a_saved_state_restores_the_preprocessing():
    x = np.column_stack([drawn(200), np.random.default_rng(0).integers(0, 20, 200)])
    x[::7, 0] = NAN
    for scale in ("standard", "robust", "quantile"):
        first = fitted(x, {5: 19}, scale=scale, rare=3)
        again = TabularPreprocessing(first.plan)
        again.load_state_dict(first.state_dict())
        assert np.array_equal(through(again, x), through(first, x))


def test_only_training_rows_count():
    """Other rows change neither the buffers nor the plan of the columns."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(40, 2)), rng.integers(2, 6, 40)])
    parts = {"train": np.arange(0, 40, 2), "val": np.arange(1, 20, 2), "test": np.arange(21, 40, 2)}
    other = x.copy()
    other[1::2] = [NAN, 1e12, 1]
    for scale in ("standard", "robust", "quantile"):
        states = []
        for rows in (x, other):
            kinds = [Column("a", NUMBER), Column("b", NUMBER), Column("c", CATEGORY, "", list("pqrs"))]
            prepared = Preparation(kinds, scale, 3, 8, 2, ["a", "b", "c", "y"], {})
            data = regression(rows, rows[:, 0], ["a", "b", "c"], parts, preparation=prepared)
            states.append(fit_preprocessing(data, parts["train"]))
        assert states[0].plan == states[1].plan
        for name, tensor in states[0].state_dict().items():
            assert torch.equal(tensor, states[1].state_dict()[name]), name


# ---- learned vectors


def test_an_embedding_is_a_row_of_its_table():
    made = Embeddings([(3, 4), (5, 4)], torch.Generator().manual_seed(0))
    x = torch.tensor([[0.5, 2, 4], [1.5, 0, 0]])
    first, second = (table.detach().numpy() for table in made.tables)
    by_hand = [np.r_[0.5, first[2], second[4]], np.r_[1.5, first[0], second[0]]]
    assert np.array_equal(made(x).detach().numpy(), np.float32(by_hand))
    assert (first[0] == 0).all() and (second[0] == 0).all()
    wide = Embeddings([(2001, 16)], torch.Generator().manual_seed(1)).tables[0].detach()[1:]
    assert float(wide.square().sum(1).mean()) == pytest.approx(1, rel=0.05)


def test_the_gradient_of_an_embedding_against_finite_differences():
    """In a small net in double precision; categories that no row of the batch has get no gradient."""
    none = lambda width: None  # noqa: E731
    body = build_mlp(
        3, 2, [5], activation=torch.nn.Tanh, initialize=lambda w, g: w.normal_(generator=g), norm=none,
        noise=None, generator=torch.Generator().manual_seed(0), embedded=[(4, 2), (3, 2)],
    ).double()  # fmt: skip
    assert body.inputs == 1 + 2 * 2
    x = torch.tensor([[0.3, 1, 2], [-1.2, 3, 0], [0.7, 1, 0]], dtype=torch.float64)
    y = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss():
        return (body(x) - y).square().mean()

    loss().backward()
    for table in body.embeddings.tables:
        for place in np.ndindex(*table.shape):
            with torch.no_grad():
                kept, ends = table[place].item(), []
                for step in (1e-6, -1e-6):
                    table[place] = kept + step
                    ends.append(loss().item())
                table[place] = kept
            assert table.grad[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)
    assert (body.embeddings.tables[0].grad[[0, 2]] == 0).all() and (
        body.embeddings.tables[1].grad[1] == 0
    ).all()
