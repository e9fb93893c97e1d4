"""The table of symbols and colours has each outcome once, in one cell; no two outcomes look alike in black print."""

import unicodedata

from orchestrator.core.model import Outcome, Phase
from orchestrator.report.marks import COLOURS, OUTCOMES, PHASES, Meaning, mark


def test_every_outcome_and_every_phase_without_one_has_a_mark() -> None:
    assert set(OUTCOMES) == set(Outcome)
    assert set(PHASES) == set(Phase) - {Phase.DONE}
    assert set(COLOURS) == set(Meaning)


def test_no_two_outcomes_share_a_symbol_or_a_letter() -> None:
    assert len({one.symbol for one in OUTCOMES.values()}) == len(OUTCOMES)
    assert len({one.letter for one in OUTCOMES.values()}) == len(OUTCOMES)


def test_a_symbol_takes_one_cell_and_a_letter_is_plain_ascii() -> None:
    for one in (*OUTCOMES.values(), *PHASES.values()):
        assert len(one.symbol) == 1
        assert unicodedata.east_asian_width(one.symbol) not in "WF"
        assert one.letter.isascii()
        assert len(one.letter) == 1


def test_a_word_reads_as_the_outcome_does_in_json_but_for_its_underscore() -> None:
    assert all(mark(outcome).word == outcome.value.replace("_", " ") for outcome in Outcome)
