"""Types of parameters that several requests have."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Key = Annotated[str, msgspec.Meta(max_length=64)]
_Value = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[dict[_Key, _Value], msgspec.Meta(max_length=16)]
"""OpenAI's ``metadata``: at most 16 pairs of texts (OpenAI API reference, chat completions)."""
