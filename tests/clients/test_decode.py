"""The maximum number of records in a list."""

from __future__ import annotations

import msgspec
import pytest

from clients.decode import MAX_PAGE_RECORDS, MAX_RECORDS, Page, Records, decode
from clients.errors import Service, UpstreamError


@pytest.mark.bound("upstream-records")
def test_a_list_has_as_many_records_as_its_bound_and_no_more() -> None:
    for kind, most in ((Records[msgspec.Raw], MAX_RECORDS), (Page[msgspec.Raw], MAX_PAGE_RECORDS)):
        decoder = msgspec.json.Decoder(kind)
        assert len(decode(Service.AMS, decoder, b"[" + b"1," * (most - 1) + b"1]")) == most
        with pytest.raises(UpstreamError) as error:
            decode(Service.AMS, decoder, b"[" + b"1," * most + b"1]")
        assert error.value.reason == "DECODE"
