"""Small exact statistics in plain Python; the source of each method is in its docstring."""

from llmbatch.grade.stats.bootstrap import bootstrap_mean, bootstrap_ratio
from llmbatch.grade.stats.distance import jensen_shannon, ks_p, ks_statistic, psi
from llmbatch.grade.stats.families import Hypothesis, holm
from llmbatch.grade.stats.groups import cohens_h, fisher, mcnemar, more_often, two_proportion, welch
from llmbatch.grade.stats.intervals import Interval, clopper_pearson, mean_interval, newcombe, wilson
from llmbatch.grade.stats.judged import Estimate, prediction_powered, rogan_gladen
from llmbatch.grade.stats.lower import lower_bound, right_rows_wanted
from llmbatch.grade.stats.paired import fewer, paired_error, paired_z
from llmbatch.grade.stats.sizes import detectable, rows_for_difference, rows_for_half_width

__all__ = [
    "Estimate",
    "Hypothesis",
    "Interval",
    "bootstrap_mean",
    "bootstrap_ratio",
    "clopper_pearson",
    "cohens_h",
    "detectable",
    "fewer",
    "fisher",
    "holm",
    "jensen_shannon",
    "ks_p",
    "ks_statistic",
    "lower_bound",
    "mcnemar",
    "mean_interval",
    "more_often",
    "newcombe",
    "paired_error",
    "paired_z",
    "prediction_powered",
    "psi",
    "right_rows_wanted",
    "rogan_gladen",
    "rows_for_difference",
    "rows_for_half_width",
    "two_proportion",
    "welch",
    "wilson",
]
