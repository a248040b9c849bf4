"""Which bases of a study are decoders: known from their configurations, so that planning stays cheap."""

from functools import cache

from langlift.backbones.loading import is_causal
from langlift.config.loading import preset_settings
from langlift.errors import InputError
from langlift.language_facts import base_languages
from langlift.studies.study import Study
from langlift.training.recipes import CAUSAL


def is_decoder(base: str, study: Study) -> bool:
    """Whether a base is a decoder; one not found is, if the study trains only with ``causal``."""
    known = _is_decoder(base)
    return _trains_causal_alone(study) if known is None else known


@cache
def _is_decoder(base: str) -> bool | None:
    """None where the configuration cannot be had, or the architecture is not supported."""
    if base in base_languages():  # masked models, all of them: nothing need be fetched
        return False
    try:
        return is_causal(base)
    except InputError:
        return None


def _trains_causal_alone(study: Study) -> bool:
    if "objective" in study.axes:
        return study.values("objective") == (CAUSAL,)
    preset = [] if study.preset is None else preset_settings(study.preset, study.training)
    given = [value for _, key, value in [*preset, *study.settings.get(study.training, ())] if key == "objective"]
    return given[-1:] == [CAUSAL]
