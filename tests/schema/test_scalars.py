from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from clients.timestamps import in_utc
from schema.scalars import DATE_TIME

OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)


@given(st.datetimes(timezones=st.none() | OFFSETS))
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime.max.replace(tzinfo=UTC))
@example(datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
@example(datetime(2026, 3, 2, 9, 30, 0, 120, tzinfo=UTC))
def test_a_time_is_written_in_utc_as_isoformat_writes_it(moment: datetime) -> None:
    assert DATE_TIME.serialize is not None
    assert DATE_TIME.serialize(moment) == in_utc(moment).isoformat()
