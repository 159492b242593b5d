"""What factors lose of the mean of the outputs, in the bias behind them.

That is ``W mean' - W' mean``, a constant for each output, for the mean input and what it was before anything was
compressed. Where something is added behind every product anyway it becomes part of that. Nowhere else: a node that adds
it would cost time, and it is little, as the factors are fitted to second moments that are not centred, and keep the
mean as they keep any direction of much energy. Score and cosine of MiniLM at ratio 2: without the bias 83.03 and
0.7540; with what the layer itself loses 83.00 and 0.7542; with what all layers so far lose 83.14 and 0.7598. Factors
fitted about the mean, as if all inputs had that of calibration, lose more on other text, 82.69 and 0.7505 where the
second has 0.7542, though for sentences like those of calibration cosines are 0.8987 and 0.8997.
"""

from __future__ import annotations

from regc.compiler.filters import Shifted
from regc.compiler.passes import SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Term


def shifted(term: Term, weight: Dense, site: SiteInfo, inputs: Statistics | None) -> Term:
    """The term with what it loses of the mean output in the bias behind, where that is known and there is one.

    A part of a weight, of another shape than the site, has none.
    """
    if inputs is None or not site.biased or weight.shape != site.shape:
        return term
    return Shifted(term, inputs.lost_mean(term.dense(), weight.values))
