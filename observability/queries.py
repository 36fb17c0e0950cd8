"""PromQL queries of the dashboards. ``$controller`` selects one of several laboratories."""

ONE = 'instance=~"$controller"'
RANGE = "$__rate_interval"


def of(metric: str, *matchers: str) -> str:
    """Return the selector of a metric, for the chosen controllers."""
    return f"evocodec_{metric}{{{','.join((ONE, *matchers))}}}"


def grown(metric: str, *matchers: str, window: str = RANGE) -> str:
    """Return by how much a counter has grown in a window."""
    return f"increase({of(metric, *matchers)}[{window}])"


def percentile(share: float, metric: str, label: str) -> str:
    """Return a percentile of a histogram over the time that is shown, by a label."""
    buckets = f"sum by (le, {label}) (rate({of(metric + '_bucket')}[{RANGE}]))"
    return f"histogram_quantile({share}, {buckets})"
