import io
import sys

from d2eval.foundation.terminal.console import complain, note


def test_a_line_and_its_end_are_one_piece(monkeypatch):
    """Notes come from several threads at once."""
    pieces = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    note("one")
    complain("another")
    assert [piece for piece in pieces if piece] == ["note: one\n", "d2eval: another\n"]
