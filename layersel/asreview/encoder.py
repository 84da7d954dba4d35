"""An encoder as a feature extractor of ASReview 3."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from layersel.compression.precision import Precision
from layersel.compression.quantisation.formats import DYNAMIC
from layersel.config import build_group, choice, choices
from layersel.errors import UserError, one_of
from layersel.runs.folder import RunFolder
from layersel.training.options import TrainerOptions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from layersel.backbone.backbone import Backbone

RUN, MODEL = "LAYERSEL_RUN", "LAYERSEL_MODEL"
"""The environment variables that name the encoder where no parameter does."""


class Encoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The vectors of titles and abstracts by a finished run's model, or by a pretrained one.

    ASReview passes parameters from a file of `asreview simulate --config-file` only, and none from its command line or
    its pages. So environment variables name the encoder where no parameter does. In a project of ASReview's pages the
    vectors are computed once: another encoder needs another project.

    Args:
        run: Folder of a finished run: its model, with its adapter, its compression and its inference precision.
        model: Name of a pretrained model, that of a file in conf/model.
        options: Options of `model` that are to differ from its file's, such as `{"path": "FOLDER"}`.
    """

    name = "layersel"

    def __init__(self, run: str | None = None, model: str | None = None, options: dict[str, Any] | None = None):
        self.run = run
        self.model = model
        self.options = options

    def fit(self, X: "pd.DataFrame", y: Any = None) -> "Encoder":
        """Loads the model; nothing is learnt.

        Raises:
            UserError: No encoder is named, or two are; it is not there, unfinished or damaged.
        """
        self.backbone_, self.precision_ = self._loaded()
        return self

    def transform(self, X: "pd.DataFrame") -> "np.ndarray":
        """Computes the vectors (N×D, float32) at length 1, as the heads look at them, of records.

        Args:
            X: The records, with the columns `title` and `abstract`.

        Raises:
            UserError: Some vectors are not finite.
        """
        check_is_fitted(self)
        from torch.nn.functional import normalize

        from layersel.backbone.encode import encode
        from layersel.backbone.prefix import PrefixCache
        from layersel.data.reviews.assemble import plain_text
        from layersel.data.reviews.records import Record
        from layersel.data.tokens import separator_of, tokenize
        from layersel.tasks.screening.problem import record_text

        backbone, separator = self.backbone_, separator_of(self.backbone_.tokenizer)
        parts = [[plain_text(str(text).strip()) for text in X[role].fillna("")] for role in ("title", "abstract")]
        texts = [record_text(Record("", title, abstract), separator) for title, abstract in zip(*parts, strict=True)]
        tokens = tokenize(texts, backbone.tokenizer, backbone.max_length)
        with self.precision_.matmuls(), self.precision_.inference(backbone.device):
            vectors_ND = encode(PrefixCache(backbone, tokens, start=0, max_bytes=0), "encoding")
        return normalize(vectors_ND, dim=1).numpy()

    def _loaded(self) -> "tuple[Backbone, Precision]":
        """Returns the model on its device, and the precision in which it encodes."""
        run, model = self.run, self.model
        if run is None and model is None:
            run, model = os.environ.get(RUN), os.environ.get(MODEL)
        if (run is None) == (model is None):
            got = "none" if run is None else "both"
            raise UserError(
                f"run, model: expected one of them for the feature extractor layersel, but got {got}; set {RUN}=FOLDER "
                f"or {MODEL}=NAME, or name it in feature_extractor_param of --config-file"
            )
        if run is not None:
            return self._of_run(RunFolder(Path(run).expanduser()))
        if model not in choices("model"):
            raise one_of("model", model, choices("model"))
        pretrained = build_group("model", choice("model", model) | (self.options or {}))
        return pretrained.load().to(TrainerOptions().device).eval(), Precision()

    def _of_run(self, folder: RunFolder) -> "tuple[Backbone, Precision]":
        if self.options:
            raise UserError(f"options: expected none beside run, which brings its own, but got {self.options}")
        from layersel.evaluation.evaluated_model import backbone_of_run

        config = folder.read_config()
        precision: Precision = build_group("precision", config["precision"])
        task, model = (build_group(name, config[name]) for name in ("task", "model"))
        device = "cpu" if precision.infer == DYNAMIC else TrainerOptions().device
        return backbone_of_run(folder, task, model).to(device).eval(), precision
