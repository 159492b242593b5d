"""Work that threads share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regc.runtime_ops import threads


@given(total=st.integers(0, 100), unit=st.integers(1, 20), cores=st.integers(1, 7), large=st.booleans())
def test_every_place_is_in_one_piece_and_pieces_begin_at_units(total: int, unit: int, cores: int, large: bool) -> None:
    pieces: list[slice] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_cores", lambda: cores)
        threads.share(total, unit, threads.SHARED - (not large), pieces.append)
    pieces.sort(key=lambda piece: piece.start)
    assert [place for piece in pieces for place in range(piece.start, piece.stop)] == list(range(total))
    assert all(piece.start % unit == 0 for piece in pieces)
    assert len(pieces) <= (cores if large else 1)


def test_what_a_piece_raises_is_raised() -> None:
    def fails(piece: slice) -> None:
        raise ValueError(piece)

    with pytest.raises(ValueError, match=r"slice\(0, 4"):
        threads.share(4, 1, 1, fails)
