"""Any flow of pages between people and models: exact expected second moments of every group and every model.

One recursion holds replace, fixed, fresh, accumulate, subsample, windows, and any number of providers that train on
each other's pages, with MLE or unbiased variance, sampling bias, kernel density estimates and categorical models:
all of them are data flows. Derived here; special cases are in J. Kazdan et al., Collapse or Thrive?, 2024, arXiv
2410.16713, and M. Gerstgrasser et al., Is Model Collapse Inevitable?, 2024, arXiv 2404.01413.

Pages have a kernel k(x, y): x y (summed over coordinates) for Gaussians and kernel densities, 1[x = y] for
categories, and |x - y|^2 = k(x, x) + k(y, y) - 2 k(x, y). The pages of a *group* are exchangeable: human pages, or
all pages that a model published at once. What is kept is, for groups g and h and for a training set i,

    D_gh = E |x - y|^2 / 2    of two distinct pages, x of g and y of h,
    A_ih = E |x - y|^2 / 2    of a page x of set i and any page y of h.

A training set holds c_g pages of group g (of N_g), n in all, drawn uniformly without replacement and independently of
all other draws. Half the mean squared distance of two points is their variance, hence for a model fitted to set i

    raw_i = E[MLE variance] = (1/n^2) [sum_gh c_g c_h D_gh - sum_g c_g D_gg]
    v     = raw_i (mle) or raw_i n / (n - 1) (unbiased), plus h^2 for a kernel density of bandwidth h
    A_ih  = (1/n) [sum_g c_g D_gh - (c_h / N_h) D_hh]              (y may be x itself, at distance 0)
    X_ij  = (1/n_j) sum_g c_jg A_ig  for a set j drawn later than i,  X_ii = raw_i,

X_ij being the same for a page of i and one of j. (Summed over the pages of the earlier set it would be wrong: the
later one may descend from just those pages.) A page published by the model is the mean of its training set plus noise
of variance b v (b the sampling bias), so for the new group

    D_new,new = b v,    D_new,h = A_ih + (b v - raw_i) / 2,    A_j,new = X_ij + (b v - raw_i) / 2.

A model that is served under negative guidance (``guidance``) has the variance g v, and its mean is off by a D of its
own with E D^2 = h v: its pages are those of a training set all of whose pages were moved by D, so that A and X to any
other grow by h v / 2, and nothing else does.

**Precision.** Distances, unlike raw moments, have no large part that cancels: a variance keeps a relative precision
of about 1e-13 over hundreds of generations, however far it collapses. ``mean_square`` and ``product`` are
differences of numbers of the size of ``square``, good to an absolute 1e-14 ``square`` or so. **Cost.** A fit is a
product of a (G, G) matrix with a vector for G groups, a publication one of a (fits, G) matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ecosystem.theory.assumptions import ROUNDING, Estimator, Floats, bias, correction, number, require, whole

PEOPLE = 0  # the row of a fresh human page: an endless group that nobody is fitted to; ids of groups follow it

Pool = int | tuple[int, ...]


class DataFlow:
    """``square`` = E k(x, x) of a human page and ``product`` = E k(x, y) of two: the variance and 0 for data
    centred on the human mean; 1 and sum p^2 for categories.

    ``human`` and ``publish`` return ids of groups, ``fit`` of models, each counted from 0. Assumes human pages
    independent of all models and 0 <= product < square. For categories use ``mle``, and neither bias nor bandwidth:
    a page is one category.
    """

    def __init__(self, square: float, product: float = 0.0) -> None:
        number("square", square, above=0)
        require(0 <= product < square, f"product = {product} is assumed to lie in [0, square = {square}).")
        self._product, self._human_variance = product, square - product
        self._groups, self._sets = 1, 0
        self._size = np.full(8, np.inf)  # N (groups,)
        self._between = np.zeros((8, 8))  # D (groups, groups)
        self._apart = np.zeros((8, 8))  # A (sets, groups)
        self._counts = np.zeros((8, 8))  # c (sets, groups), expected where a union is drawn from
        self._pages = np.ones(8)  # n (sets,)
        self._raw = np.zeros(8)  # (sets,)
        self._moved = np.zeros(8)  # E D^2 / 2 (sets,)
        self._drawn_as = np.zeros(8, dtype=np.int64)  # the set that has the same pages, unmoved (sets,)
        self._models: list[tuple[int, float]] = []  # set and v
        self._counted: list[int] = []  # groups when a set was drawn (sets,)
        self._between[PEOPLE, PEOPLE] = self._human_variance

    def human(self, pages: int) -> int:
        """A new group of human pages, independent of all others."""
        row, column = self._between[PEOPLE, : self._groups], self._apart[: self._sets, PEOPLE]
        return self._add_group(pages, row, column, self._human_variance)

    def fit(
        self,
        counts: Mapping[Pool, int],
        *,
        estimator: Estimator = "mle",
        widen: float = 0.0,
        same_as: int | None = None,
    ) -> int:
        """A new model, fitted to ``counts[g]`` pages of group g. A tuple of groups stands for their union, of which
        pages are drawn uniformly, so that the number from each is random (as a crawl of the whole web draws them).

        ``widen`` = h^2 (summed over coordinates). ``same_as``: a model that had these counts, whose very pages are
        used again.
        """
        drawn, same_page = self._drawn(counts)
        n = float(drawn.sum())
        require(n >= 1, "a model is assumed to be fitted to at least one page.")
        to_groups = drawn @ self._between[: self._groups, : self._groups]
        raw = (float(to_groups @ drawn) - same_page) / n**2
        variance = correction(estimator, round(n)) * raw + number("widen", widen, least=0)
        used = self._add_set(drawn, to_groups, raw) if same_as is None else self._again(same_as, drawn, raw)
        self._models.append((used, variance))
        return len(self._models) - 1

    def guide(self, model: int, widened: float, moved: float) -> int:
        """A new model: ``model`` as it is served, of variance ``widened`` v, its mean off by D, E D^2 = ``moved`` v.

        Assumes that nothing was published since the model was fitted.
        """
        i, variance = self._model(model)
        require(self._counted[i] == self._groups, "a model is assumed to be guided as soon as it is fitted.")
        self._make_room()
        j, off = self._sets, number("moved", moved, least=0) * variance / 2
        self._apart[j], self._counts[j] = self._apart[i], self._counts[i]
        self._apart[j, : self._groups] += off
        self._pages[j], self._raw[j] = self._pages[i], self._raw[i]
        self._moved[j], self._drawn_as[j] = self._moved[i] + off, self._drawn_as[i]
        self._counted.append(self._groups)
        self._sets += 1
        self._models.append((j, number("widened", widened, above=0) * variance))
        return len(self._models) - 1

    def publish(self, model: int, pages: int, sampling_bias: float = 1.0) -> int:
        """A new group: ``pages`` samples of a model."""
        i, variance = self._model(model)
        noise = bias(sampling_bias) * variance
        shift = (noise - self._raw[i]) / 2
        return self._add_group(pages, self._apart[i, : self._groups] + shift, self._crossed(i) + shift, noise)

    def variance(self, model: int) -> float:
        """E v: the expected variance of the model (summed over coordinates); 1 - E sum p^2 for categories."""
        return self._model(model)[1]

    def mean_square(self, model: int) -> float:
        """E k(m, m), m the mean of the training set: the squared error of the mean if product = 0, E sum p^2 for
        categories.
        """
        return self.product(model, model)

    def product(self, model: int, other: int) -> float:
        """E k(m_i, m_j)."""
        sets = [self._model(model)[0], self._model(other)[0]]
        human = self._apart[sets, PEOPLE] - self._raw[sets] / 2  # E |m - fresh human page|^2 / 2
        return float(human.sum() - self._human_variance - self.distance(model, other) / 2 + self._product)

    def distance(self, model: int, other: int) -> float:
        """E |m_i - m_j|^2: how far two models' means lie apart; 0 if they have the same training set."""
        i, j = self._model(model)[0], self._model(other)[0]
        return float(2 * self._crossed(i)[j] - self._raw[i] - self._raw[j])

    def _crossed(self, i: int) -> Floats:
        """X (sets,) of set i with all."""
        m, g = self._sets, self._groups
        earlier = self._apart[:i, :g] @ self._counts[i, :g] / self._pages[i] + self._moved[i]
        later = self._counts[i + 1 : m, :g] @ self._apart[i, :g] / self._pages[i + 1 : m] + self._moved[i + 1 : m]
        crossed = np.concatenate([earlier, self._raw[i : i + 1], later])
        same = self._drawn_as[:m] == self._drawn_as[i]
        same[i] = False
        crossed[same] = self._raw[i] + self._moved[i] + self._moved[:m][same]
        return crossed

    def _drawn(self, counts: Mapping[Pool, int]) -> tuple[Floats, float]:
        """Expected counts (groups,), and what sum c c D overstates the sum over pairs of distinct pages by."""
        g, unions = self._groups, [key for key in counts if isinstance(key, tuple)]
        single = {key: counts[key] for key in counts if key not in unions} if unions else counts
        drawn = np.zeros(g)
        drawn[self._ids(single)] = _whole(single.values(), "counts")
        require((drawn <= self._size[:g]).all(), "counts are assumed not to exceed the pages of their group.")
        same_page = float(drawn @ self._between.diagonal()[:g])
        for union in unions:
            rows = self._ids(union)
            once = len(set(union)) == len(union) > 0 and not drawn[rows].any()
            require(once, "groups are assumed to be named once each.")
            drawn[rows], over = self._of_union(rows, counts[union])
            same_page += over
        return drawn, same_page

    def _of_union(self, groups: NDArray[np.int64], count: int) -> tuple[Floats, float]:
        """The same for ``count`` pages of a union."""
        size, between = self._size[groups], self._between[np.ix_(groups, groups)]
        total = size.sum()
        require(whole("counts", count, 0) <= total, "counts are assumed not to exceed the pages of their union.")
        all_pairs = size @ between @ size
        distinct = all_pairs - size @ between.diagonal()
        pairs = count * (count - 1) / max(total * (total - 1), 1)
        return size * (count / total), float(all_pairs * (count / total) ** 2 - pairs * distinct)

    def _add_group(self, pages: int, row: Floats, column: Floats, within: float) -> int:
        """``row``: D to the groups before; ``column``: A of the sets before; ``within``: D of its own pages."""
        whole("pages", pages, 1)
        self._make_room()
        g = self._groups
        self._size[g] = pages
        self._between[g, :g] = self._between[:g, g] = row
        self._between[g, g] = within
        self._apart[: self._sets, g] = column
        self._groups += 1
        return g - 1

    def _add_set(self, drawn: Floats, to_groups: Floats, raw: float) -> int:
        """``to_groups``: sum_g c_g D_gh."""
        self._make_room()
        i, g, n = self._sets, self._groups, drawn.sum()
        self._apart[i, :g] = (to_groups - drawn / self._size[:g] * self._between.diagonal()[:g]) / n
        self._counts[i, :g], self._pages[i], self._raw[i] = drawn, n, raw
        self._drawn_as[i] = i
        self._counted.append(g)
        self._sets += 1
        return i

    def _again(self, same_as: int, drawn: Floats, raw: float) -> int:
        i, _ = self._model(same_as)
        same = np.array_equal(self._counts[i, : self._groups], drawn) and abs(self._raw[i] - raw) <= ROUNDING * raw
        require(same, f"same_as = {same_as}: the very same training set assumes the same counts.")
        return i

    def _make_room(self) -> None:
        """For one more group and one more set; arrays double, so that growing costs little."""
        groups = len(self._size) if self._groups == len(self._size) else 0
        sets = len(self._raw) if self._sets == len(self._raw) else 0
        if groups or sets:
            self._size = np.pad(self._size, (0, groups))
            self._between = np.pad(self._between, (0, groups))
            self._apart = np.pad(self._apart, ((0, sets), (0, groups)))
            self._counts = np.pad(self._counts, ((0, sets), (0, groups)))
            self._pages, self._raw = np.pad(self._pages, (0, sets)), np.pad(self._raw, (0, sets))
            self._moved, self._drawn_as = np.pad(self._moved, (0, sets)), np.pad(self._drawn_as, (0, sets))

    def _model(self, model: int) -> tuple[int, float]:
        """The training set and v of a model."""
        require(whole("model", model, 0) < len(self._models), f"model {model} is not fitted yet.")
        return self._models[model]

    def _ids(self, groups: Collection[Pool]) -> NDArray[np.int64]:
        """Rows of groups."""
        rows = _whole(groups, "group") + 1
        require((rows < self._groups).all(), f"group {rows.max(initial=0) - 1} does not exist.")
        return rows


def _whole(values: Collection[Pool], name: str) -> NDArray[np.int64]:
    """As ``whole`` with least 0, for many at once."""
    array = np.array(list(values)) if values else np.zeros(0, dtype=np.int64)
    require(array.dtype.kind in "iu" and (array >= 0).all(), f"{name} are assumed to be whole and >= 0.")
    return array.astype(np.int64)
