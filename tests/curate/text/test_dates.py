"""Dates: what a value says of a day is found whole, and no less is enough."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.grounding import find
from curate.text.dates import dates_in, dates_said
from curate.text.folded import Folded
from tests.curate.test_grounding import DAYS, FORMS, MONTHS, date_forms


@given(DAYS, DAYS, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_a_value_in_any_form_is_that_day_alone(day: date, other: date, value: str, text: str) -> None:
    said, written = date_forms(day)[value], date_forms(other)[text]
    month = f"{MONTHS[other.month - 1]} {other.year}"
    assert find(said, "date", f"on {date_forms(day)['american']}.")
    ways = {(each.year % 100, each.month, each.day) for (ways,) in [dates_said(said)] for each in ways}
    read = {(each.year % 100, each.month, each.day) for each in dates_in(Folded(f"on {written}."))}
    assert bool(find(said, "date", f"on {written}.")) == bool(ways & read)
    assert find(said, "date", f"in {month}.") is None, "the month is not the day"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5 March 2019", "of 12 March 2019"),
        ("the 5th day of March, 2019", "in March 2019"),
        ("2019 March 5", "in March 2019"),
        ("45 March 2019", "in March 2019"),
        ("5 March 2019 to 12 April 2020", "from 5 March 2019"),
        ("5 March 2019 to 12 April 2020", "until 12 April 2020"),
        ("March 5, 2019, or April 12, 2020", "March 5, 2019"),
        ("2019-03-05/2020-04-12", "on 5 March 2019"),
        ("2019-03-05 - 2020-04-12", "on 5 March 2019"),
        ("5-12 March 2019", "on 12 March 2019"),
        ("March 5-12, 2019", "on March 5, 2012"),
        ("March 5-12, 2019", "in March 2019"),
        ("March or April 5, 2019", "April 5, 2019"),
        ("3/5/2019 - 4/6/2020", "on 3/5/2019"),
        ("2019-03-12", "from 5 March to 12 May 2019"),
        ("2012-03-05", "from 5 March to 12 May 2019"),
        ("2012-03-05", "on March 5-12, 2019"),
        ("2016-03-05", "March 5 and April 16"),
        ("2016-04-15", "March 15 and April 16, 2019"),
        ("2019-04-15", "from March 15 to April 2019"),
        ("2020-03", "in March 2019, May 2020"),
        ("2005-02-01", "dated February 7, 2005,  February 1, 2006, January 1, 2007"),
        ("2006-01-01", "dated February 7, 2005,  February 1, 2006, January 1, 2007"),
        ("2021-05-03", "Exhibit 1.3 AGENCY AGREEMENT May 21, 2015"),
        ("2014-08-15", "Liability 14 ARTICLE VIII AUGUST 15 8.1 Law"),
        ("2019-05", "in March 2019, May 2020"),
    ],
)
def test_a_part_of_what_is_said_is_not_enough(value: str, text: str) -> None:
    assert find(value, "date", text) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5 March 2019 to 12 April 2020", "from 3/5/2019 until the 12th day of April, 2020"),
        ("2019-03-05 - 2020-04-12", "5 March 2019, 12 April 2020"),
        ("5-12 March 2019", "on 5-12 March, 2019"),
        ("March 5", "by March 5 of each year"),
        ("2019", "in 2019"),
        ("2019-03-05T10:30:00+02:00", "on March 5, 2019"),
        ("20190305", "on March 5, 2019"),
        ("March 2019", "on 5 March 2019"),
        ("2019-03", "from March to May 2019"),
        ("2019-05", "from March to May 2019"),
        ("2012-03-05", "on 5-Mar-12"),
        ("2012-03-05", "March 5, '12"),
        ("2019-05-12", "from 5 March to 12 May 2019"),
        ("2019-04-16", "March 15 and April 16, 2019"),
        ("2020-05", "in March 2019, May 2020"),
        *(
            (day, "dated February 7, 2005,  February 1, 2006, January 1, 2007")
            for day in ("2005-02-07", "2006-02-01", "2007-01-01")
        ),
        *((day, "1 March 2019, 5 April 2020, 6 May, 2021") for day in ("2019-03-01", "2020-04-05", "2021-05-06")),
    ],
)
def test_what_is_said_is_found(value: str, text: str) -> None:
    assert find(value, "date", text)
