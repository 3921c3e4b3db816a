"""Optional packages that transformers would import at once, and that nothing here needs it to know."""

from __future__ import annotations

import sys

UNUSED = ("is_peft_available", "is_scipy_available")
"""Questions of transformers whether a package is there: of PEFT's own models (masks that use adapters call PEFT
themselves, and put its layers into an ordinary model), and of scipy for the losses of object detection."""


def leave_out() -> None:
    """Let transformers take these packages for missing, so that it does not import them: a tenth of all imports.

    Called before transformers' larger parts are imported; afterwards it would spare nothing, and does nothing.
    """
    if "transformers.trainer_utils" in sys.modules or "transformers.modeling_utils" in sys.modules:
        return
    from transformers import utils
    from transformers.utils import import_utils

    for name in UNUSED:
        for module in (utils, import_utils):
            setattr(module, name, _missing)


def _missing() -> bool:
    """Say that a package is not there."""
    return False
