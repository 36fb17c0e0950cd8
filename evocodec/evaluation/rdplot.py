"""Rate–distortion plots: one panel a clip, the anchor in black, each version in its colour."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy.interpolate import PchipInterpolator

from evocodec.domain.errors import CandidateFailure
from evocodec.domain.results import RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.evaluation.anchors import operating_bits, operating_quality_db
from evocodec.evaluation.curves import curve_arrays
